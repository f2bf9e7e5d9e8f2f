"""What a goal is compiled to where the one before it was lost, or its numbers are refused: at once what it stays."""

from __future__ import annotations

from typing import Any

from support import objects
from support.compiling import compiled, reported
from vmext_operator.api.goal_state import Goal, Report
from vmext_operator.core.reasons import Reason

SEVERAL = [objects.image(version, type_="Several", multiConfig=True) for version in ("1.0.0", "1.1.0")]
LEAVES: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:09:00Z"}
HAD: dict[str, Any] = {"sequenceNumber": 5, "typeHandlerVersion": "1.0.0"}


def several(name: str, status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    spec = {"type": "Several", "typeHandlerVersion": "1", "enableAutomaticUpgrade": True}
    return objects.extension(name, spec=spec, status=status, uid=f"uid-{name}", **metadata)


def versions(goal: Goal) -> dict[str, tuple[str, str]]:
    return {entry.name: (entry.state.value, entry.handler.version) for entry in goal.extensions}


def test_one_that_stays_does_not_follow_one_that_leaves_and_is_known_by_its_status() -> None:
    declared = (several("new"), several("old", HAD, **LEAVES))
    goal = compiled(*declared, images=SEVERAL).goal

    assert versions(goal) == {"new": ("enabled", "1.1.0"), "old": ("uninstall", "1.0.0")}
    assert compiled(*declared, images=SEVERAL, last=goal).goal == goal


def test_one_handler_waits_until_what_is_known_by_its_status_is_uninstalled() -> None:
    one = objects.extension("new", uid="uid-new")
    old = objects.extension("old", uid="uid-old", status={"sequenceNumber": 5, "typeHandlerVersion": "2.1.0"}, **LEAVES)

    found = compiled(one, old)

    assert versions(found.goal) == {"old": ("uninstall", "2.1.0")}
    assert found.held["uid-new"].reason is Reason.HANDLER_CONFLICT
    assert compiled(one, old, last=found.goal).goal == found.goal


def test_whom_a_version_of_its_own_is_wanting_leads_nobody() -> None:
    unmet = several("a", creationTimestamp="2026-01-01T00:00:00Z")
    unmet["spec"]["typeHandlerVersion"] = "9"
    found = compiled(unmet, several("b", creationTimestamp="2026-01-01T00:00:01Z"), images=SEVERAL)

    assert versions(found.goal) == {"b": ("enabled", "1.1.0")}
    assert found.held["uid-a"].reason is Reason.UNKNOWN_IMAGE


def test_a_number_that_is_refused_is_raised_together_with_what_is_declared_now() -> None:
    last = compiled(objects.extension("web", uid="uid-web")).goal
    changed = objects.extension("web", uid="uid-web", spec={"dependsOn": ["missing"]})
    report = _refusing(last)

    goal = compiled(changed, last=last, report=report).goal

    assert [(entry.sequence_number, entry.depends_on) for entry in goal.extensions] == [(2, ("missing",))]
    assert compiled(changed, last=goal, report=report).goal == goal


def _refusing(goal: Goal) -> Report:
    return reported(goal, "Running", reason=Reason.SEQUENCE_BEHIND.value)

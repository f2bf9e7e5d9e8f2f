"""What becomes of what a machine says is on it and that nobody declared: shown, taken over, removed, or left alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support import objects
from support.compiling import compiled
from vmext_operator.api import goal_state, virtual_machine_extension
from vmext_operator.api.goal_state import Report, Undeclared
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import undeclared
from vmext_operator.core.reasons import Reason

DELETED: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:09:00Z"}
GOAL: dict[str, Any] = {"vmUID": "u", "modelHash": "h", "lastSequenceNumber": 7, "extensions": []}


def reporting(*found: Any) -> Report:
    report = goal_state.parse(objects.goal_state("web-1", GOAL, {"undeclared": list(found)})).report
    assert report is not None
    return report


def one(handler: str = "VMExt.CustomScript", version: str = "2.0.3", **fields: Any) -> dict[str, Any]:
    return {"handler": handler, "version": version} | fields


def parsed(*extensions: dict[str, Any]) -> list[VirtualMachineExtension]:
    return [virtual_machine_extension.parse(obj) for obj in extensions]


def states(*extensions: dict[str, Any], report: Report, **options: Any) -> dict[str, tuple[str, str]]:
    found = compiled(*extensions, report=report, **options).goal
    return {entry.name: (entry.state.value, entry.handler.version) for entry in found.extensions}


def test_what_nobody_declared_is_named_in_a_condition_that_says_what_to_do() -> None:
    report = reporting(one(extension="old"), *(one(f"Test.T{number}") for number in range(7)))

    found = undeclared.of_machine(report, parsed())
    (condition,) = undeclared.condition("web-1", found)

    assert (condition.type, condition.status, condition.reason) == ("Undeclared", "True", "NotDeclared")
    assert "VMExt.CustomScript 2.0.3 (old), Test.T0 2.0.3" in condition.message
    assert "and 3 more" in condition.message
    assert "kubectl vmext remove-undeclared web-1 VMExt.CustomScript" in condition.message
    assert undeclared.condition("web-1", ()) == ()


def test_what_is_declared_and_only_held_back_is_not_undeclared() -> None:
    several = one("VMExt.Several", extension="b", multiConfig=True)
    report = reporting(one(), several)
    declared = parsed(objects.extension("other"), objects.extension("a", spec={"type": "Several"}))

    assert undeclared.of_machine(report, declared) == (Undeclared("VMExt.Several", "2.0.3", "b", multi_config=True),)


def test_what_is_declared_and_deleted_is_uninstalled_also_where_the_catalog_never_had_it() -> None:
    leaving = objects.extension("mine", spec={"type": "Unheard"}, uid="uid-mine", **DELETED)
    report = reporting(one("VMExt.Unheard", "9.9"))

    assert states(leaving, report=report) == {"mine": ("uninstall", "9.9")}
    last = compiled(leaving, report=report).goal
    assert compiled(leaving, report=reporting(), last=last).goal == last
    assert last.extensions[0].sequence_number > 0


def test_only_a_deletion_uninstalls_and_only_what_is_meant() -> None:
    report = reporting(one(), one("VMExt.Several", extension="b", multiConfig=True))
    unmet = objects.extension("mine", spec={"typeHandlerVersion": "9"})

    assert states(unmet, report=report) == {}
    assert states(report=report) == {}
    assert states(objects.extension("a", spec={"type": "Several"}, **DELETED), report=report) == {}
    assert states(objects.extension("b", spec={"type": "Several"}, **DELETED), report=report) == {
        "b": ("uninstall", "2.0.3")
    }
    assert states(objects.extension("x", spec={"deletionPolicy": "Orphan"}, **DELETED), report=report) == {
        "x": ("orphan", "2.0.3")
    }


def test_what_another_extension_is_declared_for_is_not_taken_from_it() -> None:
    """The report may be older than the goal that has the other one."""
    staying, leaving = objects.extension("staying"), objects.extension("leaving", **DELETED)

    assert states(staying, leaving, report=reporting(one())) == {"staying": ("enabled", "2.1.0")}


def test_what_takes_it_over_waits_while_it_is_removed() -> None:
    leaving = objects.extension("leaving", uid="uid-leaving", **DELETED)
    last = compiled(leaving, report=reporting(one())).goal

    found = compiled(leaving, objects.extension("new", uid="uid-new"), report=reporting(one()), last=last)

    assert [(entry.name, entry.state.value) for entry in found.goal.extensions] == [("leaving", "uninstall")]
    assert found.held["uid-new"].reason is Reason.HANDLER_CONFLICT


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["handler", "version", "extension", "multiConfig", "x"]), inner)
        ),
    )
)
def test_whatever_a_guest_writes_there_is_read_or_passed_over(value: Any) -> None:
    report = goal_state.parse(objects.goal_state("web-1", GOAL, {"agentVersion": "1", "undeclared": value})).report

    assert report is not None
    undeclared.condition("web-1", undeclared.of_machine(report, parsed(objects.extension())))

"""docs/status.md has every situation and how it stands in the status: each row is held to what the operator says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support import objects
from support.kstatus import status_of
from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.goal_state import Copy
from vmext_operator.control.settings_check import Checker
from vmext_operator.core import catalog_status, duplicates, machine_status, projection, verdict
from vmext_operator.core.duplicates import Sighting
from vmext_operator.core.reachability import Presence
from vmext_operator.core.reasons import Reason

TABLES = (Path(__file__).resolve().parents[2] / "docs" / "status.md").read_text().split("\n## ")
NOW = "2026-01-02T00:00:00Z"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
GENERATION = 4
ENTRY: dict[str, Any] = {
    "name": "hello",
    "uid": "uid-hello",
    "state": "enabled",
    "sequenceNumber": 3,
    "settings": "{}",
    "timeoutSeconds": 60,
    "handler": {
        "name": "VMExt.CustomScript",
        "version": "2.1.0",
        "package": {"urls": ["http://127.0.0.1/x.zip"], "sha256": "0" * 64, "sizeBytes": 1},
    },
}
BEFORE = ENTRY | {"sequenceNumber": 2}
GOAL = {"vmUID": "u", "modelHash": "h", "lastSequenceNumber": 3, "extensions": [ENTRY]}
THERE, SILENT, NEVER = Presence.THERE, Presence.SILENT, Presence.NEVER


def said(status: str, message: str = "m") -> dict[str, Any]:
    return {"extensionStatus": {"status": status, "code": 0, "message": message}, "installedVersion": "2.1.0"}


SUCCEEDED = objects.answer(ENTRY, **said("success"))
ONE_BEFORE = objects.answer(BEFORE, **said("success"))
FAILED = objects.answer(ENTRY, "Failed", reason="ExecutionFailed", message="no", **said("error"))
DEPENDS = objects.answer(ENTRY, "Failed", reason="DependencyFailed", message="a, on which it depends, failed")
UNENROLLED = verdict.awaits_machine(Reason.NOT_ENROLLED, "m")
PAUSED = verdict.waits(Reason.PAUSED, "m")
UNKNOWN = verdict.stalls(Reason.UNKNOWN_IMAGE, "m", after_s=60)
GONE: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def running(operation: str, **fields: Any) -> dict[str, Any]:
    return objects.answer(ENTRY, "Running", operation=operation, **fields)


def at(
    answer: dict[str, Any] | None = None,
    held: verdict.Held | None = None,
    *,
    presence: Presence = THERE,
    offline: bool = False,
    age_s: float = 0,
    deleted: bool = False,
    enrolled: bool = True,
    **spec: Any,
) -> tuple[projection.Situation, float]:
    """Return where an extension stands, and for how long."""
    status = None if presence is NEVER else {"extensions": {} if answer is None else {"hello": answer}}
    parsed = goal_state.parse(objects.goal_state("web-1", GOAL, status))
    extension = objects.extension(generation=GENERATION, spec=spec, **(GONE if deleted else {}))
    found = virtual_machine_extension.parse(extension)
    entry = parsed.goal.extensions[0] if held is None or held is PAUSED else None
    return projection.Situation(found, entry, held, parsed.report, presence, offline, enrolled), age_s


def stalls(reason: Reason) -> verdict.Held:
    return verdict.stalls(reason, "m")


HANDLER_FAILED = {"status": "NotReady", "message": "no"}
EXTENSIONS = {
    "its machine is not declared": at(None, verdict.waits(Reason.VIRTUAL_MACHINE_NOT_FOUND, "m"), presence=NEVER),
    "no machine is enrolled as its machine, or one is no longer": at(presence=NEVER, enrolled=False),
    "its machine's agent has not reported since its goal state was made": at(presence=NEVER),
    "the same, and the machine may be off": at(presence=NEVER, offline=True),
    "the machine has not begun": at(),
    "the machine downloads the package": at(running("Download")),
    "the machine enables what is installed": at(running("Enable", installedVersion="2.1.0")),
    "the extension says that it is at it": at(running("Enable", **said("transitioning"))),
    "the machine waits for its package manager": at(running("Install", reason="WaitingForPackageManager")),
    "it succeeded": at(SUCCEEDED),
    "it succeeded with a warning": at(objects.answer(ENTRY, **said("warning"))),
    "what it runs failed": at(FAILED),
    "its handler could not be installed": at(
        objects.answer(ENTRY, "Failed", reason="InstallFailed", handlerStatus=HANDLER_FAILED | {"code": 1007})
    ),
    "a new version failed and the old one is back": at(
        objects.answer(
            ENTRY,
            "Failed",
            reason="UpdateFailed",
            installedVersion="2.0.9",
            failedVersion="2.1.0",
            handlerStatus=HANDLER_FAILED | {"code": 1008},
        )
    ),
    "it failed, and that is suppressed": at(FAILED, suppressFailures=True),
    "it was changed, and the machine has not begun": at(ONE_BEFORE),
    "what it depends on failed on the machine": at(DEPENDS),
    "the same, and failures are suppressed": at(DEPENDS, suppressFailures=True),
    "what it depends on has not succeeded yet": at(running("Enable", reason="WaitingForDependency")),
    "what it depends on is not declared": at(None, verdict.waits(Reason.WAITING_FOR_DEPENDENCY, "m")),
    "what it depends on is held back": at(None, stalls(Reason.DEPENDENCY_FAILED)),
    "it is part of a circle": at(None, stalls(Reason.DEPENDENCY_CYCLE)),
    "the catalog has had no such version for less than a minute": at(None, UNKNOWN, age_s=59),
    "the catalog has had no such version for longer": at(None, UNKNOWN, age_s=60),
    "no version is for this machine": at(None, stalls(Reason.UNSUPPORTED_OS)),
    "its settings do not fit": at(None, stalls(Reason.INVALID_SETTINGS)),
    "another has its handler": at(None, stalls(Reason.HANDLER_CONFLICT)),
    "another has its handler until it is uninstalled": at(None, verdict.awaits_machine(Reason.HANDLER_CONFLICT, "m")),
    "its machine is not enrolled and its settings are to be encrypted": at(None, UNENROLLED, presence=NEVER),
    "the same, and the machine was never enrolled and may be off": at(None, UNENROLLED, presence=NEVER, offline=True),
    "the machine is unreachable, and it had succeeded": at(SUCCEEDED, presence=SILENT),
    "the machine is unreachable, and it had failed": at(FAILED, presence=SILENT, offline=True),
    "the machine is unreachable, and was at it": at(running("Install"), presence=SILENT),
    "the machine is unreachable, and it was changed": at(ONE_BEFORE, presence=SILENT),
    "the same, and the machine may be off while it is unreachable": at(ONE_BEFORE, presence=SILENT, offline=True),
    "the machine may be off, and the declaration is wrong": at(
        None, stalls(Reason.INVALID_SETTINGS), presence=SILENT, offline=True
    ),
    "it was changed while the machine is paused": at(ONE_BEFORE, PAUSED),
    "it is being uninstalled": at(ONE_BEFORE, deleted=True),
    "it is being deleted, and the machine is unreachable": at(ONE_BEFORE, presence=SILENT, deleted=True),
    "it is being deleted while the machine is paused": at(ONE_BEFORE, PAUSED, deleted=True),
    "its machine is being deleted and it is not": at(ONE_BEFORE, verdict.waits(Reason.VIRTUAL_MACHINE_DELETING, "m")),
}
PINNED = {"anchorUID": "a", "certificate": "PEM", "thumbprint": "AB" * 20}
EXPIRED = {"anchorUID": "a", "expiresAt": "2026-01-02T11:00:00Z"}
FOUND = (goal_state.Undeclared("VMExt.Other", "1.0.0"),)
MACHINES: dict[str, tuple[Presence, dict[str, Any], dict[str, Any]]] = {
    "no machine is enrolled as it, or one is no longer": (NEVER, {}, {"anchorUID": "a"}),
    "its agent has not reported since its goal state was made": (NEVER, {}, PINNED),
    "the same, and it may be off": (NEVER, {"readiness": "AllowOffline"}, {}),
    "its agent reports": (THERE, {}, {}),
    "its agent is silent for longer than unreachableAfter": (SILENT, {}, {}),
    "the same, and it may be off while it is unreachable": (SILENT, {"readiness": "AllowOffline"}, {}),
    "its token has ended": (SILENT, {}, EXPIRED),
    "the same, and it may be off with its token ended": (SILENT, {"readiness": "AllowOffline"}, EXPIRED),
    "it is paused": (THERE, {"paused": True}, {}),
    "something is on it that is declared nowhere": (THERE, {}, {}),
    "a copy of it was found and takes no orders": (THERE, {}, {}),
    "another machine writes as this one in turn": (THERE, {"readiness": "AllowOffline"}, {}),
}
DUPLICATES = {
    "a copy of it was found and takes no orders": duplicates.condition("web-1", (), [Copy("c", "clone-1", "", "", "")]),
    "another machine writes as this one in turn": duplicates.condition("web-1", [Sighting("a/1", "", 0.0)], ()),
}


def rows(title: str) -> dict[str, list[str]]:
    (table,) = (part for part in TABLES if part.startswith(f"{title}\n"))
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]
    found = {row[0]: row[1:] for row in cells}
    assert len(found) == len(cells), "a situation is there twice"
    return found


#: A schema, why its signature is refused, and the schema that it had before.
IMAGES: dict[str, tuple[dict[str, Any], str, dict[str, Any] | None]] = {
    "it can be used": ({"type": "object"}, "", None),
    "a schema of it can't be used": ({"type": "thing"}, "", None),
    "it is not signed as it has to be": ({}, "it is not signed", None),
    "it was mended": ({"type": "object"}, "", {"type": "thing"}),
}
NOBODY = "nobody has looked at it yet"


def test_each_table_has_exactly_the_situations_that_are_looked_at() -> None:
    assert set(rows("VirtualMachineExtension")) == {*EXTENSIONS, NOBODY}
    assert set(rows("VirtualMachine")) == {*MACHINES, NOBODY}
    assert set(rows("VirtualMachineExtensionImage")) == set(IMAGES)
    for obj in (objects.extension(), objects.machine()):
        assert status_of(obj) == "InProgress"


@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_stands_as_its_row_says(name: str) -> None:
    situation, age_s = EXTENSIONS[name]
    status = projection.project_extension(situation, stage_age_s=age_s, now=NOW).status
    obj = objects.extension(generation=GENERATION, status=status)
    if situation.extension.meta.deleted is not None:
        obj["metadata"] |= GONE
    ready, *others = status["conditions"]
    assert [
        status_of(obj),
        ready["status"],
        ready["reason"],
        ", ".join(one["type"] for one in others),
        status["provisioningState"],
        *([status["statuses"][0]["code"]] if "statuses" in status else [""]),
    ] == rows("VirtualMachineExtension")[name]
    assert status["observedGeneration"] == GENERATION
    for one in status["conditions"]:
        assert (one["observedGeneration"], one["lastTransitionTime"]) == (GENERATION, NOW)
        assert one["reason"] == ready["reason"]
        assert one["message"]


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_stands_as_its_row_says(name: str) -> None:
    presence, spec, credential = MACHINES[name]
    obj = objects.machine(spec=spec, generation=GENERATION)
    obj["status"] = {"credential": credential} if credential else {}
    report = None
    if presence is not NEVER:
        report = goal_state.parse(objects.goal_state("web-1", GOAL, {"agentVersion": "1"})).report
    others = FOUND if "nowhere" in name else ()
    duplicate = DUPLICATES.get(name)
    parsed = virtual_machine.parse(obj)
    status = machine_status.project(parsed, report, presence, (), "", NOON, duplicate=duplicate, others=others)
    found = {one["type"]: one for one in status["conditions"]}
    besides = [kind for kind in found if kind not in ("Ready", "AgentReachable", "Enrolled")]
    assert [
        status_of(obj | {"status": status}),
        found["Ready"]["status"],
        found["Ready"]["reason"],
        found["AgentReachable"]["status"],
        ", ".join(besides),
    ] == rows("VirtualMachine")[name]
    assert status["observedGeneration"] == GENERATION


@pytest.mark.parametrize("name", IMAGES)
def test_a_catalog_entry_stands_as_its_row_says(name: str) -> None:
    schema, refused, before = IMAGES[name]
    obj = objects.image(settingsSchema=schema)
    if before is not None:
        was = extension_image.parse(objects.image(settingsSchema=before))
        obj["status"] = catalog_status.project(was, Checker().fault(was), "2026-01-01T00:00:00Z")
    image = replace(extension_image.parse(obj), refused=refused)
    status = catalog_status.project(image, Checker().fault(image), NOW)
    ready, *others = status.get("conditions") or [{"status": "", "reason": ""}]
    assert [
        status_of(obj | {"status": status}),
        ready["status"],
        ready["reason"],
        ", ".join(one["type"] for one in others),
    ] == rows("VirtualMachineExtensionImage")[name]
    if status:
        assert status["observedGeneration"] == image.meta.generation
        assert ready["lastTransitionTime"] == NOW
        assert ready["message"]
        # What stands there already is not written again.
        again = replace(image, status=status)
        assert catalog_status.project(again, Checker().fault(again), "2026-01-03T00:00:00Z") == status

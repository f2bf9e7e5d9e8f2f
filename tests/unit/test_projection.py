from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from support import objects
from support.kstatus import status_of
from vmext_operator.api import conditions, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.goal_state import Goal
from vmext_operator.core import machine_status, merge_patch, projection, verdict
from vmext_operator.core.reachability import Presence

NOW = "2026-01-02T00:00:00Z"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
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
EMPTY = Goal("web-1", "u", objects.ANCHOR, "h", 0, ()).render()
GOAL_SPEC: dict[str, Any] = {"vmUID": "u", "modelHash": "h", "lastSequenceNumber": 3, "extensions": [ENTRY]}


def situation(
    answer: dict[str, Any] | None,
    *,
    held: verdict.Held | None = None,
    reported: bool = True,
    entry: bool = True,
    extension: dict[str, Any] | None = None,
) -> projection.Situation:
    status = {"agentVersion": "0.1.0", "extensions": {} if answer is None else {"hello": answer}} if reported else None
    parsed = goal_state.parse(objects.goal_state("web-1", GOAL_SPEC, status))
    return projection.Situation(
        virtual_machine_extension.parse(extension or objects.extension(generation=2)),
        parsed.goal.extensions[0] if entry else None,
        held,
        parsed.report,
        Presence.THERE if reported else Presence.NEVER,
    )


SUCCESS = {"status": "success", "code": 0, "message": "done", "time": "2026-01-01T12:00:00Z"}
ERROR = {
    "status": "error",
    "code": 0,
    "message": "Enable failed",
    "substatuses": [{"name": "StdErr", "status": "error", "message": "ech: not found"}],
}


def test_a_failed_script_reads_as_in_azures_instance_view() -> None:
    given = situation(objects.answer(ENTRY, "Failed", extensionStatus=ERROR, sequenceNumber=3))
    status = projection.project_extension(given, stage_age_s=0, now=NOW).status
    assert status["statuses"] == [
        {
            "code": "ProvisioningState/failed/0",
            "level": "Error",
            "displayStatus": "Provisioning failed",
            "message": "Enable failed",
        }
    ]
    assert status["substatuses"] == [
        {
            "code": "ComponentStatus/StdErr/failed",
            "level": "Error",
            "displayStatus": "Provisioning failed",
            "message": "ech: not found",
        }
    ]
    assert status["sequenceNumber"] == 3


def test_a_failure_that_the_extension_could_not_report_has_the_contracts_code() -> None:
    answer = objects.answer(
        ENTRY, "Failed", reason="InstallFailed", message="no", handlerStatus={"status": "NotReady", "code": 1007}
    )
    status = projection.project_extension(situation(answer), stage_age_s=0, now=NOW).status
    assert status["statuses"][0]["code"] == "ProvisioningState/failed/1007"
    assert status["statuses"][0]["message"] == "no"


def test_a_version_that_was_taken_back_shows_what_is_in_force() -> None:
    message = "version 2.1.0 failed, 2.0.9 is back in force: exit 7"
    answer = objects.answer(
        ENTRY, "Failed", reason="InstallFailed", message=message, installedVersion="2.0.9", failedVersion="2.1.0"
    )
    status = projection.project_extension(situation(answer), stage_age_s=0, now=NOW).status
    assert status["typeHandlerVersion"] == "2.0.9"
    assert [one["message"] for one in status["conditions"] if one["type"] == "Stalled"] == [message]


def test_a_failed_dependency_is_told_with_what_it_said() -> None:
    answer = objects.answer(ENTRY, "Failed", reason="DependencyFailed", message="a, on which it depends, failed")
    first = objects.answer(ENTRY | {"uid": "uid-a"}, "Failed", reason="ExecutionFailed", message="no such volume")
    status = {"extensions": {"hello": answer, "a": first}}
    report = goal_state.parse(objects.goal_state("web-1", GOAL_SPEC, status)).report
    for suppress in (False, True):
        extension = objects.extension(generation=2, spec={"dependsOn": ["a", "b"], "suppressFailures": suppress})
        given = situation(answer, extension=extension)
        given = projection.Situation(given.extension, given.entry, None, report)
        found = projection.project_extension(given, stage_age_s=0, now=NOW).conditions
        said = "a, on which it depends, failed; a: ExecutionFailed: no such volume"
        assert [(one.type, one.message) for one in found] == [("Ready", said), ("Stalled", said)]


def test_a_suppressed_failure_counts_as_ready_and_keeps_its_statuses() -> None:
    answer = objects.answer(ENTRY, "Failed", reason="ExecutionFailed", extensionStatus=ERROR, message="no")
    extension = objects.extension(generation=2, spec={"suppressFailures": True})
    projected = projection.project_extension(situation(answer, extension=extension), stage_age_s=0, now=NOW)
    (ready,) = projected.conditions
    assert (ready.status, ready.reason) == ("True", "FailureSuppressed")
    assert projected.status["provisioningState"] == "Succeeded"
    assert projected.status["statuses"][0]["code"] == "ProvisioningState/failed/0"


def test_what_people_should_know_besides_stands_in_the_condition() -> None:
    answer = objects.answer(ENTRY, extensionStatus=SUCCESS, notes=["cpu limit of 500m can't be applied"])
    ready, *_ = projection.project_extension(situation(answer), stage_age_s=0, now=NOW).conditions
    assert (ready.status, ready.message) == ("True", "web-1 has it; cpu limit of 500m can't be applied")


def test_what_the_machine_waits_for_is_the_reason() -> None:
    answer = objects.answer(ENTRY, "Running", reason="WaitingForPackageManager", message="waiting for dpkg")
    found = projection.project_extension(situation(answer), stage_age_s=0, now=NOW).conditions
    assert {one.reason for one in found} == {"WaitingForPackageManager"}


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    running = situation(objects.answer(ENTRY, "Running", operation="Enable"))
    first = projection.project_extension(running, stage_age_s=0, now="2026-01-01T00:00:00Z").status
    extension = objects.extension(generation=2, status=first)
    later = situation(objects.answer(ENTRY, "Running", operation="Install"), extension=extension)
    again = projection.project_extension(later, stage_age_s=0, now=NOW).status
    assert {one["lastTransitionTime"] for one in again["conditions"]} == {"2026-01-01T00:00:00Z"}
    done = situation(objects.answer(ENTRY, extensionStatus=SUCCESS), extension=extension)
    (ready,) = projection.project_extension(done, stage_age_s=0, now=NOW).status["conditions"]
    assert ready["lastTransitionTime"] == NOW


def test_projecting_what_is_there_already_patches_nothing() -> None:
    answer = objects.answer(ENTRY, extensionStatus=SUCCESS, handlerStatus={"status": "Ready", "code": 0})
    first = projection.project_extension(situation(answer), stage_age_s=0, now=NOW).status
    extension = objects.extension(generation=2, status=first)
    given = situation(answer, extension=extension)
    again = projection.project_extension(given, stage_age_s=5, now="2026-01-03T00:00:00Z").status
    assert merge_patch.difference(first, again) == {}


def test_a_machine_counts_its_extensions() -> None:
    projected = [
        projection.project_extension(situation(answer), stage_age_s=0, now=NOW)
        for answer in (objects.answer(ENTRY), objects.answer(ENTRY, "Failed"), None)
    ]
    report = goal_state.parse(
        objects.goal_state(
            "web-1",
            EMPTY,
            {"agentVersion": "1", "guest": {"os": "debian"}},
        )
    ).report
    machine = virtual_machine.parse(objects.machine())
    status = machine_status.project(machine, report, Presence.THERE, projected, "", NOON)
    assert status["extensions"] == {"total": 3, "ready": 1, "failed": 1}
    assert status["guest"] == {"os": "debian"}
    assert status_of(objects.machine() | {"status": status}) == "Current"
    never = machine_status.project(machine, None, Presence.NEVER, projected, "", NOON)
    assert status_of(objects.machine() | {"status": never}) == "InProgress"


def of_machine(kind: str, refused: str = "", **credential: str) -> tuple[str, str]:
    machine = objects.machine() | {"status": {"credential": {"anchorUID": "a", **credential}}}
    report = goal_state.parse(objects.goal_state("web-1", EMPTY, {"agentVersion": "1"})).report
    status = machine_status.project(virtual_machine.parse(machine), report, Presence.THERE, (), refused, NOON)
    found = conditions.find(status["conditions"], kind)
    assert found is not None
    assert status["credential"] == {"anchorUID": "a", **credential}
    return found["status"], found["reason"]


def test_a_machine_says_what_it_is_known_by() -> None:
    pinned = {"certificate": "PEM", "thumbprint": "AB" * 20}

    assert of_machine("Enrolled") == ("False", "NotEnrolled")
    assert of_machine("Enrolled", **pinned) == ("True", "Enrolled")
    assert of_machine("Enrolled", "it is no certificate", **pinned) == ("False", "CertificateRefused")


def test_a_machine_whose_token_has_ended_is_not_known_to_be_well() -> None:
    assert of_machine("Ready", expiresAt="2026-01-02T12:00:01Z") == ("True", "AgentReporting")
    assert of_machine("Ready", expiresAt="2026-01-02T12:00:00Z") == ("Unknown", "CredentialExpired")


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
    ],
)
def test_a_merge_patch_says_just_the_difference(
    old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert merge_patch.difference(old, new) == patch

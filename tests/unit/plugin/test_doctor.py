"""What the doctor says of facts: each in one line, with what to do where something is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

import charts
from control_plane import versions
from kubectl_vmext.doctor import installation, machine
from kubectl_vmext.doctor.finding import Finding, Level
from support import objects
from vmext_operator.api import conditions
from vmext_operator.api.goal_state import Copy
from vmext_operator.core import duplicates
from vmext_operator.core.duplicates import Sighting

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def ago(**time: float) -> str:
    return (NOW - timedelta(**time)).isoformat()


def lease(renewed: str | None, holder: str | None = "op-1") -> dict[str, Any]:
    return {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 10}}


def healthy(**status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True", "reason": "AgentReporting", "message": "it reports"}]
    return objects.machine() | {"status": {"observedGeneration": 1, "conditions": conditions} | status}


def goal(seen: int | None, *, written: str = ago(seconds=5), **status: Any) -> dict[str, Any]:
    fields = [{"manager": "vmext-operator", "time": written}, {"subresource": "status", "time": ago(seconds=1)}]
    said = status if seen is None else {"observedGeneration": seen, **status}
    return {"metadata": {"name": "web-1", "generation": 7, "managedFields": fields}, "status": said}


def worst(found: list[Finding]) -> Finding:
    order = (Level.FAIL, Level.WARN, Level.OK)
    return min(found, key=lambda one: order.index(one.level))


@pytest.mark.parametrize(
    ("held", "level", "words"),
    [
        (lease(ago(seconds=2)), Level.OK, "op-1 renewed its Lease 2 s ago"),
        (lease(ago(seconds=-3)), Level.OK, "op-1 renewed its Lease 0 s ago"),
        (lease(ago(minutes=10)), Level.FAIL, "op-1 renewed its Lease 10 min ago"),
        (lease(ago(seconds=2), holder=""), Level.FAIL, "no operator holds"),
        (lease(None), Level.FAIL, "no operator holds"),
        (None, Level.WARN, "there is no Lease vmext-operator in ns"),
    ],
)
def test_an_operator_that_is_gone_is_noticed(held: dict[str, Any] | None, level: Level, words: str) -> None:
    found = installation.operator(held, "ns", NOW)
    assert (found.level, words in found.words) == (level, True)


def test_a_cluster_that_is_too_old_is_noticed_and_everything_names_the_same_oldest_one() -> None:
    found = installation.version({"major": "1", "minor": "31+", "gitVersion": "v1.31.9"})
    assert (found.level, found.remedy) == (Level.WARN, "use Kubernetes 1.32 or later")
    assert installation.version({"major": "1", "minor": "32", "gitVersion": "v1.32.0"}).level is Level.OK
    assert versions.read().kubernetes_oldest == installation.OLDEST
    for chart in sorted(charts.ROOT.glob("*/Chart.yaml")):
        assert yaml.safe_load(chart.read_text())["kubeVersion"] == ">=1.32.0-0", chart


def test_rights_without_which_nothing_is_seen_are_failures_and_others_are_not() -> None:
    every = dict.fromkeys((*installation.SEEING, *installation.DOING), True)
    assert [one.level for one in installation.rights(every)] == [Level.OK]
    blind = installation.rights(every | {installation.SEEING[0]: False})
    assert [(one.level, one.remedy) for one in blind] == [(Level.FAIL, "ask for list on virtualmachines.vmext.dev")]
    (clumsy,) = installation.rights(every | {installation.DOING[-1]: False})
    assert (clumsy.level, clumsy.words) == (Level.WARN, "you may not enroll machines")
    assert clumsy.remedy == "ask for create on serviceaccounts/token, if you need it"


def test_kinds_that_are_not_served_are_named() -> None:
    served = [{"name": name} for name in ("virtualmachines", "virtualmachineextensions", "goalstates")]
    assert "virtualmachineextensionimages" in installation.kinds({"resources": served}).words
    assert installation.kinds(None).level is Level.FAIL
    more = [*served, {"name": "virtualmachineextensionimages"}]
    assert installation.kinds({"resources": more}).level is Level.OK


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (installation.Answer(200, 1000), "1 addresses answer from here"),
        (installation.Answer(200, None), "1 addresses answer from here"),
        (installation.Answer(404, None), "answers 404, from here"),
        (installation.Answer(200, 7), "has 7 bytes instead of 1000"),
        (installation.Answer(0, None, "refused"), "can't be reached (refused)"),
    ],
)
def test_packages_that_can_not_be_had_are_named(answer: installation.Answer, words: str) -> None:
    entry = objects.image()
    (found,) = installation.packages([entry], {entry["spec"]["package"]["urls"][0]: answer})
    assert words in found.words


def test_a_machine_that_does_well_gets_no_advice() -> None:
    well = healthy(credential={"expiresAt": ago(days=-20), "thumbprint": "AB" * 20})
    own = {"issuedAt": ago(days=10), "expiresAt": ago(days=-20)}
    found = list(machine.findings(well, goal(7, credential=own), lease(ago(seconds=9)), [], NOW))
    assert {one.level for one in found} == {Level.OK}
    assert not any(one.remedy for one in found)


@pytest.mark.parametrize(
    ("of", "seen", "beat", "level", "words"),
    [
        (objects.machine(), goal(7), lease(ago(seconds=1)), Level.FAIL, "no operator has seen it in"),
        (healthy(), goal(7), lease(ago(minutes=6)), Level.FAIL, "its last heartbeat came 6 min ago"),
        (healthy(), goal(7), None, Level.WARN, "no heartbeat has ever come"),
        (healthy(), goal(6, written=ago(hours=3)), lease(ago(seconds=1)), Level.FAIL, "7 is wanted since 3 h"),
        (healthy(), goal(6), lease(ago(seconds=1)), Level.WARN, "7 is wanted since 5 s"),
        (healthy(), goal(None), lease(ago(seconds=1)), Level.WARN, "has seen goal state none"),
        (healthy(), None, lease(ago(seconds=1)), Level.WARN, "there is no GoalState"),
        (healthy(credential={"expiresAt": ago(days=3)}), goal(7), lease(ago(days=0)), Level.FAIL, "ended 3 days ago"),
        (
            healthy(credential={"expiresAt": ago(hours=-1)}),
            goal(7, credential={"issuedAt": ago(hours=1), "expiresAt": ago(hours=-1)}),
            lease(ago(seconds=1)),
            Level.WARN,
            "its tokens live 2 h",
        ),
        (
            healthy(conditions=[{"type": "Ready", "status": "Unknown", "reason": "GuestUnreachable", "message": "m"}]),
            goal(7), lease(ago(seconds=1)), Level.WARN, "Ready=Unknown, GuestUnreachable: m",
        ),
        (
            healthy(conditions=[{"type": "Enrolled", "status": "False", "reason": "NotEnrolled", "message": "m"}]),
            goal(7), lease(ago(seconds=1)), Level.WARN, "NotEnrolled: m",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_machine_is_said_with_what_to_do(
    of: dict[str, Any], seen: dict[str, Any] | None, beat: dict[str, Any] | None, level: Level, words: str
) -> None:
    found = worst(list(machine.findings(of, seen, beat, [], NOW)))
    assert words in found.words
    assert found.level is level
    assert found.remedy


def test_what_is_declared_nowhere_is_shown_with_what_to_do() -> None:
    odd = healthy(undeclared=[{"handler": "A.B", "version": "1.0", "extension": "old", "multiConfig": True}])
    found = [one for one in machine.findings(odd, goal(7), lease(ago(seconds=1)), [], NOW) if one.remedy]
    assert [(one.level, one.words) for one in found] == [(Level.WARN, "A.B 1.0 (old) is on it and declared nowhere")]
    assert found[0].remedy.endswith("kubectl vmext remove-undeclared web-1 A.B --extension old")


def test_a_patient_machine_is_given_its_time() -> None:
    patient = healthy() | {"spec": {"unreachableAfter": "1h"}}
    found = list(machine.findings(patient, goal(7), lease(ago(minutes=30)), [], NOW))
    assert {one.level for one in found} == {Level.OK}


def test_extensions_that_failed_are_pointed_at() -> None:
    stalled = {"type": "Stalled", "status": "True", "reason": "ExecutionFailed", "message": "m"}
    failed = objects.extension(status={"conditions": [stalled]})
    found = list(machine.findings(healthy(), goal(7), lease(ago(seconds=1)), [failed, objects.extension("fine")], NOW))
    assert [one.remedy for one in found if one.remedy] == ["kubectl vmext logs hello"]


def findings_of(*conditions: dict[str, str]) -> list[Finding]:
    obj = healthy()
    obj["status"]["conditions"] += conditions
    return list(machine.findings(obj, goal(7), lease(ago(seconds=2)), (), NOW))


def test_a_certificate_that_is_refused_takes_another_enrolment_and_nothing_less() -> None:
    why = "AAAA is proposed, which the key of BBBB has not signed; if the machine was made anew, enrol it with --again"
    found = worst(findings_of({"type": "Enrolled", "status": "False", "reason": "CertificateRefused", "message": why}))

    assert "kubectl vmext enroll web-1 --again" in found.remedy


def test_duplicates_are_named_with_what_to_do() -> None:
    copies = [Copy("c", "clone-1", "machine-id 2", "it was enrolled elsewhere", "")]
    for level, told in (
        (Level.WARN, duplicates.condition("web-1", (), copies)),
        (Level.FAIL, duplicates.condition("web-1", [Sighting("i/1", "", 0.0), Sighting("i/2", "", 1.0)], ())),
    ):
        assert told is not None
        found = worst(findings_of(vars_of(told)))
        assert found.level is level
        assert found.words.startswith(f"DuplicateIdentity, {told.reason}: ")
        assert "kubectl vmext enroll" in found.remedy


def vars_of(condition: conditions.Condition) -> dict[str, str]:
    return {name: getattr(condition, name) for name in ("type", "status", "reason", "message")}

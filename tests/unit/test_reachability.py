from __future__ import annotations

from typing import Any

import pytest

from support import objects
from support.compiling import NOW, compiled
from vmext_operator.api import goal_state, virtual_machine
from vmext_operator.api.goal_state import Report
from vmext_operator.api.meta import Key
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.control.heartbeats import Heartbeats
from vmext_operator.control.namespaces import Namespaces
from vmext_operator.control.store import Store
from vmext_operator.control.writer import Clock
from vmext_operator.core.reachability import Presence, Sign, judge, observe

WEB = Key("default", "web-1")
GOAL: dict[str, Any] = {"vmUID": "uid-web-1", "modelHash": "h", "lastSequenceNumber": 0, "extensions": []}


def machine(silent: bool = False, **spec: Any) -> VirtualMachine:
    obj = objects.machine(spec=spec)
    if silent:
        condition = {"type": "AgentReachable", "status": "False", "reason": "GuestUnreachable"}
        obj["status"] = {"conditions": [condition]}
    return virtual_machine.parse(obj)


def report(version: str = "1") -> Report:
    found = goal_state.parse(objects.goal_state("web-1", GOAL, {"agentVersion": version})).report
    assert found is not None
    return found


def test_a_sign_counts_from_when_it_was_first_seen() -> None:
    first = observe(None, "2031-01-01T00:00:00Z", 10.0)
    assert first == Sign("2031-01-01T00:00:00Z", 10.0, False)
    assert observe(first, "2031-01-01T00:00:00Z", 70.0) is first
    # A guest's clock that was set back is as good as any.
    assert observe(first, "1999-01-01T00:00:00Z", 70.0) == Sign("1999-01-01T00:00:00Z", 70.0, True)


NEWS, OLD = Sign("b", 100.0, True), Sign("a", 0.0, False)


@pytest.mark.parametrize(
    ("silent_before", "signs", "reported", "now", "expected"),
    [
        (False, [], False, 10_000.0, Presence.NEVER),
        (False, [], True, 299.0, Presence.THERE),
        (False, [], True, 300.0, Presence.SILENT),
        (False, [OLD], True, 299.0, Presence.THERE),
        (False, [OLD], True, 300.0, Presence.SILENT),
        (False, [OLD, NEWS], True, 399.0, Presence.THERE),
        (False, [NEWS], True, 400.0, Presence.SILENT),
        (True, [], True, 0.0, Presence.SILENT),
        (True, [OLD], True, 0.0, Presence.SILENT),
        (True, [NEWS], True, 100.0, Presence.THERE),
        (True, [NEWS], True, 400.0, Presence.SILENT),
    ],
)
def test_a_machine_is_there_silent_or_was_never(
    silent_before: bool, signs: list[Sign], reported: bool, now: float, expected: Presence
) -> None:
    assert judge(machine(silent_before), signs, has_reported=reported, begun_s=0.0, now_s=now) is expected


@pytest.mark.parametrize(("declared", "seconds"), [("5m", 100), ("15s", 5), ("1s", 5), ("90h", 86_400), (None, 100)])
def test_the_interval_travels_in_the_goal(declared: str | None, seconds: int) -> None:
    spec = {} if declared is None else {"unreachableAfter": declared}
    goal = compiled(machine=objects.machine(spec=spec)).goal
    assert goal.render()["heartbeatSeconds"] == seconds
    assert goal_state.parse(objects.goal_state("web-1", goal.render())).goal == goal


class Watched:
    """Heartbeats with a clock that the test moves, and machine web-1 in the store."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.heartbeats = Heartbeats(Clock(lambda: NOW, lambda: self.now_s), 60.0, Namespaces([]))
        self.store = Store(lambda key, lane: None)
        self.store.observe("virtualmachines", objects.machine())
        self.store.observe("goalstates", objects.goal_state("web-1", GOAL, {"agentVersion": "1"}))

    def after(self, seconds: float, mark: str) -> list[Key]:
        """Have a list read after a time, in which the machine's Lease is so."""
        self.now_s += seconds
        self.heartbeats.take(WEB, mark)
        self.heartbeats.ended("")
        return self.heartbeats.keep(self.store)

    def presence(self, version: str = "1") -> Presence:
        return self.heartbeats.presence(machine(), report(version))


def test_a_machine_that_falls_silent_is_looked_at_once_and_again_when_it_comes_back() -> None:
    watched = Watched()
    watched.after(0, "a")
    assert watched.presence() is Presence.THERE
    for _ in range(4):
        assert watched.after(60, "a") == []
    assert watched.after(60, "a") == [WEB]
    assert watched.presence() is Presence.SILENT
    assert watched.after(60, "a") == []
    assert watched.after(60, "b") == [WEB]
    assert watched.presence() is Presence.THERE


def test_what_a_machine_reports_is_a_sign_too() -> None:
    watched = Watched()
    watched.after(0, "a")
    assert watched.presence() is Presence.THERE
    for _ in range(6):
        watched.after(60, "a")
    assert watched.presence() is Presence.SILENT
    assert watched.presence("2") is Presence.THERE


def test_what_a_copy_says_is_no_sign_of_the_machine() -> None:
    watched = Watched()
    watched.after(0, "a")
    assert watched.presence() is Presence.THERE
    for hour in range(6):
        watched.after(60, "a")
        copies = {"abc": {"hostname": "clone-1", "time": f"2026-01-01T0{hour}:00:00Z"}}
        status = {"agentVersion": "1", "copies": copies}
        told = goal_state.parse(objects.goal_state("web-1", GOAL, status)).report
        found = watched.heartbeats.presence(machine(), told)
    assert found is Presence.SILENT


def test_an_api_server_that_was_away_makes_nobody_unreachable() -> None:
    watched = Watched()
    watched.after(0, "a")
    assert watched.presence() is Presence.THERE
    assert watched.after(3600, "a") == []
    assert watched.presence() is Presence.THERE


def test_a_machine_that_is_gone_is_forgotten() -> None:
    watched = Watched()
    watched.after(0, "a")
    watched.presence()
    watched.store.observe("virtualmachines", objects.machine(), deleted=True)
    watched.store.observe("goalstates", objects.goal_state("web-1", GOAL), deleted=True)
    assert watched.after(600, "a") == []


def test_a_namespace_that_could_not_be_read_makes_nobody_unreachable() -> None:
    now = [1000.0]
    heartbeats = Heartbeats(Clock(lambda: NOW, lambda: now[0]), 60.0, Namespaces(["default", "other"]))
    heartbeats.take(WEB, "a")
    heartbeats.ended("default")
    for _ in range(20):
        now[0] += 60
        heartbeats.ended("other")
    assert heartbeats.presence(machine(), report("1")) is Presence.THERE
    heartbeats.ended("default")
    assert heartbeats.presence(machine(), report("1")) is Presence.THERE, "only so much time has gone on there"
    for _ in range(6):
        now[0] += 60
        heartbeats.ended("default")
    assert heartbeats.presence(machine(), report("1")) is Presence.SILENT

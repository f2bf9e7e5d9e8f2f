"""Two machines with one identity: told from one that boots, and from a server that was restored."""

from __future__ import annotations

from typing import Any

import pytest

from support import objects
from vmext_operator.api import goal_state
from vmext_operator.api.goal_state import Copy, Report
from vmext_operator.api.meta import Key
from vmext_operator.control.duplicates import Duplicates
from vmext_operator.core import duplicates, transition
from vmext_operator.core.duplicates import Sighting

WEB = Key("default", "web-1")
GOAL: dict[str, Any] = {"vmUID": "uid-web-1", "modelHash": "h", "lastSequenceNumber": 0, "extensions": []}


def report(**status: Any) -> Report:
    found = goal_state.parse(objects.goal_state("web-1", GOAL, {"agentVersion": "1"} | status)).report
    assert found is not None
    return found


def held(name: str, machine: str = "") -> Report:
    return report(holder={"id": name, "term": 1, "machine": machine})


def history(*seen: tuple[str, float]) -> tuple[Sighting, ...]:
    found: tuple[Sighting, ...] = ()
    for name, at_s in seen:
        found = duplicates.observe(found, name, "", at_s)
    return found


@pytest.mark.parametrize(
    ("what", "seen", "now_s", "expected"),
    [
        ("nothing was ever said", (), 0.0, set()),
        ("one machine, for long", (("a", 0.0), ("a", 60.0), ("a", 6000.0)), 6000.0, set()),
        ("a boot", (("a", 0.0), ("b", 60.0)), 60.0, set()),
        ("many boots", (("a", 0.0), ("b", 60.0), ("c", 70.0), ("d", 80.0)), 80.0, set()),
        ("an agent that does not say", (("a", 0.0), ("", 60.0), ("a", 120.0)), 120.0, set()),
        ("two in turn", (("a", 0.0), ("b", 60.0), ("a", 120.0)), 120.0, {"a", "b"}),
        ("two in turn, a while ago", (("a", 0.0), ("b", 60.0), ("a", 120.0)), 719.0, {"a", "b"}),
        ("two in turn, long ago", (("a", 0.0), ("b", 60.0), ("a", 120.0)), 720.0, set()),
        ("five in turn", tuple((name, float(at)) for at, name in enumerate("abcdeabcde")), 10.0, set("abcde")),
        ("a server that was restored", (("a", 0.0), ("b", 60.0), ("a", 9999.0)), 9999.0, set()),
    ],
)
def test_two_in_turn_are_told_from_one_that_boots(
    what: str, seen: tuple[tuple[str, float], ...], now_s: float, expected: set[str]
) -> None:
    assert {one.id for one in duplicates.in_turn(history(*seen), now_s)} == expected, what


def test_a_history_does_not_grow_for_ever() -> None:
    assert len(history(*((f"boot-{number}", float(number)) for number in range(1000)))) < 20


def test_what_is_reported_and_what_the_lease_has_are_not_of_one_moment() -> None:
    seen = Duplicates()
    seen.take_lease(WEB, "a", 0.0)
    assert seen.take_report(WEB, held("b"), 1.0) is None
    # The list of Leases was read a moment before the machine booted.
    seen.take_lease(WEB, "a", 2.0)
    seen.take_lease(WEB, "b", 60.0)
    assert seen.take_report(WEB, held("b"), 60.0) is None


def test_both_machines_are_named_and_it_clears_by_itself() -> None:
    seen = Duplicates()
    for name, machine, at_s in (
        ("i/1", "machine-id 1", 0.0),
        ("i/2", "machine-id 2", 1.0),
        ("i/1", "machine-id 1", 2.0),
    ):
        found = seen.take_report(WEB, held(name, machine), at_s)
    assert found is not None
    assert (found.type, found.status, found.reason) == ("DuplicateIdentity", "True", "DuplicateIdentity")
    assert "i/1 (machine-id 1)" in found.message
    assert "i/2 (machine-id 2)" in found.message
    assert "kubectl vmext enroll web-1 --again" in found.message
    assert not seen.has_changed(WEB, 601.0)
    assert seen.has_changed(WEB, 602.0)
    assert seen.take_report(WEB, held("i/1", "machine-id 1"), 602.0) is None


def test_leases_in_turn_are_found_where_nothing_is_reported() -> None:
    seen = Duplicates()
    for at_s, name in enumerate(("i/1", "i/2", "i/1")):
        seen.take_lease(WEB, name, 60.0 * at_s)
    assert seen.take_report(WEB, None, 120.0) is not None
    seen.keep(set())
    assert seen.take_report(WEB, None, 120.0) is None


def copied(time: str, hostname: str = "clone-1") -> Report:
    notice = {"hostname": hostname, "machine": "machine-id 2", "reason": "enrolled elsewhere", "time": time}
    return report(copies={"abc": notice})


def test_a_copy_is_said_for_as_long_as_it_says_that_it_is_there() -> None:
    seen = Duplicates()
    found = seen.take_report(WEB, copied("2026-01-01T00:00:00Z"), 0.0)
    assert found is not None
    assert found.reason == "CopyFound"
    assert "clone-1 (machine-id 2); enrolled elsewhere" in found.message
    # Its clock may be anything: that it is another time is what counts, and the words stay as they are.
    again = seen.take_report(WEB, copied("1999-01-01T00:00:00Z"), 800.0)
    assert again == found
    assert not seen.has_changed(WEB, 1600.0)
    assert seen.has_changed(WEB, 1700.0)
    assert seen.take_report(WEB, copied("1999-01-01T00:00:00Z"), 1700.0) is None


def test_what_a_guest_writes_may_be_anything() -> None:
    rubbish: tuple[Any, ...] = (None, 1, [], {"id": 1}, {"id": None, "term": "x"})
    for one in rubbish:
        assert report(holder=one, copies=one).holder.id == ""
    assert report(copies={"a": {"hostname": 1}}).copies == ()
    many = [Copy(f"c{number}", "h" * 253, "m" * 512, "r" * 1024, "") for number in range(16)]
    found = duplicates.condition("web-1", (), many)
    assert found is not None
    assert "and 11 more" in found.message
    assert len(found.message) < 8192


def test_an_event_is_written_when_it_is_found_and_not_again() -> None:
    found = duplicates.condition("web-1", (), [Copy("c", "clone-1", "", "", "")])
    assert found is not None
    now = {"conditions": [{"type": found.type, "reason": found.reason, "message": found.message}]}
    said = transition.say_of_machine({}, now)
    assert said is not None
    assert (said.reason, said.warning) == ("CopyFound", True)
    assert transition.say_of_machine(now, now) is None
    assert transition.say_of_machine(now, {}) is None

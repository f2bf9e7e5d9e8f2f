from __future__ import annotations

import itertools
from typing import Any

from support import objects
from vmext_operator.api import virtual_machine
from vmext_operator.api.credential import LOOK_AGAIN
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.control import looks
from vmext_operator.control.looks import Looks


class Watch:
    """Looks with a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.looks = Looks(lambda: self.now_s)

    def look(self, machine: VirtualMachine) -> bool:
        thorough = self.looks.is_thorough(machine)
        self.looks.took(machine)
        return thorough

    def due_in_s(self, machine: VirtualMachine, *, has_other_anchor: bool = False) -> float:
        return self.looks.due_in_s(machine, has_other_anchor=has_other_anchor)


def machine(name: str = "web-1", *, asked: str = "", known: bool = True) -> VirtualMachine:
    obj: dict[str, Any] = objects.machine(name, annotations={LOOK_AGAIN: asked} if asked else {})
    if known:
        obj["status"]["credential"] = {"anchorUID": "anchor"}
    return virtual_machine.parse(obj)


def test_a_machine_of_which_nothing_is_known_is_given_everything_at_once() -> None:
    watch = Watch()
    assert watch.due_in_s(machine(known=False)) <= 0
    assert watch.look(machine(known=False))


def test_without_a_reason_every_machine_is_looked_at_now_and_then_and_seldom_thoroughly() -> None:
    watch = Watch()
    due = sorted(watch.due_in_s(machine(f"vm-{number}")) - looks.SETTLED_AFTER_S for number in range(200))
    assert 0 < due[0] < looks.EVERY_S * 0.05
    assert due[-1] > looks.EVERY_S * 0.95
    thorough = sum(watch.look(machine(f"vm-{number}")) for number in range(200))
    assert 5 < thorough < 60
    assert watch.due_in_s(machine("vm-0")) == looks.EVERY_S
    assert sum(watch.look(machine("vm-0")) for _ in range(16)) == 2


def test_the_thorough_looks_of_a_fleet_are_spread_as_all_looks_are() -> None:
    watch = Watch()
    fleet = sorted((machine(f"vm-{number}") for number in range(400)), key=watch.due_in_s)
    sooner, later = (sum(watch.look(one) for one in half) for half in (fleet[:200], fleet[200:]))
    assert 10 < sooner < 40
    assert 10 < later < 40


def test_who_asks_is_looked_at_at_once_and_thoroughly() -> None:
    watch = Watch()
    watch.look(machine())
    assert watch.due_in_s(machine(asked="now")) <= 0
    assert watch.look(machine(asked="now"))
    assert watch.due_in_s(machine(asked="now")) == looks.EVERY_S


def test_after_a_start_those_who_have_asked_some_time_take_turns() -> None:
    watch = Watch()
    due = [watch.due_in_s(machine(f"vm-{number}", asked="once")) for number in range(100)]
    assert due[0] <= 0
    assert all(0.1 < later - sooner < 0.3 for sooner, later in itertools.pairwise(due))
    assert watch.due_in_s(machine("vm-50", asked="once")) == due[50], "asking again does not lose the turn"


def test_another_anchor_is_a_reason_but_not_at_every_report() -> None:
    watch = Watch()
    assert watch.due_in_s(machine(), has_other_anchor=True) <= 0
    watch.look(machine())
    assert 0 < watch.due_in_s(machine(), has_other_anchor=True) <= 5
    watch.now_s += 5
    assert watch.due_in_s(machine(), has_other_anchor=True) <= 0

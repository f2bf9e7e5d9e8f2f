from __future__ import annotations

from support import objects
from vmext_operator.api import virtual_machine
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


def machine(name: str = "web-1") -> VirtualMachine:
    return virtual_machine.parse(objects.machine(name))


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


def test_another_anchor_is_a_reason_but_not_at_every_report() -> None:
    watch = Watch()
    assert watch.due_in_s(machine(), has_other_anchor=True) <= 0
    watch.look(machine())
    assert 0 < watch.due_in_s(machine(), has_other_anchor=True) <= 5
    watch.now_s += 5
    assert watch.due_in_s(machine(), has_other_anchor=True) <= 0

"""How long objects have stood where they stand, and that nothing is remembered of those that are gone."""

from __future__ import annotations

from vmext_operator.api.meta import Key
from vmext_operator.control.stages import Stages

WEB, DB = Key("default", "web"), Key("default", "db")


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_age_counts_from_the_first_look_at_a_stage() -> None:
    clock = Clock()
    stages = Stages(clock)

    assert stages.age(WEB, "a", "waiting") == 0
    clock.now += 3
    assert stages.age(WEB, "a", "waiting") == 3
    assert stages.age(WEB, "a", "running") == 0
    clock.now += 2
    assert stages.age(WEB, "a", "running") == 2


def test_what_is_gone_is_forgotten_and_other_machines_are_not_touched() -> None:
    clock = Clock()
    stages = Stages(clock)
    for machine, uid in ((WEB, "a"), (WEB, "b"), (DB, "c")):
        stages.age(machine, uid, "same")
    clock.now += 5

    stages.keep(WEB, {"b"})

    assert stages.age(WEB, "a", "same") == 0
    assert stages.age(WEB, "b", "same") == 5
    assert stages.age(DB, "c", "same") == 5


def test_nothing_is_left_of_a_machine_without_objects() -> None:
    stages = Stages(Clock())
    stages.age(WEB, "a", "same")

    stages.keep(WEB, set())

    assert not vars(stages)["_since"]

"""Why entries are held: what it costs to find out does not depend on how they depend on each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from unit.agent import goals
from unit.agent.goals import Goal
from vmext_agent import hold, plan
from vmext_agent.records import Disk, Record


class Counted(dict[str, Record]):
    """Records that count how often they are asked for."""

    asked = 0

    def get(self, name: str, default: Record | None = None) -> Record | None:  # type: ignore[override]
        self.asked += 1
        return super().get(name, default)


def complete(size: int) -> Goal:
    """Return a goal whose every entry depends on all before it."""
    names = [f"x{index:03}" for index in range(size)]
    entries = [
        goals.entry(name, handler=f"Test.H{index}", depends_on=tuple(reversed(names[:index])))
        for index, name in enumerate(names)
    ]
    return goals.goal(*entries)


def all_held(goal: Goal, disk: Disk) -> None:
    evaluation = hold.Evaluation(goal, disk)
    held = [evaluation.why(entry) for entry in goal.entries]
    assert [one is not None for one in held] == [False] + [True] * (len(held) - 1)


def planned(goal: Goal, disk: Disk) -> None:
    assert {step.extension for step in plan.plan(goal, disk)} == {"x000"}


def asks(size: int, look: Callable[[Goal, Disk], None], *, fails: bool = False) -> int:
    """Return how often a record was asked for while a goal of so many entries was looked at."""
    goal = complete(size)
    begun = {"x000": goals.record(goal.entries[0], verdict=goals.failed(retry=not fails))}
    records = Counted(begun)
    look(goal, Disk(records, {}, goals.BOOT))
    return records.asked


@pytest.mark.parametrize("look", [all_held, planned])
def test_each_dependency_is_looked_at_a_few_times_however_many_there_are(look: Callable[[Goal, Disk], None]) -> None:
    counts = {size: asks(size, look) for size in (16, 64, 256)}

    for size, count in counts.items():
        assert count <= 8 * size * size, f"{size} entries cost {counts}"


def test_a_failure_is_found_at_the_same_cost() -> None:
    def look(goal: Goal, disk: Disk) -> None:
        evaluation = hold.Evaluation(goal, disk)
        reasons = {held.reason for entry in goal.entries if (held := evaluation.why(entry)) is not None}
        assert reasons == {"DependencyFailed"}

    assert asks(256, look, fails=True) <= 8 * 256 * 256


def test_a_chain_as_long_as_a_goal_can_be_costs_no_stack() -> None:
    names = [f"x{index:03}" for index in range(256)]
    depends = [(), *((name,) for name in names)]
    made = [
        goals.entry(name, handler=f"Test.{name}", depends_on=depends_on)
        for name, depends_on in zip(names, depends, strict=False)
    ]
    goal = goals.goal(*made)

    held = hold.why(goal.entries[-1], goal, Disk({}, {}, goals.BOOT))

    assert held is not None
    assert held.reason == "WaitingForDependency"

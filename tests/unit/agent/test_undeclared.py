"""What the agent reports of what is on its machine and in nobody's goal."""

from __future__ import annotations

import pytest

from unit.agent import goals, schema
from unit.agent.goals import Folder, disk, entry, goal, record
from unit.agent.planning import ENABLED, INSTALLED, NOT_INSTALLED
from vmext_agent import records, report, undeclared
from vmext_agent.goal_state import Refused
from vmext_agent.records import Disk
from vmext_agent.undeclared import Undeclared

SEVERAL = ENABLED._replace(multi_config=True, enabled=frozenset({"a", "b"}))


def found(wanted: goals.Goal, before: Disk) -> tuple[Undeclared, ...]:
    made = undeclared.find(wanted, before)
    schema.check({"undeclared": report.undeclared(made)}, schema.status_schema())
    return made


def test_what_a_snapshot_brought_back_is_reported_by_its_name() -> None:
    before = disk(record(entry("old"), enabled=True), folders={"1.0.0": ENABLED})

    assert found(goal(), before) == (Undeclared(goals.HANDLER, "1.0.0", "old"),)


@pytest.mark.parametrize("state", ["enabled", "uninstall", "orphan"])
def test_what_the_goal_speaks_of_is_declared(state: str) -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert found(goal(entry(state=state)), before) == ()


def test_a_handler_is_declared_by_whatever_extension_takes_it_over() -> None:
    before = disk(record(entry("old"), enabled=True), folders={"1.0.0": ENABLED})

    assert found(goal(entry("new", number=2)), before) == ()


def test_what_an_entry_that_can_not_be_read_is_about_is_declared() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})
    refused = Refused("one", entry().key, "no")

    assert found(goal()._replace(refused=(refused,)), before) == ()


@pytest.mark.parametrize(
    ("folder", "is_there"),
    [
        (ENABLED, True),
        (INSTALLED, True),
        (Folder(records.UNUSABLE), True),
        (NOT_INSTALLED, False),
        (Folder(records.FAILED_UPGRADE), False),
    ],
)
def test_what_was_only_downloaded_or_taken_back_is_not_there(folder: Folder, is_there: bool) -> None:
    assert bool(found(goal(), disk(folders={"1.0.0": folder}))) is is_there


def test_what_was_set_aside_for_a_change_that_nobody_ends_is_there() -> None:
    before = disk(folders={"1.1.0": NOT_INSTALLED}, aside={goals.HANDLER: frozenset({"1.0.0"})})

    assert found(goal(), before) == (Undeclared(goals.HANDLER, "1.0.0"),)


def test_of_a_handler_that_takes_several_each_extension_is_declared_by_itself() -> None:
    before = disk(folders={"1.0.0": SEVERAL})

    assert found(goal(entry("a", multi_config=True)), before) == (
        Undeclared(goals.HANDLER, "1.0.0", "b", several=True),
    )
    assert [one.extension for one in found(goal(), before)] == ["a", "b"]
    assert found(goal(), disk(folders={"1.0.0": SEVERAL._replace(enabled=frozenset())})) == (
        Undeclared(goals.HANDLER, "1.0.0"),
    )


def test_what_is_reported_is_bounded_whatever_the_names_on_the_machine() -> None:
    hostile = ("A", "x" * 81, "../etc", "a\nb", "")
    folder = SEVERAL._replace(enabled=frozenset((*hostile, *(f"n{number:03}" for number in range(100)))))
    long = {f"{'P' * 200}.T": {"1.0.0": ENABLED}, "P.T": {"1" * 60: ENABLED}}
    owner = record(entry("../../x", handler="P.Q"), enabled=True)
    handlers = {**long, "P.Q": {"1.0.0": ENABLED}, "Z.Several": {"1.0.0": folder}}

    made = found(goal(), Disk({"../../x": owner}, handlers, goals.BOOT))

    assert len(made) == undeclared.MOST
    assert made[0] == Undeclared("P.Q", "1.0.0")
    assert {one.handler for one in made} == {"P.Q", "Z.Several"}
    assert not {one.extension for one in made} & set(hostile[:-1])

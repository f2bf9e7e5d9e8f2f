"""What machines' reports cost is on their own accounts, and what people declare fills those again."""

from __future__ import annotations

import asyncio

import pytest

from support import objects
from vmext_operator.api import virtual_machine_extension
from vmext_operator.api.meta import Key
from vmext_operator.cluster.events import Event
from vmext_operator.control import budgets
from vmext_operator.control.budgets import Budgets
from vmext_operator.control.recorder import Recorder

WEB, DB = Key("default", "web"), Key("default", "db")


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def of_one() -> tuple[Budgets, Clock]:
    clock = Clock()
    return Budgets(clock, lambda _: 1), clock


def test_writes_are_on_the_account_of_the_machine_that_is_worked_on() -> None:
    found, clock = of_one()
    budgets.working_for.set(WEB)

    for _ in range(100):
        found.requested("PATCH")
        found.requested("GET")

    assert found.work_in_s(WEB) == 100 - 34 + 1
    assert found.work_in_s(DB) == 0
    clock.now += found.work_in_s(WEB)
    assert found.work_in_s(WEB) == 0


def test_what_is_declared_for_a_machine_is_looked_at_at_once() -> None:
    found, _ = of_one()
    found.worked(WEB, 500.0)
    for _ in range(50):
        found.wrote_event(WEB)
    assert found.work_in_s(WEB) > 60
    assert found.event_in_s(WEB) > 60

    found.declared(WEB)

    assert found.work_in_s(WEB) == found.event_in_s(WEB) == 0


def test_machines_that_are_quiet_take_no_room() -> None:
    found, clock = of_one()
    for number in range(1500):
        found.worked(Key("default", f"web-{number}"), 1.0)
        clock.now += 0.1
    found.worked(WEB, 90.0)

    assert len(found._work._accounts) < 600
    assert found.work_in_s(WEB) > 0


def event(name: str, reason: str, number: int = 0) -> Event:
    about = virtual_machine_extension.parse(objects.extension(name)).meta
    return Event("VirtualMachineExtension", about, reason != "Succeeded", reason, f"for the {number}th time")


class Told:
    """A recorder, and what came through it."""

    def __init__(self) -> None:
        self.budgets, self.clock = of_one()
        self.written: list[Event] = []

        async def write(event: Event) -> None:
            self.written.append(event)

        self.recorder = Recorder(write, self.budgets, lambda: f"t{self.clock.now:.0f}")

    def tell(self, found: Event) -> None:
        asyncio.run(self.recorder.record(WEB, found))

    def flush(self) -> float | None:
        return asyncio.run(self.recorder.flush(WEB))


def test_events_come_at_once_while_there_are_few() -> None:
    told = Told()
    for number in range(12):
        told.tell(event("one", "ExecutionFailed", number))

    assert [(one.count, one.others) for one in told.written] == [(1, 0)] * 12
    assert told.flush() is None


def test_a_flood_of_events_is_one_a_minute_with_a_count_and_the_newest_of_each_in_the_end() -> None:
    told = Told()
    for number in range(112):
        told.tell(event("one", "ExecutionFailed" if number % 2 else "Succeeded", number))
        told.tell(event("two", "TimedOut", number))
    first = len(told.written)
    assert first == 12

    assert told.flush() == 60.0
    told.clock.now += 59.0
    assert told.flush() == pytest.approx(1.0)
    told.clock.now += 1.0
    assert told.flush() == 60.0
    told.clock.now += 60.0
    assert told.flush() is None

    one, two = sorted(told.written[first:], key=lambda found: found.about.key.name)
    assert (one.reason, one.message, one.count, one.others, one.since) == (
        "ExecutionFailed",
        "for the 111th time",
        1,
        105,
        "t100",
    )
    assert (two.reason, two.message, two.count, two.others) == ("TimedOut", "for the 111th time", 106, 0)
    rendered = one.render("t220")
    assert rendered["message"] == "for the 111th time (105 other Events since t100 are not written)"
    assert (rendered["firstTimestamp"], rendered["lastTimestamp"], rendered["count"]) == ("t100", "t220", 1)


def test_a_long_message_leaves_room_for_what_it_stands_for() -> None:
    long = event("one", "TimedOut").after(event("one", "Succeeded"))

    rendered = Event(**{field: getattr(long, field) for field in long.__slots__} | {"message": "x" * 5000}).render("t")

    assert len(rendered["message"]) == 1024
    assert rendered["message"].endswith("are not written)")

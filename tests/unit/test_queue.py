from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from vmext_operator.control.queue import KeyedQueue

Scenario = Callable[[KeyedQueue[str]], Awaitable[None]]


def play(scenario: Scenario) -> None:
    async def run() -> None:
        queue: KeyedQueue[str] = KeyedQueue(random.Random(1))
        try:
            async with asyncio.timeout(5):
                await scenario(queue)
        finally:
            queue.close()

    asyncio.run(run())


def test_a_key_is_in_the_queue_once() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for key in ("a", "b", "a"):
            queue.add(key)
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    play(scenario)


def test_the_newest_passes_the_bulk_and_every_fourth_turn_is_that_of_the_one_that_has_waited_longest() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for number in range(3):
            queue.add(f"bulk-{number}")
        for number in range(6):
            queue.add(f"fresh-{number}", fresh=True)
        queue.add("bulk-2", fresh=True)
        queue.add("fresh-0")
        taken = [await queue.get() for _ in range(9)]
        assert taken[:4] == ["bulk-2", "fresh-5", "fresh-4", "bulk-0"]
        assert taken[4:] == ["fresh-3", "fresh-2", "fresh-1", "bulk-1", "fresh-0"]

    play(scenario)


def test_of_many_that_have_just_changed_the_first_is_not_buried_under_the_last() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for number in range(100):
            queue.add(f"fresh-{number}", fresh=True)
        taken = []
        for number in range(12):
            queue.add(f"more-{number}", fresh=True)
            taken.append(await queue.get())
        assert [one for one in taken if one.startswith("fresh")] == ["fresh-0", "fresh-1", "fresh-2"]

    play(scenario)


def test_what_is_fresh_stays_so_after_a_failure_and_while_it_is_worked_on() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        queue.add("failed", fresh=True)
        queue.add("worked-on")
        assert [await queue.get(), await queue.get()] == ["failed", "worked-on"]
        queue.failed("failed")
        queue.add("bulk")
        queue.add("worked-on", fresh=True)
        queue.add("worked-on")
        queue.done("worked-on")
        assert await queue.get() == "worked-on"
        while len(queue) < 2:
            await asyncio.sleep(0.01)
        assert [await queue.get(), await queue.get()] == ["bulk", "failed"], "the fourth turn, and the fifth"
        queue.add("other")
        queue.add_after("again", 0.001)
        while len(queue) < 2:
            await asyncio.sleep(0.001)
        assert await queue.get() == "again"

    play(scenario)


def test_a_key_added_while_it_is_worked_on_is_due_again_afterwards_and_not_before() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert await queue.get() == "a"

    play(scenario)


def test_a_failure_comes_back_after_a_growing_time_until_it_goes_well() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        delays = []
        for _ in range(3):
            queue.add("a")
            delays.append(queue.failed(await queue.get()))
        assert delays[0] <= 0.05
        assert delays == sorted(delays)
        assert await queue.get() == "a"
        queue.done("a")
        queue.add("a")
        assert queue.failed(await queue.get()) <= 0.05

    play(scenario)


def test_of_several_times_to_come_back_the_soonest_counts() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        queue.add_after("a", 3600)
        queue.add_after("a", 0.01)
        queue.add_after("a", 60)
        assert await queue.get() == "a"

    play(scenario)


def test_a_worker_that_waits_is_woken() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        assert await waiting == "a"

    play(scenario)


def test_the_queue_is_idle_when_nothing_waits_and_nothing_is_worked_on() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        await queue.idle()
        queue.add("a")
        idle = asyncio.create_task(queue.idle())
        key = await queue.get()
        queue.add("a")
        queue.done(key)
        await asyncio.sleep(0)
        assert not idle.done()
        queue.done(await queue.get())
        await idle

    play(scenario)


def test_a_key_has_something_to_do_since_it_was_first_added_whatever_failed_meanwhile() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        queue.add("a")
        assert queue.age_s("b") == 0
        for _ in range(3):
            queue.failed(await queue.get())
        await queue.get()
        assert queue.age_s("a") >= 0.05
        assert queue.age_s("a") <= loop.time() - begun
        queue.add("a")
        queue.done("a")
        again = queue.age_s("a")
        assert again < loop.time() - begun
        queue.done(await queue.get())
        assert queue.age_s("a") == 0

    play(scenario)


def test_the_queue_stalls_where_none_is_taken_or_one_is_held_and_not_where_one_waits_for_long() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        assert queue.stalled_s == 0
        for key in ("a", "b", "c"):
            queue.add(key)
        await asyncio.sleep(0.05)
        assert queue.stalled_s >= 0.05
        held, begun = await queue.get(), asyncio.get_running_loop().time()
        assert queue.stalled_s < 0.05, "the others have waited longer, and it moves"
        await asyncio.sleep(0.05)
        other = await queue.get()
        assert queue.stalled_s >= 0.05, "the first one is still with its worker"
        queue.done(held)
        assert queue.stalled_s < asyncio.get_running_loop().time() - begun
        queue.done(await queue.get())
        queue.failed(other)
        assert (queue.stalled_s, queue.working) == (0, 0), "what comes back later counts not at all"

    play(scenario)

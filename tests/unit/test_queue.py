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


def test_what_somebody_waits_for_passes_the_bulk_which_still_gets_its_turns() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for number in range(4):
            queue.add(f"bulk-{number}")
        for number in range(4):
            queue.add(f"urgent-{number}", urgent=True)
        queue.add("bulk-3", urgent=True)
        taken = [await queue.get() for _ in range(8)]
        assert taken[:4] == ["urgent-0", "urgent-1", "urgent-2", "bulk-0"]
        assert taken[4:] == ["urgent-3", "bulk-3", "bulk-1", "bulk-2"]

    play(scenario)


def test_what_is_urgent_stays_so_after_a_failure_and_while_it_is_worked_on() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        queue.add("failed", urgent=True)
        queue.add("worked-on")
        assert [await queue.get(), await queue.get()] == ["failed", "worked-on"]
        queue.failed("failed")
        for key in ("bulk-0", "bulk-1"):
            queue.add(key)
        queue.add("worked-on", urgent=True)
        queue.add("worked-on")
        queue.done("worked-on")
        assert await queue.get() == "worked-on"
        while len(queue) < 3:
            await asyncio.sleep(0.01)
        assert [await queue.get(), await queue.get()] == ["bulk-0", "failed"]

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


def test_the_oldest_key_waits_urgently_or_is_worked_on() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        queue.add("bulk")
        assert (queue.oldest_s, queue.working) == (0, 0)
        queue.add("a", urgent=True)
        await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0.05)
        assert queue.oldest_s >= 0.05
        key = await queue.get()
        # Its time with the worker counts by itself, and what comes back later counts not at all.
        assert queue.oldest_s < 0.05
        assert queue.working == 1
        queue.failed(key)
        assert (queue.oldest_s, queue.working) == (0, 0)

    play(scenario)

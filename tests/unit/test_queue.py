from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from vmext_operator.control.queue import KeyedQueue, Lane

Scenario = Callable[[KeyedQueue[str]], Awaitable[None]]


def play(scenario: Scenario) -> None:
    async def run() -> None:
        queue: KeyedQueue[str] = KeyedQueue(random.Random(1), lambda key: key.rpartition("/")[0])
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


def test_what_is_declared_passes_what_is_under_way_and_that_the_bulk_the_newest_first() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for number in range(3):
            queue.add(f"bulk-{number}")
        for number in range(4):
            queue.add(f"ongoing-{number}", Lane.ONGOING)
        for number in range(3):
            queue.add(f"urgent-{number}", Lane.URGENT)
        queue.add("bulk-2", Lane.ONGOING)
        queue.add("urgent-0", Lane.BULK)
        assert [await queue.get() for _ in range(3)] == ["urgent-2", "urgent-1", "urgent-0"]
        assert [await queue.get() for _ in range(4)] == ["bulk-2", "ongoing-3", "ongoing-2", "ongoing-1"]
        # The eighth turn is that of the first lane's oldest, or of the next one's where that is empty.
        assert [await queue.get() for _ in range(3)] == ["ongoing-0", "bulk-0", "bulk-1"]

    play(scenario)


def test_nobody_is_forgotten_however_much_is_declared() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for lane in Lane:
            for number in range(40):
                queue.add(f"{lane.name}-{number}", lane)
        taken = []
        for number in range(24):
            queue.add(f"more-{number}", Lane.URGENT)
            taken.append(await queue.get())
        assert [taken.index(f"{lane.name}-0") for lane in Lane] == [7, 15, 23], "the oldest of each lane in turn"
        assert sum(one.startswith("more") for one in taken) == 15
        assert sum(one.startswith("ONGOING") for one in taken) == 7
        assert sum(one.startswith("BULK") for one in taken) == 1

    play(scenario)


def test_who_declares_one_thing_waits_for_nobody_who_has_declared_many() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for number in range(100):
            queue.add(f"flood/{number}", Lane.URGENT)
        queue.add("small/one", Lane.URGENT)
        for number in range(100, 200):
            queue.add(f"flood/{number}", Lane.URGENT)
        assert "small/one" in [await queue.get() for _ in range(2)]
        queue.add("small/two", Lane.URGENT)
        queue.add("tiny/one", Lane.URGENT)
        assert {"small/two", "tiny/one"} <= {await queue.get() for _ in range(4)}

    play(scenario)


def test_the_turn_of_whoever_has_waited_longest_is_that_whose_ever_it_is() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for key in ("a/0", "b/0", "b/1", "a/1", "b/2", "a/2"):
            queue.add(key, Lane.URGENT)
            await asyncio.sleep(0.001)
        taken = []
        for number in range(3, 11):
            queue.add(f"a/{number}", Lane.URGENT)
            queue.add(f"b/{number}", Lane.URGENT)
            taken.append(await queue.get())
        # Not one turn of the first seven is that of who was there before.
        assert taken[-1] == "a/0"
        assert {key.partition("/")[0] for key in taken[:2]} == {"a", "b"}

    play(scenario)


def test_what_is_begun_is_ended_before_more_is_begun() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        for number in range(100):
            queue.add(f"machine-{number}")
        begun: dict[str, int] = {}
        ended, longest = 0, 0
        while ended < 100:
            key = await queue.get()
            begun[key] = begun.get(key, 0) + 1
            queue.done(key)
            if begun[key] == 5:
                ended += 1
                del begun[key]
            else:
                queue.add(key, Lane.ONGOING)
            longest = max(longest, len(begun))
        assert longest <= 3

    play(scenario)


def test_what_is_urgent_stays_so_after_a_failure_and_while_it_is_worked_on() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        queue.add("failed", Lane.URGENT)
        queue.add("worked-on")
        assert [await queue.get(), await queue.get()] == ["failed", "worked-on"]
        queue.failed("failed")
        queue.add("worked-on", Lane.URGENT)
        queue.add("worked-on")
        queue.done("worked-on")
        while len(queue) < 2:
            await asyncio.sleep(0.01)
        queue.add("ongoing", Lane.ONGOING)
        # The third turn, and the fourth, which is one of what is under way.
        assert [await queue.get() for _ in range(3)] == ["failed", "ongoing", "worked-on"]

    play(scenario)


def test_what_has_its_time_is_under_way() -> None:
    async def scenario(queue: KeyedQueue[str]) -> None:
        queue.add("bulk")
        queue.add_after("again", 0.001)
        while len(queue) < 2:
            await asyncio.sleep(0.001)
        assert [await queue.get(), await queue.get()] == ["again", "bulk"]

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

"""A queue of keys: each is in it once, is worked on by one worker at a time, and comes back later after a failure.

Two lanes: what has just changed passes what comes in bulk, the newest of it first; every fourth turn goes to whoever
has waited longest. However much there is to do, what happens now is answered now, and what is begun is brought to its
end before more is begun (decision 20).
"""

from __future__ import annotations

import asyncio
import random
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")

_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 30.0
_LONGEST_EVERY = 4


class _Turn(NamedTuple):
    since: float
    fresh: bool


class KeyedQueue(Generic[K]):
    """Keys that wait for work.

    Args:
        random_source: spreads retries.
    """

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        #: Those that wait, by lane, and those that are worked on: since when, by the event loop's time.
        self._fresh: dict[K, float] = {}
        self._bulk: dict[K, float] = {}
        self._working: dict[K, _Turn] = {}
        self._turn = 0
        #: When a key was taken last, or the first one came.
        self._moved = 0.0
        #: Since when there is something to do for a key, failures included.
        self._since: dict[K, float] = {}
        #: Keys that were added while they were worked on: they are due again when that is done.
        self._again: dict[K, _Turn] = {}
        self._timers: dict[K, tuple[asyncio.TimerHandle, bool]] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._bulk)

    def add(self, key: K, fresh: bool = False) -> None:
        """Put a key in, to be worked on as soon as a worker is free; it is fresh where it has changed just now."""
        now = asyncio.get_running_loop().time()
        self._since.setdefault(key, now)
        if key in self._working:
            before = self._again.get(key, _Turn(now, fresh))
            self._again[key] = _Turn(before.since, before.fresh or fresh)
            return
        if not len(self):
            self._moved = now
        if fresh:
            self._fresh.setdefault(key, self._bulk.pop(key, now))
        elif key not in self._fresh:
            self._bulk.setdefault(key, now)
        self._wake.set()

    @property
    def working(self) -> int:
        """Return how many keys are worked on."""
        return len(self._working)

    @property
    def stalled_s(self) -> float:
        """Return for how long a key has been with a worker, at most, or none was taken though there is one that waits.

        How long a key waits is no sign: the last one of a fleet's waits for long while all is well.
        """
        now = asyncio.get_running_loop().time()
        times = [turn.since for turn in self._working.values()]
        return max((now - since for since in (*times, *((self._moved,) if len(self) else ()))), default=0.0)

    def age_s(self, key: K) -> float:
        """Return for how long there is something to do for a key, 0 where there is nothing."""
        now = asyncio.get_running_loop().time()
        return now - self._since.get(key, now)

    def add_after(self, key: K, delay_s: float, fresh: bool = True) -> None:
        """Put a key in after a time; of several such times the soonest counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if key in self._timers:
            timer, was_fresh = self._timers[key]
            if timer.when() <= due:
                return
            timer.cancel()
            fresh = fresh or was_fresh
        self._timers[key] = loop.call_at(due, self._due, key), fresh

    async def get(self) -> K:
        """Take the next key; the one who takes it says ``done`` or ``failed`` afterwards."""
        while not len(self):
            self._wake.clear()
            await self._wake.wait()
        self._moved = asyncio.get_running_loop().time()
        key, is_fresh = self._next()
        self._working[key] = _Turn(self._moved, is_fresh)
        return key

    def done(self, key: K) -> None:
        """End the work on a key that went well."""
        self._failures.pop(key, None)
        self._since.pop(key, None)
        self._end(key)

    def failed(self, key: K) -> float:
        """End the work on a key that went wrong; it comes back after a time that grows. Return that time."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay: float = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures, 16)) * self._random.uniform(0.5, 1.0)
        again = self._again.pop(key, None)
        fresh = self._working[key].fresh or (again is not None and again.fresh)
        self._end(key)
        self.add_after(key, delay, fresh)
        return delay

    async def idle(self) -> None:
        """Return when no key is worked on and none waits, but those that come later."""
        while len(self) or self._working:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        """Forget what would come later."""
        for timer, _ in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _next(self) -> tuple[K, bool]:
        """Take the next key out; return it, and whether it was fresh."""
        self._turn += 1
        lanes = [lane for lane in (self._fresh, self._bulk) if lane]
        if self._turn % _LONGEST_EVERY:
            lane = lanes[0]
            key = next(reversed(lane)) if lane is self._fresh else next(iter(lane))
        else:
            lane = min(lanes, key=lambda one: next(iter(one.values())))
            key = next(iter(lane))
        del lane[key]
        return key, lane is self._fresh

    def _end(self, key: K) -> None:
        del self._working[key]
        again = self._again.pop(key, None)
        if again is not None:
            self._since[key] = again.since
            self.add(key, again.fresh)
        if not len(self) and not self._working:
            self._idle.set()

    def _due(self, key: K) -> None:
        _, fresh = self._timers.pop(key)
        self.add(key, fresh)

"""A queue of keys: each is in it once, is worked on by one worker at a time, and comes back later after a failure."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")

_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 30.0


class KeyedQueue(Generic[K]):
    """Keys that wait for work, first come first served.

    Args:
        random_source: spreads retries.
    """

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        #: Those that wait and those that are worked on: since when, by the event loop's time.
        self._ready: OrderedDict[K, float] = OrderedDict()
        self._working: dict[K, float] = {}
        #: Since when there is something to do for a key, failures included.
        self._since: dict[K, float] = {}
        #: Keys that were added while they were worked on: they are due again when that is done.
        self._again: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Put a key in, to be worked on as soon as a worker is free."""
        now = asyncio.get_running_loop().time()
        self._since.setdefault(key, now)
        if key in self._working:
            self._again.setdefault(key, now)
        elif key not in self._ready:
            self._ready[key] = now
            self._wake.set()

    @property
    def working(self) -> int:
        """Return how many keys are worked on."""
        return len(self._working)

    @property
    def oldest_s(self) -> float:
        """Return for how long a key has waited for a worker, or has been with one, at most; 0 where there is none.

        What failed before does not count: one object that can't be written makes nobody sick.
        """
        now = asyncio.get_running_loop().time()
        return max((now - since for since in (*self._ready.values(), *self._working.values())), default=0.0)

    def age_s(self, key: K) -> float:
        """Return for how long there is something to do for a key, 0 where there is nothing."""
        now = asyncio.get_running_loop().time()
        return now - self._since.get(key, now)

    def add_after(self, key: K, delay_s: float) -> None:
        """Put a key in after a time; of several such times the soonest counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._due, key)

    async def get(self) -> K:
        """Take the next key; the one who takes it says ``done`` or ``failed`` afterwards."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key, _ = self._ready.popitem(last=False)
        self._working[key] = asyncio.get_running_loop().time()
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
        self._again.pop(key, None)
        self._end(key)
        self.add_after(key, delay)
        return delay

    async def idle(self) -> None:
        """Return when no key is worked on and none waits, but those that come later."""
        while self._ready or self._working:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        """Forget what would come later."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _end(self, key: K) -> None:
        del self._working[key]
        again = self._again.pop(key, None)
        if again is not None:
            self._since[key] = again
            self.add(key)
        if not self._ready and not self._working:
            self._idle.set()

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

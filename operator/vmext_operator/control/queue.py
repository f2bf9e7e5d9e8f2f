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
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._working: set[K] = set()
        #: Keys that were added while they were worked on: they are due again when that is done.
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Put a key in, to be worked on as soon as a worker is free."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._wake.set()

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
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """End the work on a key that went well."""
        self._failures.pop(key, None)
        self._end(key)

    def failed(self, key: K) -> float:
        """End the work on a key that went wrong; it comes back after a time that grows. Return that time."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay: float = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures, 16)) * self._random.uniform(0.5, 1.0)
        self._again.discard(key)
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
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        if not self._ready and not self._working:
            self._idle.set()

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

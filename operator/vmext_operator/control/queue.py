"""A queue of keys: each is in it once, is worked on by one worker at a time, and comes back later after a failure.

Three lanes: what was just declared passes what is under way, and that what comes in bulk. In the first two the newest
is first, so that what happens now is answered now however much there is to do; some turns are those of lanes behind,
and of whoever has waited longest in each, so that nobody is forgotten (decision 20). In each lane all owners of keys
have their turns, one after another: nobody waits for what somebody else has declared a thousand of (decision 22).
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")

_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 30.0


class Lane(enum.IntEnum):
    """How soon a key gets its turn: the first of them soonest."""

    #: Somebody has just declared something for it, and waits.
    URGENT = 0
    #: Work on it goes on: what it was told has had its effect, or its time has come.
    ONGOING = 1
    #: It came with many others.
    BULK = 2


#: Whose turn it is, again and again; None is whoever has waited longest, of each lane in turn. Where a lane is empty it
#: is the turn of the first one that is not, or for None of the next one. The bulk's own share is small: what it begins
#: is ended before more begins.
_TURNS = (
    *(Lane.URGENT, Lane.URGENT, Lane.URGENT, Lane.ONGOING),
    *(Lane.URGENT, Lane.URGENT, Lane.ONGOING, None),
)


class _Turn(NamedTuple):
    since: float
    lane: Lane


class _Waiting(Generic[K]):
    """The keys of one lane, and since when each waits: by owner, whose turn it is first."""

    def __init__(self, owner: Callable[[K], Hashable]) -> None:
        self._owner = owner
        self._owned: dict[Hashable, dict[K, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._owned)

    def put(self, key: K, since: float) -> None:
        """Have a key wait, as its owner's newest."""
        self._owned.setdefault(self._owner(key), {})[key] = since

    def remove(self, key: K) -> None:
        """Have a key that waits do so no more."""
        owner = self._owner(key)
        keys = self._owned[owner]
        del keys[key]
        if not keys:
            del self._owned[owner]

    def take(self, *, newest: bool) -> K:
        """Take the key that its owner added last, or first: of the owner whose turn it is."""
        owner, keys = next(iter(self._owned.items()))
        key = next(reversed(keys) if newest else iter(keys))
        # Its next turn comes after all others'.
        self._owned[owner] = self._owned.pop(owner)
        self.remove(key)
        return key

    def take_longest(self) -> K:
        """Take the key that has waited longest, whose ever it is."""
        # Each owner's keys are in the order in which they came.
        firsts = (next(iter(keys.items())) for keys in self._owned.values())
        key, _ = min(firsts, key=lambda first: first[1])
        self.remove(key)
        return key


class KeyedQueue(Generic[K]):
    """Keys that wait for work.

    Args:
        random_source: spreads retries.
        owner: whose a key is.
    """

    def __init__(self, random_source: random.Random, owner: Callable[[K], Hashable]) -> None:
        self._random = random_source
        #: Those that wait, and those that are worked on: since when, by the event loop's time.
        self._lanes: dict[Lane, _Waiting[K]] = {lane: _Waiting(owner) for lane in Lane}
        self._lane_of: dict[K, Lane] = {}
        self._working: dict[K, _Turn] = {}
        self._turns = 0
        #: When a key was taken last, or the first one came.
        self._moved = 0.0
        #: Since when there is something to do for a key, failures included.
        self._since: dict[K, float] = {}
        #: Keys that were added while they were worked on: they are due again when that is done.
        self._again: dict[K, _Turn] = {}
        self._timers: dict[K, tuple[asyncio.TimerHandle, Lane]] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lane_of)

    def add(self, key: K, lane: Lane = Lane.BULK) -> None:
        """Put a key in, to be worked on as soon as a worker is free; one that is in a lane before this stays there."""
        now = asyncio.get_running_loop().time()
        self._since.setdefault(key, now)
        if key in self._working:
            before = self._again.get(key, _Turn(now, lane))
            self._again[key] = _Turn(before.since, min(before.lane, lane))
            return
        if not len(self):
            self._moved = now
        waits_in = self._lane_of.get(key)
        if waits_in is None or lane < waits_in:
            if waits_in is not None:
                self._lanes[waits_in].remove(key)
            self._lanes[lane].put(key, now)
            self._lane_of[key] = lane
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
        since = [turn.since for turn in self._working.values()]
        if len(self):
            since.append(self._moved)
        now = asyncio.get_running_loop().time()
        return now - min(since, default=now)

    def age_s(self, key: K) -> float:
        """Return for how long there is something to do for a key, 0 where there is nothing."""
        now = asyncio.get_running_loop().time()
        return now - self._since.get(key, now)

    def add_after(self, key: K, delay_s: float, lane: Lane = Lane.ONGOING) -> None:
        """Put a key in after a time; of several such times the soonest counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if key in self._timers:
            timer, before = self._timers[key]
            if timer.when() <= due:
                return
            timer.cancel()
            lane = min(lane, before)
        self._timers[key] = loop.call_at(due, self._due, key), lane

    async def get(self) -> K:
        """Take the next key; the one who takes it says ``done`` or ``failed`` afterwards."""
        while not len(self):
            self._wake.clear()
            await self._wake.wait()
        self._moved = asyncio.get_running_loop().time()
        key, lane = self._next()
        self._working[key] = _Turn(self._moved, lane)
        return key

    def done(self, key: K) -> None:
        """End the work on a key that went well."""
        self._failures.pop(key, None)
        self._since.pop(key, None)
        self._end(key)

    def failed(self, key: K, at_least_s: float = 0.0) -> float:
        """End the work on a key that went wrong; it comes back after a time that grows. Return that time."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay: float = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures, 16)) * self._random.uniform(0.5, 1.0)
        delay = max(delay, at_least_s)
        again = self._again.pop(key, None)
        lane = min(self._working[key].lane, Lane.BULK if again is None else again.lane)
        self._end(key)
        self.add_after(key, delay, lane)
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

    def _next(self) -> tuple[K, Lane]:
        """Take the next key out; return it with its lane."""
        rounds, turn = divmod(self._turns, len(_TURNS))
        self._turns += 1
        wanted = _TURNS[turn]
        lane = next(one for one in self._order(wanted, rounds) if self._lanes[one])
        waiting = self._lanes[lane]
        key = waiting.take_longest() if wanted is None else waiting.take(newest=lane is not Lane.BULK)
        del self._lane_of[key]
        return key, lane

    @staticmethod
    def _order(wanted: Lane | None, rounds: int) -> Iterator[Lane]:
        """Yield the lanes to look into, one after another."""
        if wanted is not None:
            yield wanted
            yield from Lane
            return
        for number in range(len(Lane)):
            yield Lane((rounds + number) % len(Lane))

    def _end(self, key: K) -> None:
        del self._working[key]
        again = self._again.pop(key, None)
        if again is not None:
            self._since[key] = again.since
            self.add(key, again.lane)
        if not len(self) and not self._working:
            self._idle.set()

    def _due(self, key: K) -> None:
        _, lane = self._timers.pop(key)
        self.add(key, lane)

"""The goal state as a watch brings it, each version stamped with the time of its arrival."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from development.api import Api, TimedOutError
from guests.agent_machine import Machine

_WATCHED_S = 3600.0
_PATIENCE_S = 30.0


class Sighting(NamedTuple):
    """A version of the object, and when it came, in seconds since 1970."""

    at: float
    obj: Mapping[str, Any]


class Sightings:
    """What a watch brings from now on."""

    def __init__(self) -> None:
        self._seen: queue.SimpleQueue[Sighting] = queue.SimpleQueue()
        self._over = False

    def take(self, obj: Mapping[str, Any] | None) -> bool:
        """Take note of a version; tell whether it was the last that is wanted. Called in the watch's thread."""
        if obj is not None:
            self._seen.put(Sighting(time.time(), obj))
        return self._over

    def end(self) -> None:
        """Have the next version be the last."""
        self._over = True

    def first(self, test: Callable[[Mapping[str, Any]], bool]) -> Sighting:
        """Return the first version that passes a test; those before it are dropped.

        Raises:
            TimedOutError: nothing new has come for half a minute; with the status that came last.
        """
        last: Mapping[str, Any] = {}
        while True:
            try:
                sighting = self._seen.get(timeout=_PATIENCE_S)
            except queue.Empty:
                shown = json.dumps(last.get("status"), indent=1)
                raise TimedOutError(f"the goal state has not changed for {_PATIENCE_S:.0f} s: {shown}") from None
            last = sighting.obj
            if test(last):
                return sighting


@contextlib.contextmanager
def watching(machine: Machine) -> Iterator[Sightings]:
    """Watch a machine's goal state until the block ends."""
    sightings = Sightings()
    api = Api(machine.cluster.kubeconfig, machine.api.namespace)
    with ThreadPoolExecutor(1) as pool, contextlib.closing(api):
        watched = pool.submit(api.wait, "GoalState", machine.name, sightings.take, timeout_s=_WATCHED_S)
        sightings.first(lambda _: True)
        try:
            yield sightings
        finally:
            sightings.end()
            # The same goal again would be no new version, and the watch would wait for one.
            machine.last += 1
            machine.apply()
            watched.result()

"""Events about a machine's extensions: each at once while there are few, and then the newest of each, with a count.

As Kubernetes does with repeated ones: what comes too often is one Event that says how often. It is kept in memory until
it may be written; one that is lost with its operator changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from vmext_operator.api.meta import Key
from vmext_operator.cluster.events import Event
from vmext_operator.control.budgets import Budgets


class Recorder:
    """Writes Events, as many as a machine's account has.

    Args:
        write: an Event.
        budgets: of the machines.
        now: the wall's time as the API writes it.
    """

    def __init__(self, write: Callable[[Event], Awaitable[None]], budgets: Budgets, now: Callable[[], str]) -> None:
        self._write = write
        self._budgets = budgets
        self._now = now
        #: By machine and the object's UID, those that have waited longest first.
        self._waiting: dict[Key, dict[str, Event]] = {}

    async def record(self, machine: Key, event: Event) -> None:
        """Write an Event, or have it wait; of an object that has one waiting the newer one does so for both."""
        waiting = self._waiting.setdefault(machine, {})
        before = waiting.get(event.about.uid)
        waiting[event.about.uid] = replace(event, since=self._now()) if before is None else event.after(before)
        await self.flush(machine)

    async def flush(self, machine: Key) -> float | None:
        """Write what may be written; return after how many seconds there is more to write, None for nothing."""
        waiting = self._waiting.get(machine)
        while waiting:
            wait_s = self._budgets.event_in_s(machine)
            if wait_s > 0:
                return wait_s
            uid = next(iter(waiting))
            event = waiting.pop(uid)
            self._budgets.wrote_event(machine)
            await self._write(event)
        self._waiting.pop(machine, None)
        return None

"""Know which machines are there: their Leases, read as one list a minute, and their reports as they come."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace

from vmext_operator.api import conditions
from vmext_operator.api.goal_state import Report
from vmext_operator.api.meta import Key
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.cluster import leases
from vmext_operator.cluster.client import Client
from vmext_operator.control.duplicates import Duplicates
from vmext_operator.control.namespaces import ALL, Namespaces
from vmext_operator.control.store import Store
from vmext_operator.control.writer import Clock
from vmext_operator.core import reachability
from vmext_operator.core.reachability import Presence, Sign
from vmext_operator.errors import ClusterError

logger = logging.getLogger(__name__)

#: How often Leases are read unless people set it otherwise.
EVERY_S = 60.0


class Heartbeats:
    """The machines' signs of life.

    Time goes on only while signs can be seen: an API server that was away, for machines as well as for the operator,
    makes no machine unreachable. Nor does a namespace that could not be read: each has a time of its own.

    Args:
        clock: monotonic time.
        every_s: how often Leases are read.
        seen: whose Leases they are.
    """

    def __init__(self, clock: Clock, every_s: float, seen: Namespaces) -> None:
        self._clock = clock
        self._every_s = every_s
        self._seen = seen
        #: By scope: when its Leases were last read, and how much time had gone on until then.
        self._read_at = dict.fromkeys(seen.scopes, clock.monotonic())
        self._seen_s = dict.fromkeys(seen.scopes, 0.0)
        #: How often in a row the Leases of a scope could not be read.
        self._failures = dict.fromkeys(seen.scopes, 0)
        self._leases: dict[Key, Sign] = {}
        self._reports: dict[Key, Sign] = {}
        #: Whose Lease was there when all were read last.
        self._owners: set[Key] = set()
        #: What was said of each machine last.
        self._told: dict[Key, Presence] = {}
        self._duplicates = Duplicates()

    def presence(self, machine: VirtualMachine, report: Report | None) -> Presence:
        """Return whether a machine's agent is there; what it reports is a sign too."""
        key = machine.meta.key
        # What its copies say is no sign of its own.
        own = None if report is None else replace(report, copies=())
        self._reports[key] = reachability.observe(self._reports.get(key), own, self._now_s(key))
        found = self._told[key] = self._judge(machine, report)
        return found

    def duplicates(self, machine: VirtualMachine, report: Report | None) -> conditions.Condition | None:
        """Return what is to be said of other machines with the identity of this one, None for nothing."""
        key = machine.meta.key
        return self._duplicates.take_report(key, report, self._now_s(key))

    def take(self, key: Key, mark: str, holder: str = "") -> None:
        """Take note of a machine's Lease, and of who has renewed it."""
        self._leases[key] = reachability.observe(self._leases.get(key), mark, self._now_s(key))
        self._duplicates.take_lease(key, holder, self._now_s(key))

    def ended(self, scope: str) -> None:
        """Take note that all Leases of a scope have been read: who gave no sign until now gave none."""
        # Time in which nothing could be read is left out: what an absence hid is no silence.
        self._seen_s[scope], self._read_at[scope] = self._time_of(scope), self._clock.monotonic()

    def has_lease(self, key: Key) -> bool:
        """Tell whether there is a Lease of that machine, declared or not."""
        return key in self._owners

    def forget(self, key: Key) -> None:
        """Take note that a machine's Lease is no more."""
        self._owners.discard(key)

    def keep(self, store: Store) -> list[Key]:
        """Forget the machines that are gone; return those to look at.

        That is whoever comes or goes, and whose Lease outlived its machine.
        """
        known = store.machine_keys()
        for signs in (self._leases, self._reports, self._told):
            for key in [key for key in signs if key not in known]:
                del signs[key]
        self._duplicates.keep(known)
        changed = [key for key in self._owners if store.machine(key) is None]
        for key, told in self._told.items():
            machine, goal_state = store.machine(key), store.goal_state(key)
            report = goal_state.report if goal_state is not None else None
            if machine is None:
                continue
            if self._judge(machine, report) is not told or self._duplicates.has_changed(key, self._now_s(key)):
                changed.append(key)
        return changed

    async def read(self, client: Client, scope: str) -> None:
        """Read all Leases of a scope. Raises ClusterError."""
        owners = {key for key in self._owners if self._seen.scope_of(key.namespace) != scope}
        async for page in leases.renewals(client, scope):
            owners.update(page)
            for key, renewed in page.items():
                if renewed.time:
                    self.take(key, renewed.time, renewed.holder)
        self._owners = owners
        self.ended(scope)

    async def keep_reading(
        self, client: Client, store: Store, add: Callable[[Key], None], random_source: random.Random
    ) -> None:
        """Read all Leases again and again, for ever, and have looked at those machines that come or go."""
        while True:
            for scope in self._seen.scopes:
                await self._read_or_say(client, scope)
            for key in self.keep(store):
                add(key)
            await asyncio.sleep(self._every_s * random_source.uniform(0.9, 1.1))

    async def _read_or_say(self, client: Client, scope: str) -> None:
        try:
            await self.read(client, scope)
        except ClusterError as error:
            if scope in self._seen.out_of_reach:
                # That is said already.
                return
            self._failures[scope] += 1
            # A namespace may be about to be known as out of reach.
            if self._failures[scope] == (1 if scope == ALL else 2):
                logger.warning(
                    "leases not read; nobody counts as unreachable meanwhile scope=%s error=%s",
                    scope or "every namespace",
                    error,
                )
        else:
            self._failures[scope] = 0

    def _now_s(self, key: Key) -> float:
        return self._time_of(self._seen.scope_of(key.namespace))

    def _time_of(self, scope: str) -> float:
        return self._seen_s[scope] + min(self._clock.monotonic() - self._read_at[scope], 1.5 * self._every_s)

    def _judge(self, machine: VirtualMachine, report: Report | None) -> Presence:
        key = machine.meta.key
        seen_s = self._seen_s[self._seen.scope_of(key.namespace)]
        found = [sign for sign in (self._leases.get(key), self._reports.get(key)) if sign is not None]
        return reachability.judge(machine, found, has_reported=report is not None, begun_s=0.0, now_s=seen_s)

"""Know which machines are there: their Leases, read as one list a minute, and their reports as they come."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from vmext_operator.api.goal_state import Report
from vmext_operator.api.meta import Key
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.cluster import leases
from vmext_operator.cluster.client import Client
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
    makes no machine unreachable.

    Args:
        clock: monotonic time.
        every_s: how often Leases are read.
    """

    def __init__(self, clock: Clock, every_s: float) -> None:
        self._clock = clock
        self._every_s = every_s
        self._read_at = clock.monotonic()
        self._seen_s = 0.0
        self._leases: dict[Key, Sign] = {}
        self._reports: dict[Key, Sign] = {}
        #: Whose Lease was there when all were read last.
        self._owners: set[Key] = set()
        #: What was said of each machine last.
        self._told: dict[Key, Presence] = {}

    def presence(self, machine: VirtualMachine, report: Report | None) -> Presence:
        """Return whether a machine's agent is there; what it reports is a sign too."""
        key = machine.meta.key
        self._reports[key] = reachability.observe(self._reports.get(key), report, self._now_s())
        found = self._told[key] = self._judge(machine, report)
        return found

    def take(self, key: Key, mark: str) -> None:
        """Take note of a machine's Lease."""
        self._leases[key] = reachability.observe(self._leases.get(key), mark, self._now_s())

    def ended(self) -> None:
        """Take note that all Leases have been read: who gave no sign until now gave none."""
        # Time in which nothing could be read is left out: what an absence hid is no silence.
        self._seen_s, self._read_at = self._now_s(), self._clock.monotonic()

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
        changed = [key for key in self._owners if store.machine(key) is None]
        for key, told in self._told.items():
            machine, goal_state = store.machine(key), store.goal_state(key)
            report = goal_state.report if goal_state is not None else None
            if machine is not None and self._judge(machine, report) is not told:
                changed.append(key)
        return changed

    async def read(self, client: Client) -> None:
        """Read all Leases. Raises ClusterError."""
        owners: set[Key] = set()
        async for page in leases.renewals(client):
            owners.update(page)
            for key, renewed in page.items():
                if renewed:
                    self.take(key, renewed)
        self._owners = owners
        self.ended()

    async def keep_reading(
        self, client: Client, store: Store, add: Callable[[Key], None], random_source: random.Random
    ) -> None:
        """Read all Leases again and again, for ever, and have looked at those machines that come or go."""
        failed = False
        while True:
            try:
                await self.read(client)
            except ClusterError as error:
                if not failed:
                    logger.warning("leases not read; nobody counts as unreachable meanwhile error=%s", error)
                failed = True
            else:
                failed = False
                for key in self.keep(store):
                    add(key)
            await asyncio.sleep(self._every_s * random_source.uniform(0.9, 1.1))

    def _now_s(self) -> float:
        return self._seen_s + min(self._clock.monotonic() - self._read_at, 1.5 * self._every_s)

    def _judge(self, machine: VirtualMachine, report: Report | None) -> Presence:
        key = machine.meta.key
        found = [sign for sign in (self._leases.get(key), self._reports.get(key)) if sign is not None]
        return reachability.judge(machine, found, has_reported=report is not None, begun_s=0.0, now_s=self._seen_s)

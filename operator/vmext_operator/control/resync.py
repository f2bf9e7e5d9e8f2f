"""List every kind in full: before the first decision, and every few minutes after it.

A watch tells what changes while it stands. What was deleted while it was broken it never tells; the list does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from vmext_operator.api import GROUP, VERSION, extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import Client
from vmext_operator.control import kinds
from vmext_operator.control.metrics import Metrics
from vmext_operator.control.store import Store
from vmext_operator.control.watches import Watches
from vmext_operator.errors import TransientClusterError

logger = logging.getLogger(__name__)

#: Machines last: once one is known, all that decides about it is known too.
PLURALS = (
    extension_image.PLURAL,
    goal_state.PLURAL,
    virtual_machine_extension.PLURAL,
    virtual_machine.PLURAL,
)
INTERVAL_S = 300.0
#: What a list had first, its watch has to bring within this time.
SECOND_LOOK_S = 60.0
_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 5.0


class Resync:
    """Takes the full list of every kind into the store, again and again.

    Args:
        client: the API server.
        store: the picture of the cluster.
        watches: told what a list had that no watch had brought.
        metrics: told the same.
        clock: monotonic seconds.
        interval_s: between two lists.
        random_source: spreads them.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        watches: Watches,
        metrics: Metrics,
        clock: Callable[[], float],
        interval_s: float,
        random_source: random.Random,
    ) -> None:
        self._client = client
        self._store = store
        self._watches = watches
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._random = random_source
        self._is_first = True
        #: When the last list of everything ended that went well; at first, when this was made.
        self.last_good = clock()

    async def list_patiently(self) -> None:
        """Take the full list of every kind into the store, however long the API server is away. Raises ClusterError."""
        await _patiently(self._list)
        self.last_good = self._clock()
        self._is_first = False

    async def keep_listing(self, add: Callable[[Key], None]) -> None:
        """List everything again every few minutes, for ever, and have every machine looked at.

        Raises:
            ClusterError: the API server refuses it.
            WatchHangsError: a watch tells nothing though there is something to tell.
        """
        while True:
            await asyncio.sleep(self._interval_s * self._random.uniform(0.8, 1.2))
            await self.list_patiently()
            for key in self._store.machine_keys():
                add(key)
            if self._watches.owing():
                patience_s = min(SECOND_LOOK_S, self._interval_s)
                await asyncio.sleep(patience_s)
                self._watches.check(patience_s)

    async def _list(self) -> None:
        for plural in PLURALS:
            begun, version = self._clock(), "0"
            objects: list[dict[str, Any]] = []
            async for page, version in self._client.list_all(plural):  # noqa: B007 - the last page's version is wanted
                objects.extend(page)
            found = self._store.replace(plural, objects, version)
            self._watches.listed(plural, begun, found.news)
            if not self._is_first:
                self._metrics.differences(plural, found)
            if found.deletions:
                logger.warning("deletions that no watch told plural=%s count=%d", plural, found.deletions)


async def wait_until_served(client: Client) -> None:
    """Return when the API server serves all of our kinds, and says so to those who ask what it serves.

    kopf asks once, when it starts, and never watches what is missing then: the kinds of a server that is itself just
    starting, or kinds that are installed after the operator. Raises ClusterError.
    """

    async def look() -> None:
        found = await kinds.served(client)
        missing = sorted(set(PLURALS) - found)
        if missing:
            await kinds.release_what_is_stuck(client, found)
            what = f"the API server does not serve {', '.join(missing)} of {GROUP}/{VERSION}"
            raise TransientClusterError(what, 404, "install the CRDs; the operator goes on when they are there")

    await _patiently(look)


async def _patiently(attempt: Callable[[], Awaitable[None]]) -> None:
    delay_s = _FIRST_RETRY_S
    while True:
        try:
            await attempt()
        except TransientClusterError as error:
            logger.warning("trying again after=%.1fs error=%s", delay_s, error)
            await asyncio.sleep(delay_s)
            delay_s = min(_LAST_RETRY_S, delay_s * 2)
        else:
            return

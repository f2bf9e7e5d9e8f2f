"""List everything in full: before the first decision (the feed does), and every few minutes after it.

A watch tells what changes while it stands. What was deleted while it was broken it never tells; the list does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from vmext_operator.api import GROUP, VERSION
from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import Client
from vmext_operator.control import kinds, namespaces
from vmext_operator.control.backoff import Backoff
from vmext_operator.control.metrics import Metrics
from vmext_operator.control.namespaces import Collection, Namespaces
from vmext_operator.control.store import Differences, Store
from vmext_operator.control.watches import Watches
from vmext_operator.errors import GoneError, RefusedError, TransientClusterError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Between two lists there are so many times what the last one took: it grows with the fleet, and is no work of its own.
_TAKEN = 20
#: But no more than so many intervals: a list that waited for the API server took no work either.
_LONGEST = 4
#: What a list had first, its watch has to bring within this time.
SECOND_LOOK_S = 60.0


class Resync:
    """Takes the full list of every collection into the store, again and again.

    Args:
        client: the API server.
        store: the picture of the cluster.
        seen: what there is to list; told where that is refused.
        watches: told what a list had that no watch had brought.
        metrics: told the same.
        clock: monotonic seconds.
        interval_s: between two lists, at least.
        random_source: spreads them.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        seen: Namespaces,
        watches: Watches,
        metrics: Metrics,
        clock: Callable[[], float],
        interval_s: float,
        random_source: random.Random,
    ) -> None:
        self._client = client
        self._store = store
        self._seen = seen
        self._watches = watches
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._took_s = 0.0
        self._random = random_source
        #: When the last list of everything ended that went well; at first, when this was made.
        self.last_good = clock()

    @property
    def every_s(self) -> float:
        """Return how long it is between two lists, on average."""
        return min(max(self._interval_s, _TAKEN * self._took_s), _LONGEST * self._interval_s)

    async def keep_listing(self, add: Callable[[Key], None]) -> None:
        """List everything again every few minutes, for ever, and have every machine looked at.

        Raises:
            ClusterError: the API server refuses it.
            WatchHangsError: a watch tells nothing though there is something to tell.
        """
        self.last_good = self._clock()
        while True:
            await asyncio.sleep(self.every_s * self._random.uniform(0.8, 1.2))
            begun = self._clock()
            for collection in self._seen.readable():
                await self._list(collection)
            self.last_good = self._clock()
            self._took_s = self.last_good - begun
            for key in self._store.machine_keys():
                add(key)
            if self._watches.owing():
                patience_s = min(SECOND_LOOK_S, self._interval_s)
                await asyncio.sleep(patience_s)
                self._watches.check(patience_s)

    async def _list(self, collection: Collection) -> None:
        begun = self._clock()
        try:
            _, found = await list_patiently(self._client, self._store, collection, Backoff(self._random))
        except RefusedError as error:
            if collection.namespace == namespaces.ALL or not namespaces.is_refusal(error):
                raise
            # Its watches may stand for half an hour more.
            self._seen.doubt(collection.namespace)
            return
        self._watches.listed(collection, begun, found.news)
        self._metrics.differences(collection.plural, found)


async def list_patiently(
    client: Client, store: Store, collection: Collection, backoff: Backoff
) -> tuple[str, Differences]:
    """Take the full list of a collection into the store, however long the API server is away.

    Returns:
        The list's resourceVersion, and what it brought.

    Raises:
        ClusterError: the API server refuses it.
    """
    return await _patiently(lambda: _list(client, store, collection), backoff)


async def _list(client: Client, store: Store, collection: Collection) -> tuple[str, Differences]:
    listed: set[Key] = set()
    version, news = "0", 0
    async for page, version in client.list_all(*collection):  # noqa: B007 - the last page's version is wanted
        # Page by page: fifty thousand objects as they come are a gigabyte.
        for obj in page:
            news += store.observe(collection.plural, obj, listed=True)
            listed.add(Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
    lost = store.retain(collection, listed, version)
    if lost:
        logger.warning("deletions that no watch told collection=%s count=%d", collection, lost)
    return version, Differences(news, lost)


async def wait_until_served(client: Client, scopes: Sequence[str], backoff: Backoff) -> None:
    """Return when the API server serves all of our kinds, and says so to those who ask what it serves.

    Kinds may be installed after the operator, and a server that is itself just starting has none of them yet. Where
    they are being taken away, what hangs on that is let go in those scopes. Raises ClusterError.
    """

    async def look() -> None:
        found = await kinds.served(client)
        missing = sorted({namespaces.CATALOG.plural, *namespaces.NAMESPACED} - found)
        if missing:
            await kinds.release_what_is_stuck(client, found, scopes)
            what = f"the API server does not serve {', '.join(missing)} of {GROUP}/{VERSION}"
            raise TransientClusterError(what, 404, "install the CRDs; the operator goes on when they are there")

    await _patiently(look, backoff)


async def _patiently(attempt: Callable[[], Awaitable[T]], backoff: Backoff) -> T:
    while True:
        try:
            return await attempt()
        except (TransientClusterError, GoneError) as error:
            # Gone: it took longer to read all pages than the server remembers what the first one was of.
            logger.warning("trying again after=%.1fs error=%s", backoff.at_most_s, error)
            await backoff.wait()

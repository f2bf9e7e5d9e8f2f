"""What changes, told to the store: a list of each collection, then a watch from there, as long as the operator lives.

A watch that breaks goes on from where it was; one that is too old (410) begins again with a list, which also brings
what was deleted meanwhile. A watch that is silent for longer than the server's bookmarks allow is a dead one. A
namespace that can't be read is asked for again and again, and begins anew when it can.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from vmext_operator.cluster.client import Client
from vmext_operator.control import namespaces, resync
from vmext_operator.control.backoff import Backoff
from vmext_operator.control.namespaces import Collection, Namespaces
from vmext_operator.control.store import Store
from vmext_operator.control.tasks import first_of
from vmext_operator.errors import GoneError, RefusedError, TransientClusterError

logger = logging.getLogger(__name__)

#: How often a namespace that can't be read is asked for at last, with a request for each kind.
_LAST_LOOK_S = 15.0


class Feed:
    """Follows every collection.

    Args:
        client: the API server.
        store: is told.
        seen: told what is known in full, and what can't be read: nothing may be decided before.
        told: called with the collection and the type of each event, bookmarks included.
        random_source: spreads retries.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        seen: Namespaces,
        told: Callable[[Collection, str], None],
        random_source: random.Random,
    ) -> None:
        self._client = client
        self._store = store
        self._seen = seen
        self._told = told
        self._random = random_source

    async def run(self) -> None:
        """Follow every collection for ever. Raises ClusterError: the API server refuses to tell."""
        await first_of(self._follow(namespaces.CATALOG), *(self._attend(scope) for scope in self._seen.scopes))

    async def _attend(self, scope: str) -> None:
        """Follow what is in a scope, and begin anew whenever it could not be read for a while."""
        backoff, now = Backoff(self._random, _LAST_LOOK_S), asyncio.get_running_loop().time
        while True:
            begun = now()
            try:
                await first_of(
                    *(self._follow(collection) for collection in self._seen.collections_of(scope)),
                    self._seen.doubted(scope),
                )
                backoff.reset()
            except RefusedError as error:
                self._seen.refused(scope, error)
            if now() - begun > _LAST_LOOK_S:
                backoff.reset()
            await backoff.wait()

    async def _follow(self, collection: Collection) -> None:
        while True:
            version, _ = await resync.list_patiently(self._client, self._store, collection, Backoff(self._random))
            self._seen.listed(collection)
            try:
                await self._watch(collection, version)
            except GoneError as error:
                logger.info("watch too old, listing again collection=%s error=%s", collection, error)

    async def _watch(self, collection: Collection, version: str) -> None:
        """Watch from a version on, again from the newest one when that ends. Raises GoneError when it can't go on."""
        backoff = Backoff(self._random)
        while True:
            try:
                async for kind, obj in self._client.watch(*collection, version):
                    version = obj["metadata"]["resourceVersion"]
                    self._told(collection, kind)
                    if kind != "BOOKMARK":
                        self._store.observe(collection.plural, obj, deleted=kind == "DELETED")
                    backoff.reset()
            except TransientClusterError as error:
                wait_s = backoff.at_most_s
                logger.warning("watch broken collection=%s retry_in=%.1fs error=%s", collection, wait_s, error)
            # A server that ends every watch at once is not asked without a breath.
            await backoff.wait()

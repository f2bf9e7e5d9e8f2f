"""What changes, told to the store: a list of each kind, then a watch from there, for as long as the operator lives.

A watch that breaks goes on from where it was; one that is too old (410) begins again with a list, which also brings
what was deleted meanwhile. A watch that is silent for longer than the server's bookmarks allow is a dead one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from vmext_operator.cluster.client import Client
from vmext_operator.control import resync
from vmext_operator.control.store import Store
from vmext_operator.control.tasks import first_of
from vmext_operator.errors import GoneError, TransientClusterError

logger = logging.getLogger(__name__)

_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 5.0


class Feed:
    """Follows every kind.

    Args:
        client: the API server.
        store: is told.
        listed: set once every kind is known in full: nothing may be decided before.
        told: called with the kind and the type of each event, bookmarks included.
        random_source: spreads retries.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        listed: asyncio.Event,
        told: Callable[[str, str], None],
        random_source: random.Random,
    ) -> None:
        self._client = client
        self._store = store
        self._listed = listed
        self._told = told
        self._random = random_source

    async def run(self) -> None:
        """Follow every kind for ever. Raises ClusterError: the API server refuses to tell."""
        left = set(resync.PLURALS)

        def listed(plural: str) -> None:
            left.discard(plural)
            if not left:
                self._listed.set()

        await first_of(*(self._follow(plural, listed) for plural in resync.PLURALS))

    async def _follow(self, plural: str, listed: Callable[[str], None]) -> None:
        while True:
            version, _ = await resync.list_patiently(self._client, self._store, plural)
            listed(plural)
            try:
                await self._watch(plural, version)
            except GoneError as error:
                logger.info("watch too old, listing again plural=%s error=%s", plural, error)

    async def _watch(self, plural: str, version: str) -> None:
        """Watch from a version on, again from the newest one when that ends. Raises GoneError when it can't go on."""
        delay_s = _FIRST_RETRY_S
        while True:
            try:
                async for kind, obj in self._client.watch(plural, version):
                    version = obj["metadata"]["resourceVersion"]
                    self._told(plural, kind)
                    if kind != "BOOKMARK":
                        self._store.observe(plural, obj, deleted=kind == "DELETED")
                    delay_s = _FIRST_RETRY_S
            except TransientClusterError as error:
                logger.warning("watch broken plural=%s retry_in=%.1fs error=%s", plural, delay_s, error)
            # A server that ends every watch at once is not asked without a breath.
            await asyncio.sleep(delay_s * self._random.uniform(0.5, 1.0))
            delay_s = min(_LAST_RETRY_S, delay_s * 2)

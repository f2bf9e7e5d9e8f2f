"""What changes among Secrets, told as it happens: a list of their versions, then a watch, where people allow that.

It is a convenience and no more: where it is refused or broken the vault's own looks go on, and nothing ends.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from vmext_operator.api.meta import Key
from vmext_operator.cluster import secret_versions
from vmext_operator.cluster.client import Client
from vmext_operator.control.backoff import Backoff
from vmext_operator.control.tasks import first_of
from vmext_operator.errors import ClusterError, GoneError, RefusedError

logger = logging.getLogger(__name__)

PLURAL = "secrets"
#: How soon it is tried again after a refusal: rights may be given later.
REFUSED_AGAIN_S = 30.0


class SecretFeed:
    """Follows Secrets.

    Args:
        client: the API server.
        namespaces: whose Secrets; an empty name is all of them.
        is_named: tells whether an extension names a Secret.
        changed: called with each Secret so named that may be another one than before.
        told: called with the kind and the type of each event, bookmarks included.
        random_source: spreads retries.
        refused_again_s: how soon it is tried again after a refusal.
    """

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str],
        is_named: Callable[[Key], bool],
        changed: Callable[[Key], None],
        told: Callable[[str, str], None],
        random_source: random.Random,
        refused_again_s: float = REFUSED_AGAIN_S,
    ) -> None:
        self._client = client
        self._is_named = is_named
        self._changed = changed
        self._told = told
        self._random = random_source
        self._refused_again_s = refused_again_s
        self._left = set(namespaces)
        self._refused: set[str] = set()
        #: Set once every list was tried: whatever changes after one that went well is told.
        self.tried = asyncio.Event()

    async def run(self) -> None:
        """Follow Secrets for ever."""
        await first_of(*(self._follow(namespace) for namespace in sorted(self._left)))

    async def _follow(self, namespace: str) -> None:
        #: The versions of those that are named.
        known: dict[Key, str] = {}
        backoff = Backoff(self._random)
        while True:
            try:
                listed, version = await secret_versions.listed(self._client, namespace)
                backoff.reset()
                self._take(namespace, known, listed)
                await self._watch(namespace, version, known)
            except GoneError as error:
                logger.info("watch too old, listing again plural=%s error=%s", PLURAL, error)
            except RefusedError as error:
                self._say_refused(namespace, error)
                self._was_tried(namespace)
                await asyncio.sleep(self._refused_again_s * self._random.uniform(0.5, 1.0))
                continue
            except ClusterError as error:
                wait_s = backoff.at_most_s
                logger.warning("secrets not listed plural=%s retry_in=%.1fs error=%s", PLURAL, wait_s, error)
            self._was_tried(namespace)
            await backoff.wait()

    def _take(self, namespace: str, known: dict[Key, str], listed: dict[Key, str]) -> None:
        """Take in a list, and tell what it has otherwise; of the very first one nothing was read before."""
        is_first = namespace in self._left
        before = dict(known)
        known.clear()
        known.update((key, version) for key, version in listed.items() if self._is_named(key))
        self._was_tried(namespace)
        if not is_first:
            for key in before.keys() | known.keys():
                if before.get(key) != known.get(key):
                    self._changed(key)

    async def _watch(self, namespace: str, version: str, known: dict[Key, str]) -> None:
        """Watch from a version on, again from the newest one when that ends. Raises GoneError, RefusedError."""
        backoff = Backoff(self._random)
        while True:
            try:
                async for change in secret_versions.watched(self._client, namespace, version):
                    version = change.version
                    backoff.reset()
                    self._told(PLURAL, change.type)
                    if namespace in self._refused:
                        self._refused.remove(namespace)
                        logger.info("secrets are watched after all namespace=%s", namespace or "all")
                    if change.key is not None:
                        self._take_change(change.key, change, known)
            except (GoneError, RefusedError):
                raise
            except ClusterError as error:
                logger.warning("watch broken plural=%s retry_in=%.1fs error=%s", PLURAL, backoff.at_most_s, error)
            # A server that ends every watch at once is not asked without a breath.
            await backoff.wait()

    def _take_change(self, key: Key, change: secret_versions.Change, known: dict[Key, str]) -> None:
        known.pop(key, None)
        if not self._is_named(key):
            return
        if change.type != "DELETED":
            known[key] = change.version
        self._changed(key)

    def _say_refused(self, namespace: str, error: RefusedError) -> None:
        """Say once what will be so for long, and what to do."""
        if namespace not in self._refused:
            logger.warning(
                "secrets can't be watched, and are looked at in turns instead namespace=%s error=%s; let the operator "
                "list and watch secrets (chart value secrets.watch), or leave out --watch-secrets",
                namespace or "all",
                error,
            )
        self._refused.add(namespace)

    def _was_tried(self, namespace: str) -> None:
        self._left.discard(namespace)
        if not self._left:
            self.tried.set()

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
from vmext_operator.control.store import Store
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
_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 5.0


async def list_all(client: Client, store: Store) -> None:
    """Take the full list of every kind into the store. Raises ClusterError."""
    for plural in PLURALS:
        objects: list[dict[str, Any]] = []
        version = "0"
        async for page, version in client.list_all(plural):  # noqa: B007 - the last page's version is wanted
            objects.extend(page)
        lost = store.replace(plural, objects, version)
        if lost:
            logger.warning("deletions that no watch told plural=%s count=%d", plural, lost)


async def wait_until_served(client: Client) -> None:
    """Return when the API server serves all of our kinds, and says so to those who ask what it serves.

    kopf asks once, when it starts, and never watches what is missing then: the kinds of a server that is itself just
    starting, or kinds that are installed after the operator. Raises ClusterError.
    """

    async def look() -> None:
        groups = await client.request("GET", "/apis")
        served: set[str] = set()
        if any(group["name"] == GROUP for group in groups["groups"]):
            resources = await client.request("GET", f"/apis/{GROUP}/{VERSION}")
            served = {resource["name"] for resource in resources["resources"]}
        missing = sorted(set(PLURALS) - served)
        if missing:
            what = f"the API server does not serve {', '.join(missing)} of {GROUP}/{VERSION}"
            raise TransientClusterError(what, 404, "install the CRDs; the operator goes on when they are there")

    await _patiently(look)


async def list_patiently(client: Client, store: Store) -> None:
    """Take the full list of every kind into the store, however long the API server is away. Raises ClusterError."""
    await _patiently(lambda: list_all(client, store))


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


async def keep_listing(client: Client, store: Store, add: Callable[[Key], None], random_source: random.Random) -> None:
    """List everything again every few minutes, for ever, and have every machine looked at. Raises ClusterError."""
    while True:
        await asyncio.sleep(INTERVAL_S * random_source.uniform(0.8, 1.2))
        await list_patiently(client, store)
        for key in store.machine_keys():
            add(key)

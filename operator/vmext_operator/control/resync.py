"""List every kind in full: before the first decision, and every few minutes after it.

A watch tells what changes while it stands. What was deleted while it was broken it never tells; the list does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
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


async def list_patiently(client: Client, store: Store) -> None:
    """Take the full list of every kind into the store, however long the API server is away. Raises ClusterError."""
    delay_s = _FIRST_RETRY_S
    while True:
        try:
            await list_all(client, store)
        except TransientClusterError as error:
            logger.warning("can't list; trying again after=%.1fs error=%s", delay_s, error)
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

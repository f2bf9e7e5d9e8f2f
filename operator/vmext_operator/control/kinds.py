"""Wait for our kinds; and when they are taken away while objects of them are left, let those go."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vmext_operator.api import GROUP, VERSION, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.meta import Meta, parse
from vmext_operator.cluster.client import Client
from vmext_operator.control import namespaces
from vmext_operator.control.namespaces import Collection
from vmext_operator.errors import ClusterError, NotFoundError, RefusedError

logger = logging.getLogger(__name__)

_FINALIZERS = {
    virtual_machine_extension.PLURAL: virtual_machine_extension.FINALIZER,
    virtual_machine.PLURAL: virtual_machine.FINALIZER,
}


async def served(client: Client) -> set[str]:
    """Return which kinds of our group the API server serves, and tells those who ask. Raises ClusterError."""
    groups = await client.request("GET", "/apis")
    if not any(group["name"] == GROUP for group in groups["groups"]):
        return set()
    try:
        resources = await client.request("GET", f"/apis/{GROUP}/{VERSION}")
    except NotFoundError:
        return set()
    return {resource["name"] for resource in resources["resources"]}


async def release_what_is_stuck(client: Client, kinds: set[str], scopes: Sequence[str]) -> None:
    """Take our finalizers off deleted objects while there is no GoalState to tell a machine anything by.

    Whoever removes the kinds deletes all their objects; those with a finalizer keep their kind from going. What the
    extensions did on their machines stays. It is done in those scopes that can be read. Raises ClusterError.
    """
    if goal_state.PLURAL in kinds:
        return
    for plural, finalizer in _FINALIZERS.items():
        if plural not in kinds:
            continue
        for scope in scopes:
            try:
                await _release_all(client, Collection(plural, scope), finalizer)
            except RefusedError as error:
                if scope == namespaces.ALL or not namespaces.is_refusal(error):
                    raise
                logger.debug("not looked at collection=%s error=%s", Collection(plural, scope), error)


async def _release_all(client: Client, collection: Collection, finalizer: str) -> None:
    async for page, _ in client.list_all(*collection):
        for obj in page:
            meta = parse(obj)
            if meta.deleted is not None and finalizer in meta.finalizers:
                await _release(client, collection.plural, meta, finalizer)


async def _release(client: Client, plural: str, meta: Meta, finalizer: str) -> None:
    left = [one for one in meta.finalizers if one != finalizer]
    patch = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": left}}
    try:
        await client.patch(plural, meta.key, patch)
    except ClusterError as error:
        logger.warning("deleted object not released plural=%s object=%s error=%s", plural, meta.key, error)
    else:
        logger.warning("released, since its kind is being removed: plural=%s object=%s", plural, meta.key)

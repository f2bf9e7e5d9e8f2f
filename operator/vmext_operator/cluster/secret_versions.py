"""Which version each Secret has: what a list and a watch tell of their metadata, and no more than that is kept.

The API server leaves the data out when it is asked for metadata alone. An annotation may have it once more (``kubectl
apply`` writes one): nothing but names and versions leaves this module, and no word of an answer that is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from vmext_operator.api.meta import Key
from vmext_operator.cluster import identities
from vmext_operator.cluster.client import Client
from vmext_operator.errors import ClusterError, RefusedError, TransientClusterError

_KIND = "PartialObjectMetadata"
_ACCEPT = "application/json;as={};g=meta.k8s.io;v=v1"
_WORDS = "what the answer says is not repeated, since it may be of the content"
_MORE = 406


class Change(NamedTuple):
    """What a watch told: that a Secret came, changed or went, or (no key) how far the watch is."""

    type: str
    key: Key | None
    version: str


async def listed(client: Client, namespace: str) -> tuple[dict[Key, str], str]:
    """Return the version of each Secret of a namespace (empty: of all), and the whole list's. Raises ClusterError."""
    found: dict[Key, str] = {}
    version, target = "", _path(namespace)
    try:
        async for page in client.list_at(target, _ACCEPT.format(f"{_KIND}List")):
            _hold_to(f"{_KIND}List", page, target)
            version = page["metadata"]["resourceVersion"]
            # Of no Secrets the API server's list of metadata is null, where that of Secrets is empty (1.37).
            found |= dict(_key_and_version(one, target) for one in page["items"] or ())
    except ClusterError as error:
        raise _quiet(error, f"LIST {target}") from None
    return found, version


async def watched(client: Client, namespace: str, version: str) -> AsyncIterator[Change]:
    """Yield what happens to Secrets after a version, until the server ends the watch. Raises ClusterError."""
    target = _path(namespace)
    try:
        async for kind, obj in client.watch_at(target, version, _ACCEPT.format(_KIND)):
            _hold_to(_KIND, obj, target)
            key, newest = _key_and_version(obj, target)
            yield Change(kind, None if kind == "BOOKMARK" else key, newest)
    except ClusterError as error:
        raise _quiet(error, f"WATCH {target}") from None


def _hold_to(kind: str, obj: Mapping[str, Any], what: str) -> None:
    """Raise RefusedError where the server sent anything but metadata: values of Secrets are not to travel here."""
    if obj.get("kind") != kind:
        raise RefusedError(what, _MORE, "")


def _quiet(error: ClusterError, what: str) -> ClusterError:
    words = "the API server does not send metadata alone" if error.status == _MORE else _WORDS
    return type(error)(what, error.status, words)


def _key_and_version(obj: Mapping[str, Any], what: str) -> tuple[Key, str]:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "resourceVersion" not in metadata:
        raise TransientClusterError(what, 0, "")
    key = Key(str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
    return key, str(metadata["resourceVersion"])


def _path(namespace: str) -> str:
    return identities.path(identities.SECRETS, Key(namespace, ""))

"""The Leases that machines' agents renew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from vmext_operator.api.credential import PREFIX
from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import PAGE_SIZE, Client

_GROUP = "/apis/coordination.k8s.io/v1"


async def renewals(client: Client, namespace: str) -> AsyncIterator[Mapping[Key, str]]:
    """Yield page by page when machines' Leases were renewed, by machine and its own clock; empty for never.

    Those of a namespace, or of every one where that is empty. Raises ClusterError.
    """
    target = f"{_GROUP}/namespaces/{quote(namespace, safe='')}/leases" if namespace else f"{_GROUP}/leases"
    query = {"labelSelector": "vmext.dev/vm", "limit": str(PAGE_SIZE)}
    token = ""
    while True:
        page = await client.request("GET", target, query=query | ({"continue": token} if token else {}))
        found = {}
        for lease in page["items"]:
            metadata, renewed = lease["metadata"], (lease.get("spec") or {}).get("renewTime")
            # By its name: what it is labelled, its agent can change.
            if metadata["name"].startswith(PREFIX):
                found[Key(metadata["namespace"], metadata["name"].removeprefix(PREFIX))] = str(renewed or "")
        yield found
        token = page["metadata"].get("continue") or ""
        if not token:
            return

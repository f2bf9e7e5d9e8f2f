"""The Leases that machines' agents renew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from vmext_operator.api.credential import PREFIX
from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import PAGE_SIZE, Client

_TARGET = "/apis/coordination.k8s.io/v1/leases"


async def renewals(client: Client) -> AsyncIterator[Mapping[Key, str]]:
    """Yield page by page when machines' Leases were renewed, by machine and its own clock; empty for never.

    Raises ClusterError.
    """
    query = {"labelSelector": "vmext.dev/vm", "limit": str(PAGE_SIZE)}
    token = ""
    while True:
        page = await client.request("GET", _TARGET, query=query | ({"continue": token} if token else {}))
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

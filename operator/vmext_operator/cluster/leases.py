"""The Leases that machines' agents renew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

from vmext_operator.api.credential import PREFIX
from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import PAGE_SIZE, Client

_GROUP = "/apis/coordination.k8s.io/v1"


class Renewal(NamedTuple):
    """When a Lease was renewed, by its machine's own clock, and by which holder; both are empty for never."""

    time: str
    holder: str


async def renewals(client: Client, namespace: str) -> AsyncIterator[Mapping[Key, Renewal]]:
    """Yield page by page how machines' Leases were renewed, by machine.

    Those of a namespace, or of every one where that is empty. Raises ClusterError.
    """
    target = f"{_GROUP}/namespaces/{quote(namespace, safe='')}/leases" if namespace else f"{_GROUP}/leases"
    query = {"labelSelector": "vmext.dev/vm", "limit": str(PAGE_SIZE)}
    token = ""
    while True:
        page = await client.request("GET", target, query=query | ({"continue": token} if token else {}))
        found = {}
        for lease in page["items"]:
            metadata, spec = lease["metadata"], lease.get("spec") or {}
            # By its name: what it is labelled, its agent can change.
            if metadata["name"].startswith(PREFIX):
                found[Key(metadata["namespace"], metadata["name"].removeprefix(PREFIX))] = Renewal(
                    str(spec.get("renewTime") or ""), str(spec.get("holderIdentity") or "")
                )
        yield found
        token = page["metadata"].get("continue") or ""
        if not token:
            return

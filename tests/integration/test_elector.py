"""One candidate and its Lease, through a proxy that spoils what passes."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

import control_plane
from support import accounts, proxy
from support.proxy import Faults
from vmext_operator.cluster.client import Client
from vmext_operator.cluster.term import Term, boot_clock
from vmext_operator.control.elector import Elector
from vmext_operator.core.election import RENEW_DEADLINE_S, RETRY_S
from vmext_operator.errors import LeaseLostError


def is_renewal(method: str, path: str) -> bool:
    return method == "PUT" and path.split("?")[0].endswith("/leases/vmext-operator")


def test_a_renewal_that_is_not_answered_is_made_up_for_and_several_lose_the_lease(
    cluster: control_plane.Cluster, namespace: str, tmp_path: Path
) -> None:
    async def lead(between: proxy.Proxy, kubeconfig: Path) -> None:
        term = Term()
        async with Client(kubeconfig=str(kubeconfig), term=None, timeout_s=RETRY_S) as client:
            elector = Elector(client, namespace, "one", term, boot_clock, lambda: datetime.now(UTC), random.Random(1))
            await elector.acquire()
            keeping = asyncio.create_task(elector.keep())
            for _ in range(2):
                held = between.counts.get("held", 0)
                between.faults = Faults(held=1.0, hold_s=RETRY_S + 1, which=is_renewal)
                async with asyncio.timeout(30):
                    while between.counts.get("held", 0) == held:
                        await asyncio.sleep(0.05)
                between.faults = proxy.NONE
                # Longer than the Lease could have been held without another renewal.
                await asyncio.wait([keeping], timeout=RENEW_DEADLINE_S + 1)
                assert not keeping.done(), keeping.exception()
                term.check("a write")

            between.faults = Faults(held=1.0, hold_s=RETRY_S + 1, which=is_renewal)
            async with asyncio.timeout(30):
                with pytest.raises(LeaseLostError, match="was not renewed for"):
                    await keeping
            with pytest.raises(LeaseLostError):
                term.check("a write")

    with proxy.running(cluster.server, cluster.ca_file, random.Random(1)) as between:
        kubeconfig = accounts.kubeconfig(cluster, tmp_path, f"elector-{namespace}", server=between.url)
        asyncio.run(lead(between, kubeconfig))

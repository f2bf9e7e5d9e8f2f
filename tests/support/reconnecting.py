"""Agents that all come at once: each opens a TLS connection and watches its goal state."""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import control_plane
from development import credentials
from development.api import Api
from support.objects import ANCHOR
from vmext_operator.api import GROUP, VERSION
from vmext_operator.api.goal_state import name_of

#: Beside connections.
_SPARE_FILES = 200


def machines(api: Api, count: int) -> list[tuple[str, str]]:
    """Give so many machines what an agent needs; return the names of their goal states, and tokens."""
    names = [f"web-{number}" for number in range(count)]
    return [(name_of(name, ANCHOR), credentials.issue(api, name, ANCHOR)) for name in names]


async def storm(
    cluster: control_plane.Cluster, namespace: str, machines: Sequence[tuple[str, str]], count: int, times: int
) -> list[float]:
    """Have so many agents connect at once, and all of them anew, so many times; return how long each time took.

    Args:
        cluster: whose API server it is.
        namespace: of the machines.
        machines: names of goal states and tokens, over which the agents are spread.
        count: of agents.
        times: that they come.

    Raises:
        AssertionError: some were not let in.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most == resource.RLIM_INFINITY or most >= count + _SPARE_FILES, f"{most} files are too few for {count}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + _SPARE_FILES, most))
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    address = urlsplit(cluster.server)
    took = []
    for _ in range(times):
        begun = time.monotonic()
        made = await asyncio.gather(
            *(
                _watch(address.hostname, address.port, context, namespace, *machines[number % len(machines)])
                for number in range(count)
            )
        )
        took.append(time.monotonic() - begun)
        for writer in made:
            writer.transport.abort()
    return took


async def _watch(
    host: str | None, port: int | None, context: ssl.SSLContext, namespace: str, name: str, token: str
) -> asyncio.StreamWriter:
    """Return a connection on which a watch stands: it comes again as long as it is not let in."""
    target = (
        f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/goalstates?watch=1"
        f"&fieldSelector=metadata.name%3D{name}&resourceVersion=0&timeoutSeconds=300"
    )
    head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    deadline = time.monotonic() + 120
    while True:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=context, ssl_handshake_timeout=120)
            writer.write(head)
            status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
            if status == b"200":
                return writer
            # 401 and 403 for a moment: an account, or a Role, that was just made is not known everywhere yet.
            assert status in (b"401", b"403", b"429", b"503", b"504"), status
        except (OSError, asyncio.IncompleteReadError):
            pass
        if writer is not None:
            writer.transport.abort()
        assert time.monotonic() < deadline, f"{name} is not let in"
        await asyncio.sleep(1)

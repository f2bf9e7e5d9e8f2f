"""A client of the operator's, and a server of the test's that answers it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from vmext_operator.cluster.client import Client

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def client(answer: Answer, folder: Path) -> AsyncIterator[Client]:
    """Give a client whose every GET is answered by that, for 20 s at most; its kubeconfig goes into the folder."""
    application = web.Application()
    application.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = folder / "kubeconfig"
    config.write_text(json.dumps(_kubeconfig(f"http://127.0.0.1:{runner.addresses[0][1]}")))
    try:
        async with asyncio.timeout(20), Client(kubeconfig=str(config), term=None) as made:
            yield made
    finally:
        await runner.cleanup()


async def stream(request: web.Request, said: Sequence[bytes | None]) -> web.StreamResponse:
    """Answer with parts, one after another, and end; None says nothing more and keeps the answer open."""
    response = web.StreamResponse()
    await response.prepare(request)
    for part in said:
        if part is None:
            await asyncio.Event().wait()
        else:
            await response.write(part)
    return response


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }

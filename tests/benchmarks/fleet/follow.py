"""A watch that goes on: what one that broke has missed is listed, as by everybody who watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from benchmarks.fleet.wire import Connection, Object, RequestError

_PAUSE_S = 1.0
_PAGE = 500
#: No answer, too far behind, the server's own watch begins anew, and all that is the server's fault.
_PASSING = (0, 410, 429, 500, 503, 504)


async def follow(connection: Connection, target: str, query: str, version: str) -> AsyncIterator[tuple[str, Object]]:
    """Yield type and object of each event, for ever. Raises RequestError for what does not pass by itself."""
    is_behind = False
    while True:
        try:
            if is_behind:
                rest = ""
                while True:
                    page = json.loads(await connection.request("GET", f"{target}?limit={_PAGE}&continue={rest}{query}"))
                    for obj in page["items"]:
                        yield "MODIFIED", obj
                    version, rest = page["metadata"]["resourceVersion"], page["metadata"].get("continue", "")
                    if not rest:
                        break
                is_behind = False
            watched = f"{target}?watch=1&allowWatchBookmarks=true{query}&resourceVersion={version}"
            async for line in connection.watch(watched):
                kind, obj = _event(line, target)
                version = obj["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    yield kind, obj
        except (RequestError, OSError, asyncio.IncompleteReadError) as error:
            if isinstance(error, RequestError) and error.status not in _PASSING:
                raise
            is_behind = True
            await asyncio.sleep(_PAUSE_S)
        # The server lets go of who is slow, too.
        connection.close()


def _event(line: bytes, target: str) -> tuple[str, Object]:
    event = json.loads(line)
    if event["type"] == "ERROR":
        raise RequestError(target, event["object"]["code"], event["object"]["message"])
    return event["type"], event["object"]

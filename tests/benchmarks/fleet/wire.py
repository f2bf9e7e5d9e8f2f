"""A bare HTTP/1.1 client on asyncio's streams: what it costs must not drown what is measured."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Object = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"
#: Instead of the whole object, what the real agent has itself answered.
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
#: An object has at most 1.5 MiB, and an event is a line.
_LINE = 4 << 20


class RequestError(Exception):
    """The API server refused a request, or gave no answer."""

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"{what}: {status}: {message}")
        self.status = status


class Server:
    """Where an API server is and who asks it, from a kubeconfig with files or data for the keys.

    With `keyless`, nobody in particular asks: each connection has a token for that.
    """

    def __init__(self, kubeconfig: Path, *, keyless: bool = False) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        parts = urlsplit(cluster["server"])
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 443
        self.tls = ssl.create_default_context()
        self.tls.load_verify_locations(**_authority(cluster))
        if not keyless:
            self.tls.load_cert_chain(user["client-certificate"], user["client-key"])


def _authority(cluster: Mapping[str, str]) -> dict[str, str]:
    if "certificate-authority" in cluster:
        return {"cafile": cluster["certificate-authority"]}
    return {"cadata": base64.b64decode(cluster["certificate-authority-data"]).decode()}


class Connection:
    """One connection, kept open; one request at a time. ``token`` says who asks, where the server was not told."""

    def __init__(self, server: Server, token: str = "") -> None:
        self._server = server
        self.token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(
        self, method: str, target: str, body: object = None, content_type: str = JSON, accept: str = JSON
    ) -> bytes:
        """Make a request and return the answer's body. Raises RequestError."""
        was_open = self._streams is not None
        try:
            try:
                status, reader, headers = await self._send(method, target, body, content_type, accept)
            except (ConnectionError, asyncio.IncompleteReadError):
                if not was_open:
                    raise
                # The server lets go of connections that nobody has used for a while.
                self.close()
                status, reader, headers = await self._send(method, target, body, content_type, accept)
            content = b"".join([part async for part in _parts(reader, headers)])
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise RequestError(f"{method} {target}", 0, repr(error)) from error
        except asyncio.CancelledError:
            # Its answer is still to come, and would be taken for that of the next request.
            self.close()
            raise
        if status >= 300:
            raise RequestError(f"{method} {target}", status, content[:500].decode(errors="replace"))
        return content

    async def watch(self, target: str) -> AsyncIterator[bytes]:
        """Yield the events of a watch, a line each, until the server ends it. Raises RequestError."""
        status, reader, headers = await self._send("GET", target, None, JSON, JSON)
        rest = b""
        async for part in _parts(reader, headers):
            if status >= 300:
                raise RequestError(f"GET {target}", status, part[:500].decode(errors="replace"))
            lines = (rest + part).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield line

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return its two ends."""
        if self._streams is None:
            server = self._server
            self._streams = await asyncio.open_connection(server.host, server.port, ssl=server.tls, limit=_LINE)
        return self._streams

    async def _send(
        self, method: str, target: str, body: object, content_type: str, accept: str
    ) -> tuple[int, asyncio.StreamReader, dict[bytes, bytes]]:
        reader, writer = await self.open()
        content = b"" if body is None else json.dumps(body).encode()
        who = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {self._server.host}\r\nAccept: {accept}\r\n"
            f"{who}Content-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:-2])
        return int(lines[0].split(b" ", 2)[1]), reader, headers


async def _parts(reader: asyncio.StreamReader, headers: Mapping[bytes, bytes]) -> AsyncIterator[bytes]:
    """Yield an answer's body, chunk by chunk where it comes in chunks."""
    if headers.get(b"transfer-encoding") != b"chunked":
        yield await reader.readexactly(int(headers.get(b"content-length", b"0")))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)


class Pool:
    """A number of connections that many share."""

    def __init__(self, server: Server, size: int) -> None:
        self.server = server
        self._all = [Connection(server) for _ in range(size)]
        # The one that was used last is used next: those that nobody needs are not opened.
        self._free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for connection in self._all:
            self._free.put_nowait(connection)

    async def request(
        self, method: str, target: str, body: object = None, content_type: str = JSON, accept: str = JSON
    ) -> bytes:
        """Make a request as soon as a connection is free and return the answer's body. Raises RequestError."""
        connection = await self._free.get()
        try:
            return await connection.request(method, target, body, content_type, accept)
        finally:
            self._free.put_nowait(connection)

    async def apply(self, target: str, obj: Mapping[str, Any]) -> Object:
        """Apply an object as a user does. Raises RequestError."""
        answer = await self.request("PATCH", f"{target}?fieldManager=user&force=true", obj, APPLY)
        applied: Object = json.loads(answer)
        return applied

    async def get(self, target: str) -> Object:
        """Return an object. Raises RequestError."""
        found: Object = json.loads(await self.request("GET", target))
        return found

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()


@contextlib.asynccontextmanager
async def pool(server: Server, size: int) -> AsyncIterator[Pool]:
    """Give a pool of connections until the block ends."""
    made = Pool(server, size)
    try:
        yield made
    finally:
        made.close()

"""A proxy in front of an API server that spoils what passes: answers that lie, connections that end, watches that hang.

Plain HTTP/1.1 on loopback to one side, TLS to the other. It runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_GONE = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "gone"}
_WORDS = {409: "Conflict", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong: each the share of requests, of watches that of what they bring.

    Attributes:
        codes: answered with each of these codes instead of being passed on; what only reads gets no 409.
        code: the share of each of them.
        dropped: connections that end before the request is passed on.
        unanswered: requests that are passed on, and whose connection ends instead of an answer.
        held: requests that are passed on, and whose answer does not come for ``hold_s``; then the connection ends.
        hold_s: for how long those are held.
        cut: watches that end in the middle.
        gone: watches that end with 410.
        hanging: True lets no watch bring anything, for as long as it is set.
        which: of a request's method and path: whether it may be spoilt.
    """

    codes: tuple[int, ...] = (409, 429, 500)
    code: float = 0.0
    dropped: float = 0.0
    unanswered: float = 0.0
    held: float = 0.0
    hold_s: float = 3.0
    cut: float = 0.0
    gone: float = 0.0
    hanging: bool = False
    which: Callable[[str, str], bool] = lambda _method, _path: True


NONE = Faults()


class _EndedError(Exception):
    """A connection that ends here."""


@dataclass
class _Message:
    first: str
    lines: list[str]

    def field(self, name: str) -> str:
        return next((v.strip() for k, _, v in (one.partition(":") for one in self.lines) if k.lower() == name), "")

    def render(self) -> bytes:
        return ("\r\n".join((self.first, *self.lines)) + "\r\n\r\n").encode("latin-1")


class Proxy:
    """A proxy to one API server.

    Args:
        server: its address.
        ca_file: by which it is known.
        draw: what happens to which request.
    """

    def __init__(self, server: str, ca_file: Path, draw: random.Random) -> None:
        self.faults = NONE
        #: Told the path and the bytes of whatever is passed on to the client.
        self.hears: Callable[[str, bytes], None] = lambda _path, _part: None
        self.url = ""
        self._server = urlsplit(server)
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._draw = draw
        #: How often what was done.
        self.counts: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> asyncio.Server:
        """Begin to serve."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connected(reader, writer))
            self._tasks.add(task)
            # Also where it was cancelled before it began.
            task.add_done_callback(lambda _: writer.transport.abort())
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 22)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def end(self) -> None:
        """End all connections."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # What was aborted is closed in the loop's next turns.
        await asyncio.sleep(0.05)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            host, port = self._server.hostname, self._server.port
            source, upstream = await asyncio.open_connection(host, port, ssl=self._context, limit=1 << 22)
            while True:
                await self._exchange(reader, writer, source, upstream)
        except (_EndedError, OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            if upstream is not None:
                upstream.transport.abort()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        request = await _head(reader)
        body = await reader.readexactly(int(request.field("content-length") or 0))
        method, path, _ = request.first.split(" ")
        is_watch = "watch=" in path
        faults = self.faults
        spoils = faults.which(method, path)
        chance = self._draw.random() if spoils else 1.0
        for code in faults.codes:
            if chance < faults.code and (code, method) != (409, "GET"):
                self._count(str(code))
                writer.write(_refusal(code))
                await writer.drain()
                return
            chance -= faults.code
        if chance < faults.dropped:
            self._count("dropped")
            raise _EndedError
        chance -= faults.dropped
        upstream.write(request.render() + body)
        await upstream.drain()
        answer = await _head(source)
        if not is_watch and chance < faults.unanswered + faults.held:
            held = chance >= faults.unanswered
            self._count("held" if held else "unanswered")
            if held:
                await asyncio.sleep(faults.hold_s)
            raise _EndedError
        self._count("watch" if is_watch else "passed")
        writer.write(answer.render())
        if answer.field("transfer-encoding") == "chunked":
            async for chunk in _chunks(source):
                if is_watch:
                    await self._may_bring(writer)
                self.hears(path, chunk)
                writer.write(chunk)
                await writer.drain()
        else:
            content = await source.readexactly(int(answer.field("content-length") or 0))
            self.hears(path, content)
            writer.write(content)
            await writer.drain()

    async def _may_bring(self, writer: asyncio.StreamWriter) -> None:
        """Let a watch bring something, or end it."""
        while self.faults.hanging:
            await asyncio.sleep(0.05)
        chance = self._draw.random()
        if chance < self.faults.cut:
            self._count("cut")
            raise _EndedError
        if chance < self.faults.cut + self.faults.gone:
            self._count("gone")
            event = json.dumps({"type": "ERROR", "object": _GONE}).encode() + b"\n"
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))
            await writer.drain()
            raise _EndedError

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


@contextlib.contextmanager
def running(server: str, ca_file: Path, draw: random.Random) -> Iterator[Proxy]:
    """Run a proxy until the block ends."""
    proxy = Proxy(server, ca_file, draw)
    began, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with await proxy.serve():
            began.set()
            await ended.wait()
        await proxy.end()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    began.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


async def _head(reader: asyncio.StreamReader) -> _Message:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return _Message(lines[0], [line for line in lines[1:] if line])


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield chunks as they come, with what frames them."""
    while True:
        size = await reader.readuntil(b"\r\n")
        rest = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        yield size + rest
        if rest == b"\r\n":
            return


def _refusal(code: int) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "by the proxy"}
    body = json.dumps(status).encode()
    head = f"HTTP/1.1 {code} {_WORDS[code]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + (b"Retry-After: 1\r\n" if code == 429 else b"") + b"\r\n" + body

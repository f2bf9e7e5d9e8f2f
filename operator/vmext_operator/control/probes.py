"""Serve what others ask a process about itself, by GET, one answer a connection: probes and metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from vmext_operator.errors import ConfigurationError

logger = logging.getLogger(__name__)

#: Status, content type and body of an answer.
Answer = tuple[int, str, bytes]
_REQUEST_S = 5.0
_REQUEST_BYTES = 16 * 1024
_WORDS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def verdict(why_not: str) -> Answer:
    """Return the answer of a probe: ok, or why not."""
    return (503, "text/plain; charset=utf-8", f"{why_not}\n".encode()) if why_not else (200, "text/plain", b"ok\n")


class Probes:
    """An HTTP server on one address.

    Args:
        answers: by path.
    """

    def __init__(self, answers: Mapping[str, Callable[[], Answer]]) -> None:
        self._answers = answers

    async def serve(self, address: str) -> None:
        """Serve for ever at ``host:port``; an empty host is every one, port 0 a free one. Raises ConfigurationError."""
        host, _, port = address.rpartition(":")
        try:
            server = await asyncio.start_server(self._answer, host or None, int(port), limit=_REQUEST_BYTES)
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigurationError(f"probes can't be served at {address!r}: {error}; see --probe-address") from error
        async with server:
            logger.info("probes served port=%d", server.sockets[0].getsockname()[1])
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._decide(head)
                first = f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: {kind}\r\n"
                writer.write(f"{first}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Whoever asked so is not answered.
            pass
        finally:
            writer.close()

    def _decide(self, head: bytes) -> Answer:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode(errors="replace")
        if method != b"GET":
            return 405, "text/plain", b"GET only\n"
        answer = self._answers.get(path)
        return answer() if answer is not None else (404, "text/plain", b"not found\n")

"""An address of an API server whose answers are now and then another's than its own."""

from __future__ import annotations

import http.client
import http.server
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

_PASSED_ON = ("Authorization", "Accept", "Content-Type", "User-Agent")


class Lie(NamedTuple):
    """What is made of one answer.

    Attributes:
        about: part of the path of the request.
        make: the answer's status and body, from those that came.
    """

    about: str
    make: Callable[[int, bytes], tuple[int, bytes]]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that the other side ended."""


class Liar:
    """Passes requests on to an API server, and lies as often as it is told; plain HTTP on loopback.

    Args:
        server: the API server's address.
        ca_file: by which it is known.
    """

    def __init__(self, server: str, ca_file: Path) -> None:
        self._address = urlsplit(server)
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._lies: list[Lie] = []
        self._lock = threading.Lock()
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing of single requests."""

            def do_GET(self) -> None:
                liar._pass_on(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the library's names

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Liar:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def tell(self, about: str, make: Callable[[int, bytes], tuple[int, bytes]]) -> None:
        """Lie once: of the next GET whose path has that in it."""
        with self._lock:
            self._lies.append(Lie(about, make))

    @property
    def untold(self) -> list[str]:
        """Return what the lies are about that have not been told yet."""
        with self._lock:
            return [lie.about for lie in self._lies]

    def _lie_about(self, method: str, path: str) -> Lie | None:
        with self._lock:
            found = next((lie for lie in self._lies if method == "GET" and lie.about in path), None)
            if found is not None:
                self._lies.remove(found)
            return found

    def _pass_on(self, asked: http.server.BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        headers = {name: asked.headers[name] for name in _PASSED_ON if asked.headers[name]}
        connection = http.client.HTTPSConnection(
            str(self._address.hostname), self._address.port, context=self._tls, timeout=600
        )
        try:
            connection.request(asked.command, asked.path, body or None, headers)
            answer = connection.getresponse()
            if "watch=" in asked.path:
                self._stream(asked, answer)
                return
            status, content = answer.status, answer.read()
            lie = self._lie_about(asked.command, asked.path)
            if lie is not None:
                status, content = lie.make(status, content)
            asked.send_response(status)
            asked.send_header("Content-Type", "application/json")
            asked.send_header("Content-Length", str(len(content)))
            asked.end_headers()
            asked.wfile.write(content)
        except (OSError, http.client.HTTPException):
            # Either side has gone away: so does the connection.
            asked.close_connection = True
        finally:
            connection.close()

    @staticmethod
    def _stream(asked: http.server.BaseHTTPRequestHandler, answer: http.client.HTTPResponse) -> None:
        asked.send_response(answer.status)
        asked.send_header("Content-Type", "application/json")
        asked.send_header("Connection", "close")
        asked.end_headers()
        asked.close_connection = True
        while chunk := answer.read1(65536):
            asked.wfile.write(chunk)
            asked.wfile.flush()

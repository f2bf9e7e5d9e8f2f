"""Ask a control plane's servers whether they are ready."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from pathlib import Path

from control_plane.certificates import Certificates

_ANSWER_S = 5.0


class EtcdProbe:
    """Asks etcd over its socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self) -> str | None:
        """Return None where it is ready, else why it is not."""
        return _ask(_SocketConnection(self._path), "/readyz")


class ApiServerProbe:
    """Asks an API server as its administrator, about one path of it."""

    def __init__(self, port: int, keys: Certificates, path: str) -> None:
        self._port = port
        self._path = path
        self._context = ssl.create_default_context(cafile=str(keys.ca))
        self._context.load_cert_chain(keys.admin.certificate, keys.admin.key)

    def ask(self) -> str | None:
        """Return None where the path is there, else why it is not."""
        # No proxy that the environment may name is asked: this is loopback.
        return _ask(
            http.client.HTTPSConnection("127.0.0.1", self._port, timeout=_ANSWER_S, context=self._context), self._path
        )


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ANSWER_S)
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            # By way of the folder's handle, since the path itself may be too long for a socket's.
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def _ask(connection: http.client.HTTPConnection, path: str) -> str | None:
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(1 << 16).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if answer.status == 200 else f"{path} answers {answer.status}: {body.strip()[-500:]}"

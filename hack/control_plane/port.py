"""A port of loopback that is held, so that nobody else is given it while its server is down."""

from __future__ import annotations

import socket


class HeldPort:
    """A free port, bound and not listened on.

    A server that binds with SO_REUSEPORT as well (kube-apiserver's ``--permit-port-sharing``) can listen on it, and the
    kernel gives it to nobody else in the meantime: not while the server starts, and not while it is away. Another
    user's process can't share it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

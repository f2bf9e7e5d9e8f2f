"""Pid 1 of a guest: reaps, starts services, and reboots or powers off when it is asked to.

It takes its orders from the supervisor over a socket, one JSON object a message, and from inside by systemd's signals.
What asks from inside gets an orderly end: SIGTERM to everything first, and a while to end in. When pid 1 ends, the
kernel kills everything in the guest.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from typing import NoReturn

REBOOT = 81
POWER_OFF = 82
"""How pid 1 exits when it was asked from inside to reboot or to power off."""

REBOOT_SIGNAL = signal.SIGINT
POWER_OFF_SIGNAL = signal.SIGRTMIN + 4
"""What asks pid 1 for that from inside; systemd's own choice."""

_MESSAGE_BYTES = 256 * 1024
_RESTART_AFTER_S = 0.1
#: How long what runs may take to end when it is asked to, before a reboot from inside kills it.
_ENDS_WITHIN_S = 2.0


@dataclass(frozen=True)
class _Order:
    """How to start a service; `log` is the open file that its output goes to."""

    name: str
    argv: list[str]
    env: dict[str, str]
    restart: bool
    log: int


class Init:
    """The state of pid 1: which services were ordered, and which of them run."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._orders: dict[str, _Order] = {}
        self._running: dict[int, str] = {}
        self._restart_at: dict[str, float] = {}
        #: How pid 1 is to exit, once everything has had its time to end; 0 for not.
        self._ends_with = 0

    def serve(self) -> NoReturn:
        """Do what pid 1 does, until the supervisor's end of the socket is closed or the guest reboots."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_on_signals(), selectors.EVENT_READ)
            while True:
                if self._ends_with:
                    _end_all()
                    os._exit(self._ends_with)
                for key, _ in selector.select(self._until_restart()):
                    if key.fileobj is self._control:
                        self._obey()
                    else:
                        os.read(key.fd, 512)
                self._reap()
                self._restart_due()

    def _obey(self) -> None:
        message, logs, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        for log in logs:
            os.set_inheritable(log, False)  # received ones are, other than all that Python opens
        if not message:
            os._exit(0)
        request = json.loads(message)
        answer: dict[str, object]
        try:
            if request["do"] == "start":
                pid = self._start(_Order(**request["service"], log=logs[0]))
                answer = {"pid": pid}
            elif request["do"] == "kill":
                os.kill(self._pids()[request["name"]], request["signal"])
                answer = {}
            else:
                answer = {"services": {name: self._pids().get(name) for name in self._orders}}
        except OSError as error:
            answer = {"error": os.strerror(error.errno or 0)}
        except KeyError as error:
            answer = {"error": f"no service {error} is running"}
        self._control.send(json.dumps(answer).encode())

    def _start(self, order: _Order) -> int:
        try:
            if order.name in self._pids():
                raise FileExistsError(errno.EEXIST, "")
            pid = self._spawn(order)
        except OSError:
            os.close(order.log)
            raise
        if order.name in self._orders:
            os.close(self._orders[order.name].log)
        self._orders[order.name] = order
        self._restart_at.pop(order.name, None)
        return pid

    def _spawn(self, order: _Order) -> int:
        pid = os.posix_spawnp(
            order.argv[0],
            order.argv,
            order.env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, order.log, 1),
                (os.POSIX_SPAWN_DUP2, order.log, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        self._running[pid] = order.name
        return pid

    def _pids(self) -> dict[str, int]:
        self._reap()
        return {name: pid for pid, name in self._running.items()}

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._running.pop(pid, None)
            if name is not None and self._orders[name].restart:
                self._restart_at[name] = time.monotonic() + _RESTART_AFTER_S

    def _wake_on_signals(self) -> int:
        """Return a file that is readable after each signal; without a handler, pid 1 gets no signal from inside."""
        readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(REBOOT_SIGNAL, lambda _number, _frame: self._end_with(REBOOT))
        signal.signal(POWER_OFF_SIGNAL, lambda _number, _frame: self._end_with(POWER_OFF))
        return readable

    def _end_with(self, code: int) -> None:
        self._ends_with = code

    def _until_restart(self) -> float | None:
        if not self._restart_at:
            return None
        return max(0.0, min(self._restart_at.values()) - time.monotonic())

    def _restart_due(self) -> None:
        for name, due in list(self._restart_at.items()):
            if due <= time.monotonic():
                del self._restart_at[name]
                try:
                    self._spawn(self._orders[name])
                except OSError as error:
                    os.write(self._orders[name].log, f"init: can't start {name} again: {error}\n".encode())


def run(control: socket.socket) -> NoReturn:
    """Be pid 1."""
    Init(control).serve()


def _end_all() -> None:
    """Ask everything in the guest to end, and wait until it has, or has had its time."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    until = time.monotonic() + _ENDS_WITHIN_S
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.01)

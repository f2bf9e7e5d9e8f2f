"""The process that keeps a guest: it owns the disk's mounts, boots, serves the guest's control socket, and cleans up.

It is outside of the guest's PID namespace and holds a mount namespace of its own, so that a reboot keeps the disk. It
ends with its lifeline: standard input, of which whoever started the guest holds the other end. What kills the
supervisor kills the guest, and with the last process of both the kernel takes every mount away.

It is started with one JSON object, a line, on standard input (see `Orders`) and answers with one on standard output.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulated_guest import boot, disk, init, kernel
from simulated_guest.errors import GuestError

MESSAGE_BYTES = 256 * 1024
_INIT_ANSWERS_WITHIN_S = 10.0
_KILLED_BY_HANGUP = 128 + signal.SIGHUP  # how reboot(2) with "restart" ends a PID namespace; "power off" is SIGINT


@dataclass(frozen=True)
class Orders:
    """What the supervisor is started with.

    Attributes:
        name: of the guest.
        folder: of the guest, absolute, with the folders `disk`, `root` and `logs` in it.
        full: an overlay over the host's root, as root; otherwise the smaller form in a user namespace.
        disk_bytes: how much the guest can write; None for no bound.
        detached: live on when the lifeline ends, until `stop`.
        ext4: its disk is an ext4 in a file, whose power can be cut.
    """

    name: str
    folder: str
    full: bool
    disk_bytes: int | None
    detached: bool
    ext4: bool = False


class _InitEndedError(GuestError):
    """Pid 1 ended before it answered, as when the guest reboots."""


class Supervisor:
    """A guest, seen from the one process that outlives its reboots."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._folder = Path(orders.folder)
        self._services: dict[str, dict[str, Any]] = {}
        self._selector = selectors.DefaultSelector()
        self._control: socket.socket | None = None
        self._between = self._init = 0
        _enter_namespaces(full=orders.full)
        self._disk = disk.make(
            self._folder, orders.name, full=orders.full, disk_bytes=orders.disk_bytes, ext4=orders.ext4
        )

    def serve(self) -> None:
        """Boot, and keep the guest until it shall stop."""
        self.boot()
        # The address of a socket is short, a test's folder may not be.
        os.chdir(self._folder)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind("control")
            listener.listen(32)
            self._selector.register(listener, selectors.EVENT_READ, "request")
            if not self._orders.detached:
                self._selector.register(0, selectors.EVENT_READ, "lifeline")
            print(json.dumps({"ready": True}), flush=True)
            os.dup2(2, 1)
            while True:
                happened = {key.data for key, _ in self._selector.select()}
                if "lifeline" in happened:
                    return
                # Pid 1's answers are taken where the question is asked, so what is to be read here is its end.
                if "init" in happened:
                    self._notice_end()
                elif "request" in happened and self._answer(listener):
                    return

    def boot(self) -> None:
        """Start pid 1 with another boot_id, and every service that was started before."""
        boot_id = self._folder / "boot_id"
        boot_id.unlink(missing_ok=True)
        boot_id.write_text(f"{uuid.uuid4()}\n")
        boot_id.chmod(0o444)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_INIT_ANSWERS_WITHIN_S)
        self._between = boot.fork_init(self._disk.root, self._orders.name, boot_id, theirs, init.run)
        theirs.close()
        self._control = ours
        answer = json.loads(ours.recv(MESSAGE_BYTES) or b'{"error": "pid 1 was not started"}')
        if "error" not in answer:
            self._init = answer["pid"]
            answer = self._ask_init({"do": "services"})
        if "error" in answer:
            self.shut_down()
            raise GuestError(f"guest {self._orders.name} did not boot: {answer['error']}")
        self._selector.register(ours, selectors.EVENT_READ, "init")
        for service in self._services.values():
            self._start_again(service)

    def shut_down(self) -> None:
        """Kill everything in the guest and wait until nothing of it runs."""
        if self._control is None:
            return
        if self._init:
            os.kill(self._init, signal.SIGKILL)  # not reaped yet, so it is still this one's number
        self._reap()

    def remove(self) -> None:
        """Take the guest's disk and its folder away."""
        for mounted in (self._disk.root, self._folder / "disk"):
            kernel.unmount(mounted)
            mounted.rmdir()
        for log in (self._folder / "logs").iterdir():
            log.unlink()
        (self._folder / "logs").rmdir()
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()

    def _reap(self) -> int:
        assert self._control is not None
        if self._control in self._selector.get_map():
            self._selector.unregister(self._control)
        self._control.close()
        self._control = None
        _, status = os.waitpid(self._between, 0)
        self._init = 0
        return os.waitstatus_to_exitcode(status)

    def _notice_end(self) -> None:
        """Boot again when pid 1 ended because the guest asked for that, by its init or by reboot(2)."""
        if self._reap() in (init.REBOOT, _KILLED_BY_HANGUP):
            self.boot()

    def _answer(self, listener: socket.socket) -> bool:
        """Serve one request; return whether the guest shall stop."""
        connection, _ = listener.accept()
        with connection:
            message = connection.recv(MESSAGE_BYTES)
            if not message:
                return False
            request = json.loads(message)
            if request["do"] == "stop":
                return True
            try:
                try:
                    answer = self._do(request)
                except _InitEndedError:
                    self._notice_end()
                    answer = self._do(request)
            except GuestError as error:
                answer = {"error": str(error)}
            try:
                connection.send(json.dumps(answer).encode())
            except BrokenPipeError:
                pass  # asked for without waiting for the answer
        return False

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "reboot":
            self.shut_down()
            self.boot()
        elif request["do"] == "lose power":
            if not self._orders.ext4:
                raise GuestError(f"guest {self._orders.name} has no disk whose power can be cut")
            disk.cut_power(self._folder)
            self.shut_down()
            self._disk = disk.power_up(self._folder, self._orders.name)
            self.boot()
        elif request["do"] == "start":
            answer = self._start(request["service"])
            if "error" not in answer:
                self._services[request["service"]["name"]] = request["service"]
            return answer
        elif request["do"] == "kill":
            return self._ask_init(request)
        answer = {"supervisor": os.getpid(), "init": self._init, "full": self._orders.full}
        answer["written"] = [[str(part.mounted_at), str(part.folder)] for part in self._disk.written]
        answer["services"] = self._ask_init({"do": "services"})["services"] if self._init else {}
        return answer

    def _start(self, service: dict[str, Any]) -> dict[str, Any]:
        with (self._folder / "logs" / f"{service['name']}.log").open("ab") as log:
            return self._ask_init({"do": "start", "service": service}, log.fileno())

    def _start_again(self, service: dict[str, Any]) -> None:
        answer = self._start(service)
        if "error" in answer:
            with (self._folder / "logs" / f"{service['name']}.log").open("a") as log:
                log.write(f"init: can't start {service['name']}: {answer['error']}\n")

    def _ask_init(self, request: dict[str, Any], *files: int) -> dict[str, Any]:
        if self._control is None:
            raise GuestError(f"guest {self._orders.name} is powered off; reboot it")
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], files)
            answer = self._control.recv(MESSAGE_BYTES)
        except TimeoutError:
            raise GuestError(f"pid 1 does not answer within {_INIT_ANSWERS_WITHIN_S:.0f} s") from None
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:
            raise _InitEndedError(f"guest {self._orders.name} went down")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded


def main() -> int:
    """Be the supervisor of the guest that standard input describes; return the exit status."""
    with os.fdopen(0, "rb", buffering=0, closefd=False) as lifeline:
        orders = Orders(**json.loads(lifeline.readline()))
    kernel.name_process(f"guest {orders.name}")
    try:
        supervisor = Supervisor(orders)
        supervisor.serve()
    except (GuestError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    supervisor.shut_down()
    supervisor.remove()
    return 0


def _enter_namespaces(*, full: bool) -> None:
    if full:
        kernel.unshare(kernel.CLONE_NEWNS, "mount")
    else:
        uid, gid = os.geteuid(), os.getegid()
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS, "user and mount")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    kernel.keep_mounts_to_ourselves()

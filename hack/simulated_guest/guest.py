"""A running guest: what a test, the demo or the command line does with it."""

from __future__ import annotations

import json
import os
import posixpath
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from simulated_guest.errors import GuestError
from simulated_guest.supervisor import MESSAGE_BYTES

ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
"""What a program in a guest has as its environment; nothing comes from the host's."""

_ANSWERS_WITHIN_S = 60.0
_NO_SUCH_FILE = 66
_READ = f'[ -e "$1" ] || exit {_NO_SUCH_FILE}; exec cat -- "$1"'
_WRITE = (
    'mkdir -p -- "$3" && (umask 077 && exec cat > "$1.new") && chmod -- "$2" "$1.new" && mv -fT -- "$1.new" "$1"'
    ' || { rm -f -- "$1.new"; exit 1; }'
)


@dataclass(frozen=True)
class Service:
    """A program that the guest's init starts, at once and at every later boot.

    Attributes:
        name: also that of its log.
        argv: the program, by its path or found on the guest's PATH, and its arguments.
        env: added to ENVIRONMENT.
        restart: start it again whenever it ends.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    restart: bool = False


class Process(NamedTuple):
    """A process of a guest: its number on the host and in the guest, and its command line."""

    pid: int
    inside_pid: int
    argv: list[str]


class Guest:
    """A simulated guest that runs, reached through its supervisor's socket.

    Every method raises GuestError when the guest is gone or refuses.

    Attributes:
        name: its host name.
        folder: where its supervisor, its logs and its socket are, on the host.
        full: whether users can be added and packages installed in it, and every file changed; the smaller form can't.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.full: bool = self._status()["full"]

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes | None = None,  # noqa: A002  named as subprocess.run names it
        timeout: float | None = 60.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program as root inside, in /, and wait for it; on a time-out it is killed.

        Raises:
            subprocess.CalledProcessError: with `check`, it ended with another status than 0; its words are a note.
            subprocess.TimeoutExpired: it took longer.
        """
        done = subprocess.run(
            self.command(argv),
            input=input or b"",
            capture_output=True,
            timeout=timeout,
            check=False,
            env=environment(env),
        )
        if check and done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, list(argv), done.stdout, done.stderr)
            error.add_note(f"in guest {self.name}: {done.stderr[-2000:].decode(errors='replace')}")
            raise error
        return done

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the host's command that runs this one inside; give it `environment()`."""
        entering = ["--mount", "--uts", "--pid"]
        if not self.full:
            entering += ["--user", "--preserve-credentials"]
        # The program is killed with nsenter, which is the one that a caller can reach.
        dying = ["setpriv", "--pdeathsig", "KILL", "--"]
        return ["nsenter", "--target", str(self._init()), *entering, "--", *dying, *argv]

    def read(self, path: str) -> bytes:
        """Return a file's content.

        A process inside reads it: the host, following the guest's links itself, could be led to a file of its own.

        Raises:
            FileNotFoundError: there is none.
        """
        done = self.run(["sh", "-c", _READ, "read", path], check=False)
        if done.returncode == _NO_SUCH_FILE:
            raise FileNotFoundError(2, f"no such file in guest {self.name}", path)
        if done.returncode != 0:
            raise GuestError(f"can't read {path} in guest {self.name}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Write a file whole (a reader sees the old or the new one), and the folders to it."""
        done = self.run(
            ["sh", "-c", _WRITE, "write", path, f"{mode:o}", posixpath.dirname(path)], input=data, check=False
        )
        if done.returncode != 0:
            raise GuestError(f"can't write {path} in guest {self.name}: {done.stderr.decode(errors='replace').strip()}")

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file or folder."""
        return self.run(["test", "-e", path], check=False).returncode == 0

    def path(self, path: str) -> Path:
        """Return where the host can look at a file of the guest, until its next reboot.

        For looking only at what is trusted: an absolute link of the guest's leads to the host's file of that name.
        """
        return Path(f"/proc/{self._init()}/root") / path.lstrip("/")

    def written(self) -> list[str]:
        """Return the paths of files (links too, no folders) that the guest wrote to its disk and has not deleted."""
        status = self._status()
        host = Path(f"/proc/{status['supervisor']}/root")
        since = os.lstat(host / self.folder.relative_to("/") / "disk/ready").st_ctime_ns
        found = []
        for mounted_at, folder in status["written"]:
            top = host / folder.lstrip("/")
            for parent, _, names in os.walk(top):
                inside = Path(mounted_at) / Path(parent).relative_to(top)
                found += [str(inside / name) for name in names if _is_written(Path(parent) / name, since)]
        return sorted(found)

    def start_service(self, service: Service) -> int:
        """Start a service, now and at every later boot; return its process number inside."""
        _log_name(service.name)
        wire = {
            "name": service.name,
            "argv": list(service.argv),
            "env": environment(service.env),
            "restart": service.restart,
        }
        pid: int = self._ask({"do": "start", "service": wire}, f"start {service.name}")["pid"]
        return pid

    def kill_service(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a service's process (not to those that it started)."""
        self._ask({"do": "kill", "name": name, "signal": int(number)}, f"signal {name}")

    def service_pid(self, name: str) -> int | None:
        """Return a service's process number inside; None while it does not run."""
        services: dict[str, int | None] = self._status()["services"]
        return services.get(name)

    def service_running(self, name: str) -> bool:
        """Tell whether a service's process lives."""
        return self.service_pid(name) is not None

    def service_log(self, name: str) -> bytes:
        """Return what a service printed since the guest was started, over all boots."""
        return (self.folder / "logs" / _log_name(name)).read_bytes()

    def boot_id(self) -> str:
        """Return the kernel's identity of this boot as programs inside see it."""
        return self.read("/proc/sys/kernel/random/boot_id").decode().strip()

    def reboot(self, *, wait: bool = True) -> None:
        """Kill everything inside and boot again from the same disk; also boots a guest that is powered off."""
        self._ask({"do": "reboot"}, "reboot", wait=wait)

    def lose_power(self) -> None:
        """Cut the power and boot again: what was not synced to the disk is lost.

        The guest has to have been started with `ext4`.
        """
        self._ask({"do": "lose power"}, "cut the power")

    def processes(self) -> list[Process]:
        """Return every process of the guest, its init first; nothing while it is powered off or gone."""
        try:
            init = self._init()
            namespace = os.readlink(f"/proc/{init}/ns/pid")
        except (GuestError, FileNotFoundError):
            return []
        looked_at = (_process(folder, namespace) for folder in Path("/proc").iterdir() if folder.name.isdigit())
        found = (process for process in looked_at if process is not None)
        return sorted(found, key=lambda process: process.inside_pid)

    def stop(self) -> None:
        """Ask the guest's supervisor to kill everything inside and to remove its disk; does not wait."""
        self._ask({"do": "stop"}, "stop", wait=False)

    def _init(self) -> int:
        init: int = self._status()["init"]
        if init == 0:
            raise GuestError(f"guest {self.name} is powered off; reboot it")
        return init

    def _status(self) -> dict[str, Any]:
        return self._ask({"do": "status"}, "be asked for its state")

    def _ask(self, request: dict[str, Any], what: str, *, wait: bool = True) -> dict[str, Any]:
        try:
            # The folder by its number: the address of a socket holds 107 bytes.
            folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                    connection.settimeout(_ANSWERS_WITHIN_S)
                    connection.connect(f"/proc/self/fd/{folder}/control")
                    connection.send(json.dumps(request).encode())
                    reply = connection.recv(MESSAGE_BYTES) if wait else b"{}"
            finally:
                os.close(folder)
        except OSError as error:
            raise GuestError(f"guest {self.name} can't {what}: it is not running ({error})") from error
        if not reply:
            raise GuestError(f"guest {self.name} can't {what}: it ended")
        answer: dict[str, Any] = json.loads(reply)
        if "error" in answer:
            raise GuestError(f"guest {self.name} can't {what}: {answer['error']}")
        return answer


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a program inside gets as its environment."""
    return ENVIRONMENT | dict(extra or {})


def python() -> str:
    """Return the path of a Python that a guest has."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else os.path.realpath(sys.executable)


def _log_name(service: str) -> str:
    if not service or "/" in service or service.startswith("."):
        raise GuestError(f"{service!r} can't name a service: it also names its log")
    return f"{service}.log"


def _is_written(file: Path, since: int) -> bool:
    status = file.lstat()
    deleted = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    return not deleted and status.st_ctime_ns > since


def _process(folder: Path, namespace: str) -> Process | None:
    try:
        if os.readlink(folder / "ns/pid") != namespace:
            return None
        numbers = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("NSpid:"))
        argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (OSError, StopIteration):
        return None  # it ended while it was looked at, or is not ours to look at
    return Process(pid=int(folder.name), inside_pid=int(numbers.split()[-1]), argv=argv)

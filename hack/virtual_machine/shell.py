"""A root shell of a machine over ssh, with a key and a list of known hosts that are the machine's alone."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane import process
from virtual_machine.errors import VirtualMachineError

#: What ssh itself ends with, whatever ran.
_SSH_FAILED = 255
_CONTROL = "ssh.sock"


class CommandError(VirtualMachineError):
    """A command ended with another exit code than 0.

    Attributes:
        code: the exit code.
    """

    def __init__(self, command: str, code: int, said: str) -> None:
        super().__init__(f"{command} ended with {code}: {said}")
        self.code = code


class NotReachedError(VirtualMachineError):
    """The machine did not answer, or the connection broke."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Return what it printed."""
        return self.out.decode(errors="replace")


class Shell:
    """Runs commands in a machine as root.

    One connection is kept open, since to make one takes seconds in an emulated machine; where there is none, each
    command makes its own.

    Args:
        folder: for the socket of that connection and the list of known hosts.
        port: of loopback, that leads to the machine.
        key: the private key.
        host_key: kind and key of the machine's ssh server.
    """

    def __init__(self, folder: Path, port: int, key: Path, host_key: str) -> None:
        self._folder = folder
        self._port = port
        self._key = key
        (folder / "known_hosts").write_text(f"vmext-machine {host_key}\n")
        self._kept: subprocess.Popen[bytes] | None = None

    def run(
        self, command: str | Sequence[str], *, given: bytes = b"", timeout_s: float = 120.0, check: bool = True
    ) -> Done:
        """Run a command.

        Args:
            command: a line for a shell, or a program and its arguments.
            given: its standard input.
            timeout_s: how long it may take.
            check: False also returns what failed.

        Raises:
            CommandError: it failed.
            NotReachedError: the machine was not reached, or did not end the command in time.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        try:
            done = subprocess.run(
                self._command(line), cwd=self._folder, input=given, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NotReachedError(f"{line[:200]!r} did not end within {timeout_s:.0f} s") from error
        if done.returncode == _SSH_FAILED:
            raise NotReachedError(f"{line[:200]!r}: {_words(done.stderr)}")
        if check and done.returncode != 0:
            raise CommandError(line[:200], done.returncode, _words(done.stderr + done.stdout))
        return Done(done.returncode, done.stdout, done.stderr)

    def keep(self) -> None:
        """Keep one connection open from now on, until it breaks."""
        self.close()
        (self._folder / _CONTROL).unlink(missing_ok=True)
        self._kept = process.start(
            [*self._ssh(), "-M", "-N", "root@127.0.0.1"], log=self._folder / "ssh.log", folder=self._folder
        )
        deadline = time.monotonic() + 60.0
        while not (self._folder / _CONTROL).exists() and self._kept.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        """Let go of the connection that is kept."""
        if self._kept is not None:
            process.stop(self._kept)
            self._kept = None

    def _command(self, line: str) -> list[str]:
        return [*self._ssh(), "root@127.0.0.1", line]

    def _ssh(self) -> list[str]:
        options = {
            "IdentityFile": self._key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": "known_hosts",
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": "vmext-machine",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "ServerAliveInterval": "10",
            "ServerAliveCountMax": "6",
            "LogLevel": "ERROR",
            "ControlPath": _CONTROL,
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        # No configuration of the user's has a say.
        return ["ssh", "-F", "none", "-p", str(self._port), *words]


def _words(output: bytes) -> str:
    return output.decode(errors="replace").strip()[-2000:] or "(it printed nothing)"

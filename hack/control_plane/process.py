"""Programs that are started here and ended here, told apart from strangers by pid and start time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that can't be mistaken for a later one of the same number."""

    pid: int
    started: int

    def is_alive(self) -> bool:
        """Tell whether exactly this process is there and no zombie."""
        return _stat(self.pid) == (self.started, True)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.is_alive():
            os.kill(self.pid, number)


def identify(pid: int) -> Identity:
    """Return the identity of a process that runs now. Raises ProcessLookupError."""
    found = _stat(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return Identity(pid, found[0])


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    outlive: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program with its output appended to a file.

    Args:
        command: the program and its arguments.
        log: the file.
        environment: all of its environment, ours where None.
        folder: where it runs.
        outlive: False has the kernel kill it when the thread that called this ends, so that nothing is left whatever
            ends us; True puts it into a session of its own, to go on after us.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=None if environment is None else dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=outlive,
            preexec_fn=None if outlive else die_with_parent,
        )


def stop(process: subprocess.Popen[bytes], *, patience_s: float = 10.0) -> int:
    """End a program: SIGTERM, then SIGKILL when it takes longer than that; return its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def stop_stranger(identity: Identity, *, patience_s: float = 10.0) -> None:
    """End a program that is not our child, in the same way."""
    identity.signal(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while identity.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    identity.signal(signal.SIGKILL)


def _stat(pid: int) -> tuple[int, bool] | None:
    """Return a process' start time in clock ticks since boot, and whether it lives; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may hold anything; what follows the last one is fixed.
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[19]), fields[0] not in "ZX"

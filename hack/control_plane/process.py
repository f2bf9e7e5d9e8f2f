"""Programs that are started here and ended here, told apart from strangers by pid, start time and boot."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane import lifeline


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that can't be mistaken for a later one of the same number."""

    pid: int
    started: int
    boot: str

    def is_alive(self) -> bool:
        """Tell whether exactly this process is there and no zombie."""
        born = lifeline.birth(self.pid)
        return born is not None and born[0] == self.started and born[1] not in "ZX" and self.boot == lifeline.boot()


def recorded(record: Path) -> Identity | None:
    """Return whom a record names, or None where there is none that can be read."""
    try:
        content = json.loads(record.read_text())
        return Identity(int(content["pid"]), int(content["started"]), str(content["boot"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tied(command: Sequence[str], *, outlive: bool = False, record: Path | None = None) -> list[str]:
    """Return a command that runs a program tied to us: the kernel kills it when the thread that starts it ends.

    Args:
        command: the program and its arguments.
        outlive: True leaves it untied.
        record: where to write down who it is, before it runs.
    """
    parent = "0" if outlive else str(os.getpid())
    return [sys.executable, "-I", "-S", "-B", lifeline.__file__, parent, str(record or ""), *command]


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    outlive: bool = False,
    record: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program with its output appended to a file.

    It is in a session of its own: an interrupt at the terminal reaches us, who end it in order, and not it as well.

    Args:
        command: the program and its arguments.
        log: the file.
        environment: all of its environment, ours where None.
        folder: where it runs.
        outlive: False has the kernel kill it when the thread that called this ends, so that nothing is left whatever
            ends us: call it from one that lasts. True lets it go on after us.
        record: where to write down who it is, before it runs.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            tied(command, outlive=outlive, record=record),
            env=None if environment is None else dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
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


def end(identity: Identity, *, patience_s: float = 10.0) -> None:
    """End a program that need not be our child, in the same way; one that has ended already is no error."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(identity.pid)
        try:
            # The handle came first: whom it names can't change between this look and the signal.
            if identity.is_alive():
                signal.pidfd_send_signal(handle, signal.SIGTERM)
                if not _ended(handle, patience_s):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _ended(handle, patience_s)
        finally:
            os.close(handle)


def _ended(handle: int, patience_s: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(patience_s * 1000))

"""A command that runs: waited for, told to end, and read how it ended from the files that its shell leaves."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import clock, files, process, shim
from vmext_agent.errors import CommandLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Why an agent has a command end; in the command's folder the file of that name says so to the next agent.
TIMED_OUT, CANCELLED = "TimedOut", "Cancelled"


class Exit(NamedTuple):
    """How a command ended, by the record of its shell.

    Attributes:
        code: its exit status, as a shell has it.
        at_s: when, in seconds since the boot that it ran in.
        was_stopped: the shell was told to end too: its scope, its slice or the machine was being stopped.
    """

    code: int
    at_s: float = 0.0
    was_stopped: bool = False


class Running:
    """A command that runs, started by this agent or an earlier one.

    Args:
        folder: the command's.
        purpose: as it was given.
        line: the command as the shell was given it.
        deadline: in seconds since boot.
        boot: that it runs in.
    """

    __slots__ = (
        "boot",
        "child",
        "deadline",
        "descriptor",
        "folder",
        "kill_at",
        "line",
        "pid",
        "purpose",
        "respawn",
        "stopped_for",
    )

    def __init__(self, folder: str, purpose: Mapping[str, object], line: str, deadline: float, boot: str) -> None:
        self.boot = boot
        self.folder = folder
        self.purpose = purpose
        self.line = line
        self.deadline = deadline
        self.pid = 0
        self.descriptor = -1
        self.child = 0
        #: Starts it once more, without a scope, where systemd ran nothing; None where there is nothing else to try.
        self.respawn: Callable[[], int] | None = None
        #: When SIGKILL follows SIGTERM, in seconds since boot; 0 before any was sent.
        self.kill_at = 0.0
        #: Why it was told to stop: TimedOut or Cancelled.
        self.stopped_for = next((why for why in (TIMED_OUT, CANCELLED) if os.path.exists(f"{folder}/{why}")), "")

    def stop(self, why: str, kill_after_s: float) -> None:
        """Tell the whole of it to end, and remember when to make it; what has not begun does not begin."""
        self.stopped_for = why
        self.kill_at = clock.since_boot() + kill_after_s
        # A new name needs no room, so a full disk can't lose it. The shell notes the command's session and then looks
        # for the old name: one of the two sees the other.
        with contextlib.suppress(OSError):
            os.rename(f"{self.folder}/wanted", f"{self.folder}/{why}")
        self._signal(signal.SIGTERM)

    def note_time(self, now: float) -> None:
        """Leave word that it still runs, for a boot that finds it cut off; `now` is in seconds since boot."""
        with contextlib.suppress(OSError):
            # In place: a rename would have the file system write it out at once, and this comes every other second.
            descriptor = os.open(f"{self.folder}/seen", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, f"{now:<15.1f}".encode())
            finally:
                os.close(descriptor)

    def kill(self) -> None:
        """End the whole of it."""
        self._signal(signal.SIGKILL)
        if self.child and read_start(self.folder) is None:
            # Not even the shell is there: systemd does not answer.
            process.send(self.child, signal.SIGKILL)
        # Somebody can be born while the others are being ended.
        self.kill_at = clock.since_boot() + 1.0

    def _signal(self, number: signal.Signals) -> None:
        session = read_session(self.folder)
        if session is not None:
            process.signal_session(*session, number)

    def end(self) -> Exit | None:
        """Return how it ended, once that is on disk; None while it runs. Raises CommandLostError, OSError."""
        # In this order: the shell's end is what puts it on disk.
        if self._is_alive():
            return None
        found = read_exit(self.folder)
        self._close()
        if found is not None:
            return found
        if self.stopped_for and read_start(self.folder) is None:
            return Exit(shim.NOT_BEGUN)
        raise lost(self.folder)

    def _is_alive(self) -> bool:
        if not self.child:
            return is_locked(self.folder)
        pid, status = os.waitpid(self.child, os.WNOHANG)
        if pid == 0:
            return True
        self.child = 0
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == shim.NO_ROOM:
            self._close()
            raise OSError(errno.ENOSPC, "no room for the start record", self.folder)
        # It may be another agent's shell that runs, and this one have stood back.
        if self._follow_start():
            return True
        respawn, self.respawn = self.respawn, None
        if respawn is None or self.stopped_for or read_start(self.folder) is not None:
            return False
        self._close()
        self.follow_child(respawn())
        return True

    def _follow_start(self) -> bool:
        start = read_start(self.folder)
        if start is None or start[0] == self.pid:
            return False
        self._close()
        return self.attach(*start[:2])

    def follow_child(self, pid: int) -> None:
        """Wait for a process that this agent has just started for it."""
        self.pid = self.child = pid
        started = process.start_time(pid)
        if started is not None:
            self.attach(pid, started)

    def attach(self, pid: int, started: int) -> bool:
        """Wait for that process from now on; return False where it is gone."""
        descriptor = process.watch(pid, started)
        if descriptor is None:
            return False
        self.pid, self.descriptor = pid, descriptor
        return True

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def is_locked(folder: str) -> bool:
    """Tell whether the shell of a command lives: whatever has its number by now, nobody else has its lock."""
    try:
        descriptor = os.open(f"{folder}/lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def lost(folder: str) -> CommandLostError:
    """End what is left of a command whose shell was killed, so that another attempt does not run beside it."""
    session = read_session(folder)
    ended = process.kill_session(*session) if session is not None else 0
    rest = f"; {ended} processes that it left were ended" if ended else ""
    return CommandLostError(f"its shell is gone and left no exit status: something killed it{rest}")


def read_start(folder: str) -> tuple[int, int, str] | None:
    """Return pid, start time in ticks since boot, and boot of a command that was started, else None."""
    try:
        pid, ticks, boot = files.read(f"{folder}/start", 256).decode("ascii").split()
        return int(pid), int(ticks), boot
    except (OSError, ValueError):
        return None


def read_session(folder: str) -> tuple[int, int] | None:
    """Return pid and start time in ticks since boot of what leads the command's session, or is about to."""
    try:
        pid, ticks = files.read(f"{folder}/session", 256).decode("ascii").split()
        return int(pid), int(ticks)
    except (OSError, ValueError):
        return None


def read_time(folder: str) -> float:
    """Return when an agent last saw a command run, in seconds since the boot that it ran in; 0 for never."""
    try:
        return clock.number(float(files.read(f"{folder}/seen", 64)))
    except (OSError, ValueError):
        return 0.0


def read_exit(folder: str) -> Exit | None:
    """Return how a command ended, None where that is not on disk."""
    try:
        code, at_s, *rest = files.read(f"{folder}/exit", 256).decode("ascii").split()
        return Exit(int(code), clock.number(float(at_s)), rest == ["stopped"])
    except (OSError, ValueError):
        return None

"""Processes as the kernel shows them: told apart by pid and start time, waited for without polling."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PR_SET_PDEATHSIG = 1
#: A program that is waited for here takes some milliseconds.
_LOOK_S = 0.002


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when `parent`, which started it, ends, however that is."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before it was asked for.
    if os.getppid() != parent:
        os._exit(1)


def boot() -> str:
    """Return which boot of the machine this is: its id, and when pid 1 started.

    A container that boots again keeps the kernel's id; its pid 1 is another one all the same.
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()}/{start_time(1) or 0}"


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None where there is none (or only its corpse)."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat that come after the program's name."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(") ")[2].split()
    except (OSError, ValueError):
        return None


def watch(pid: int, started: int) -> int | None:
    """Return a descriptor that is readable once the process has ended; -1 where the kernel has none; None if it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except (AttributeError, OSError):
        return -1 if start_time(pid) == started else None
    # The number could have been given to another one before it was opened; not after.
    if start_time(pid) != started:
        os.close(descriptor)
        return None
    return descriptor


def signal_session(leader: int, started: int, number: signal.Signals) -> None:
    """Send a signal to a process and to everything in the session that it leads, while it lives.

    Args:
        leader: its number; it may be about to lead.
        started: when it started, in clock ticks since boot.
        number: the signal.
    """
    if start_time(leader) != started:
        return
    for pid in numbers():
        if pid == leader or _session(pid) == leader:
            send(pid, number)


def kill_session(leader: int, started: int) -> int:
    """End every process of a session by SIGKILL; return how many that were.

    `leader` and `started` are the number and the start time of who led it. A number that is somebody else's by now
    leads another session, which is left alone.
    """
    now = start_time(leader)
    if now is not None and now != started:
        return 0
    # One that is about to lead it has no session of its own yet.
    members = [pid for pid in numbers() if _session(pid) == leader or (pid == leader and now == started)]
    for pid in members:
        send(pid, signal.SIGKILL)
    return len(members)


def run(arguments: list[str], environment: Mapping[str, str], timeout_s: float) -> int | None:
    """Run a program by its path, deaf and mute; return its exit code, None where it can't be run or does not end."""
    nothing = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]
    try:
        pid = os.posix_spawn(arguments[0], arguments, environment, file_actions=nothing, setsigmask=[])
    except OSError:
        return None
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        time.sleep(_LOOK_S)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def numbers() -> list[int]:
    """Return the numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def parent(pid: int) -> int:
    """Return the number of a process' parent, 0 where there is none."""
    fields = _stat(pid)
    return int(fields[1]) if fields is not None else 0


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields is not None and fields[0] not in "ZX" else 0


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

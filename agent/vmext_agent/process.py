"""Processes as the kernel shows them: told apart by pid and start time, waited for without polling."""

from __future__ import annotations

import os
import signal

_PR_SET_PDEATHSIG = 1


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


def signal_command(shim: int, number: signal.Signals) -> int:
    """Send a signal to everything in the sessions that a shim's children lead; return how many that were.

    The shim itself is spared: it has the exit status to record.
    """
    own = os.getpid()
    table = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdecimal() else None
        if fields is not None and fields[0] not in "ZX":
            table[int(name)] = (int(fields[1]), int(fields[3]))
    sessions = {pid for pid, (parent, session) in table.items() if parent == shim and session == pid}
    members = [
        pid
        for pid, (parent, session) in table.items()
        if (session in sessions or parent == shim) and pid not in (shim, own)
    ]
    for pid in members:
        send(pid, number)
    return len(members)


def kill_session(leader: int, started: int) -> int:
    """End every process of a session by SIGKILL; return how many that were.

    `leader` and `started` are the number and the start time of who led it. A number that is somebody else's by now
    leads another session, which is left alone.
    """
    now = start_time(leader)
    if now is not None and now != started:
        return 0
    members = [pid for pid in numbers() if _session(pid) == leader]
    for pid in members:
        send(pid, signal.SIGKILL)
    return len(members)


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

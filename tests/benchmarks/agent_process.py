"""The agent's processes as the kernel accounts for them; what they start is not counted."""

from __future__ import annotations

import re
import time
from pathlib import Path

import simulated_guest

_PROGRAM = "vmext_agent"
#: Both stay for as long as the machine runs; a third one is a download's, which is gone soon.
_STAYING = 2


def pids(guest: simulated_guest.Guest) -> list[int]:
    """Return the host's numbers of the parent and the worker."""
    found = [one.pid for one in guest.processes() if any(_PROGRAM in word for word in one.argv)]
    assert len(found) == _STAYING, f"the agent of {guest.name} has {len(found)} processes, not {_STAYING}: {found}"
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, to the nanosecond; /proc tells it in hundredths of a second only."""
    # The kernel's form of a clock's number: the complement of the pid, and 2 for the scheduler's own account of it.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def memory_mb(pid: int, field: str) -> float:
    """Return a field of a process' smaps_rollup, ``Anonymous`` or ``Pss``, in MiB."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert match is not None, f"the kernel tells no {field} of process {pid}"
    return int(match[1]) / 1024

"""What the agent costs a machine while nothing is to be done."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import simulated_guest
from benchmarks.figure import Figure

IDLE_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(guest: simulated_guest.Guest, report: Callable[[str], None]) -> list[Figure]:
    """Read memory and CPU time of all of the agent's processes over a minute of idleness."""
    report(f"leaving the agent idle for {IDLE_S:.0f} s")
    before = _cpu_seconds(guest)
    time.sleep(IDLE_S)
    used = _cpu_seconds(guest) - before
    pids = _processes(guest)
    anonymous = sum(_rollup(pid, "Anonymous") for pid in pids) / 1024
    proportional = sum(_rollup(pid, "Pss") for pid in pids) / 1024
    return [
        Figure("agent_anon_mb", anonymous, f"private anonymous memory of its {len(pids)} processes, idle", 20),
        Figure("agent_pss_mb", proportional, "PSS of the same, which moves with the neighbours"),
        Figure("agent_idle_cpu_s_per_min", used * 60 / IDLE_S, "CPU time of all its processes, idle", 0.05),
    ]


def _processes(guest: simulated_guest.Guest) -> list[int]:
    return [process.pid for process in guest.processes() if any("vmext_agent" in word for word in process.argv)]


def _cpu_seconds(guest: simulated_guest.Guest) -> float:
    total = 0
    for pid in _processes(guest):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _rollup(pid: int, field: str) -> int:
    """Return a field of a process' memory in KiB."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert match is not None, f"the kernel tells no {field}"
    return int(match[1])

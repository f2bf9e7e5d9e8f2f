"""What the agent costs a machine: memory, and CPU time while nothing is to be done."""

from __future__ import annotations

import time
from collections.abc import Callable

import simulated_guest
from benchmarks import agent_process
from benchmarks.figure import Figure

IDLE_S = 60.0


def memory(guest: simulated_guest.Guest, suffix: str, what: str, bar_mb: float) -> list[Figure]:
    """Read the memory of both processes; `suffix` goes to the figures' names, `what` says what the agent keeps."""
    pids = agent_process.pids(guest)
    anonymous = sum(agent_process.memory_mb(pid, "Anonymous") for pid in pids)
    proportional = sum(agent_process.memory_mb(pid, "Pss") for pid in pids)
    return [
        Figure(f"agent_anon_mb{suffix}", anonymous, f"private anonymous memory of both processes, {what}", bar_mb),
        Figure(f"agent_pss_mb{suffix}", proportional, "PSS of the same, which moves with the neighbours"),
    ]


def idle(guest: simulated_guest.Guest, what: str, report: Callable[[str], None]) -> list[Figure]:
    """Read the CPU time of both processes over a minute of idleness; `what` says what the agent keeps."""
    report(f"leaving the agent idle for {IDLE_S:.0f} s, {what}")
    pids = agent_process.pids(guest)
    before = sum(map(agent_process.cpu_seconds, pids))
    time.sleep(IDLE_S)
    used = sum(map(agent_process.cpu_seconds, pids)) - before
    meaning = f"CPU time of both processes, idle, {what}"
    return [Figure("agent_idle_cpu_s_per_min", used * 60 / IDLE_S, meaning, 0.02)]

"""What a while cost: time, requests to the API server, CPU time of each process."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import control_plane
from benchmarks import agent_process
from benchmarks.fleet import counting
from benchmarks.fleet.counting import Counts
from benchmarks.fleet.wire import Pool
from development.operator_process import Operator

OPERATOR, OURSELVES = "operator", "users and agents"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a while cost; CPU time is in seconds, by process."""

    seconds: float
    requests: Counts
    cpu_s: Mapping[str, float]

    @property
    def writes(self) -> int:
        """Return how many writes there were, of whatever kind and by whomever."""
        return counting.writes(self.requests)

    @property
    def writes_per_s(self) -> float:
        """Return the rate of all writes."""
        return self.writes / self.seconds

    def __add__(self, other: Cost) -> Cost:
        cpu_s = {name: self.cpu_s.get(name, 0.0) + other.cpu_s.get(name, 0.0) for name in {*self.cpu_s, *other.cpu_s}}
        return Cost(self.seconds + other.seconds, self.requests + other.requests, cpu_s)


class Meter:
    """Reads what has been used so far.

    Args:
        cluster: whose processes count, with the operator and this process.
        operator: one that may not run.
        pool: asks the API server for its metrics.
    """

    def __init__(self, cluster: control_plane.ControlPlane, operator: Operator, pool: Pool) -> None:
        self._cluster = cluster
        self._operator = operator
        self._pool = pool

    async def read(self, *, operator_began: bool = False) -> Cost:
        """Return what was used since whenever; True where the operator is about to start, and has used nothing."""
        pids = {**self._cluster.pids(), OURSELVES: os.getpid()}
        if not operator_began and self._operator.is_running:
            pids[OPERATOR] = self._operator.pid
        cpu_s = {name: agent_process.cpu_seconds(pid) for name, pid in pids.items()}
        return Cost(time.perf_counter(), await counting.requests(self._pool), cpu_s)

    async def since(self, before: Cost) -> Cost:
        """Return what was used since an earlier reading."""
        seconds = time.perf_counter() - before.seconds
        now = await self.read()
        cpu_s = {name: used - before.cpu_s.get(name, 0.0) for name, used in now.cpu_s.items()}
        return Cost(seconds, now.requests - before.requests, cpu_s)

    def peak_rss_mb(self) -> float:
        """Return the most memory that the operator has had, in MiB."""
        status = Path(f"/proc/{self._operator.pid}/status").read_text()
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None, "the kernel tells no peak of memory"
        return int(match[1]) / 1024

"""How the agent's cost grows with the number of extensions on one machine: from one goal to all of them enabled."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.table import Table

from benchmarks import agent_process
from benchmarks.figure import Figure
from benchmarks.tiny_extensions import TinyExtensions

#: One round. What others are compared to is small, and so the least certain: it is measured around each large one.
ROUND = (1, 5, 20, 5, 50, 5, 1)
#: A median of several rounds is not decided by what else the machine did for a while.
ROUNDS = 3
WARM_UP = 5
BASE, MOST = 5, 50
BAR = 1.2
#: After the last status has come the agent still takes note of it.
SETTLED_S = 0.3


class Cost(NamedTuple):
    """What each of so many extensions cost: the agent's own CPU time and time by the clock, in seconds."""

    extensions: int
    cpu_s: float
    wall_s: float


def measure(tiny: TinyExtensions, report: Callable[[str], None]) -> list[Cost]:
    """Have extensions installed and enabled on a machine that has none, in different numbers, and removed again.

    Returns:
        The median for each number, the smallest first.
    """
    _once(tiny, WARM_UP)
    measured: dict[int, list[Cost]] = {count: [] for count in sorted(set(ROUND))}
    shown = ", ".join(map(str, measured))
    for number in range(1, ROUNDS + 1):
        report(f"installing and removing {shown} extensions, round {number} of {ROUNDS}")
        for count in ROUND:
            measured[count].append(_once(tiny, count))
    return [_median(costs) for costs in measured.values()]


def figures(costs: Sequence[Cost]) -> list[Figure]:
    """Return the growth."""
    at = {cost.extensions: cost for cost in costs}
    cpu, wall = at[MOST].cpu_s / at[BASE].cpu_s, at[MOST].wall_s / at[BASE].wall_s
    over = f"{MOST}_to_{BASE}"
    meaning = f"the agent's CPU time for each of {MOST} extensions over that for each of {BASE}"
    return [
        Figure(f"agent_cost_ratio_{over}", cpu, meaning, BAR),
        Figure(f"agent_wall_ratio_{over}", wall, "the same of time by the clock"),
    ]


def points(costs: Sequence[Cost]) -> list[Figure]:
    """Return the curve."""
    made: list[Figure] = []
    for cost in costs:
        each = f"for each of {cost.extensions}"
        made.append(Figure(f"agent_cpu_s_per_extension_{cost.extensions}", cost.cpu_s, f"the agent's CPU time {each}"))
        made.append(Figure(f"agent_wall_s_per_extension_{cost.extensions}", cost.wall_s, f"time by the clock {each}"))
    return made


def table(costs: Sequence[Cost]) -> Table:
    """Return the curve and its growth, as people read it."""
    title = "each extension's share, from one goal to all enabled"
    made = Table(title=title, title_justify="left")
    for column in ("extensions", "agent's CPU, ms", f"to {BASE}", "by the clock, ms", f"to {BASE}"):
        made.add_column(column, no_wrap=True, justify="right")
    base = next(cost for cost in costs if cost.extensions == BASE)
    for cost in costs:
        cpu, wall = f"{cost.cpu_s * 1000:.2f}", f"{cost.wall_s * 1000:.1f}"
        made.add_row(
            str(cost.extensions), cpu, f"{cost.cpu_s / base.cpu_s:.2f}", wall, f"{cost.wall_s / base.wall_s:.2f}"
        )
    return made


def _once(tiny: TinyExtensions, count: int) -> Cost:
    pids = agent_process.pids(tiny.machine.guest)
    before, began = sum(map(agent_process.cpu_seconds, pids)), time.perf_counter()
    tiny.want([f"e{number:02}" for number in range(1, count + 1)])
    tiny.wait("Succeeded")
    wall_s = time.perf_counter() - began
    time.sleep(SETTLED_S)
    cpu_s = sum(map(agent_process.cpu_seconds, pids)) - before
    tiny.remove()
    time.sleep(SETTLED_S)
    return Cost(count, cpu_s / count, wall_s / count)


def _median(costs: Sequence[Cost]) -> Cost:
    cpu_s, wall_s = (statistics.median(values) for values in ([c.cpu_s for c in costs], [c.wall_s for c in costs]))
    return Cost(costs[0].extensions, cpu_s, wall_s)

"""What was measured of fleets, as figures with their bars and as tables for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.figure import Figure
from benchmarks.fleet.acts import Played
from benchmarks.fleet.canary import CROWD
from benchmarks.fleet.counting import Asked
from benchmarks.fleet.meter import OPERATOR, OURSELVES, Cost

_APART = ("events", "leases")
_BELONGINGS = ("serviceaccounts", "serviceaccounts/token", "roles", "rolebindings", "secrets")


def figures(played: Sequence[Played], suffix: str = "") -> Iterator[Figure]:
    """Yield the figures of fleets of different sizes, the largest last, which alone was played to its end."""
    largest, before = played[-1], played[-2]
    share = largest.cold.writes_per_s / largest.raw.writes_per_s
    if largest.changed is not None:
        share = min(share, largest.changed.writes_per_s / largest.raw_change.writes_per_s)
    size = f"{largest.machines:,} machines with 5 extensions"
    yield Figure(
        f"fleet_write_ratio{suffix}",
        share,
        f"all writes a second while there is work, over raw ones, {size}",
        0.6,
        at_least=True,
    )
    rate = largest.extensions / largest.cold.seconds
    yield Figure(f"fleet_converged_per_s{suffix}", rate, f"extensions converged a second from a cold start, {size}")
    yield Figure(
        f"raw_writes_per_s{suffix}", largest.raw.writes_per_s, "raw server-side applies a second, same watches"
    )
    yield Figure(
        f"api_writes_per_extension_at_5{suffix}",
        _writes_per_extension(before),
        "to our kinds, the user's included; without Events, Leases and what a machine is given",
        5.2,
    )
    yield Figure(
        f"apply_to_goal_ratio{suffix}",
        largest.apply_to_goal_s / largest.single_write_s,
        f"a change's apply to goal state, idle, over a single write of {largest.single_write_s * 1000:.1f} ms (p50)",
        3.0,
    )
    crowded = largest.apply_to_crowded_goal_s / largest.single_write_s
    yield Figure(f"apply_to_goal_ratio_at_{CROWD}{suffix}", crowded, f"the same of a machine with {CROWD} extensions")
    new = largest.apply_new_to_goal_s / largest.single_write_s
    yield Figure(
        f"apply_new_to_goal_ratio{suffix}", new, "the same of a new extension, which is given a finalizer first"
    )
    busy_s = max(statistics.median(seconds.to_goal) for seconds in largest.busy)
    yield Figure(
        f"apply_to_goal_busy_p50_s{suffix}", busy_s, "the same of single changes while all others are in work", 1.0
    )
    ready_s = max(statistics.median(seconds.to_ready) for seconds in largest.busy)
    yield Figure(f"apply_to_ready_busy_p50_s{suffix}", ready_s, "of the same changes, from apply to Ready")
    if largest.restarted is not None:
        yield from _restart(largest)
    if largest.idle is not None:
        idle, machines = largest.idle, largest.machines
        meaning = f"writes a second of {machines:,} machines with nothing to do"
        bar = 110.0 if machines == 10_000 else None
        yield Figure(f"fleet_idle_writes_per_s_{_short(machines)}", idle.writes_per_s, meaning, bar)
    for one in played:
        meaning = f"the operator's CPU time, cold start of {one.machines:,} machines"
        yield Figure(f"operator_cpu_ms_per_extension_{_short(one.machines)}", _cpu_ms(one), meaning)
    # In pieces of the yardstick's work: the parts of a run are minutes apart, on a machine that others use too.
    ratio = _cpu_ms(largest) / largest.piece_ms / (_cpu_ms(before) / before.piece_ms)
    name = f"operator_cost_ratio_{_short(largest.machines)}_to_{_short(before.machines)}"
    told = f"its growth, in pieces of work of {before.piece_ms:.1f} and {largest.piece_ms:.1f} ms"
    yield Figure(name, ratio, told, 1.2 if largest.machines == 10_000 else None)


def _restart(played: Played) -> Iterator[Figure]:
    assert played.restarted is not None
    size = _short(played.extensions)
    is_large = played.machines == 10_000
    meaning = f"the operator's start until all of {played.extensions:,} extensions are looked at"
    yield Figure(f"operator_restart_s_{size}", played.restarted.seconds, meaning, 60.0 if is_large else None)
    leading = "of these, from the process' start to its holding a Lease that nobody else wants, to a tenth"
    yield Figure(f"operator_leading_s_{size}", played.leading_s, leading)
    writes = float(_writes_without_leases(played.restarted))
    yield Figure(f"operator_restart_writes_{size}", writes, "writes meanwhile, but Leases", 0.0)
    meaning = "the operator's memory at its highest"
    yield Figure(f"operator_peak_rss_mb_{size}", played.peak_rss_mb, meaning, 1024.0 if is_large else None)


def acts_table(played: Sequence[Played]) -> Table:
    """Return a table of all acts: how fast, and who used the processors."""
    table = Table(title="fleets, act by act; CPU in ms for each write", title_justify="left")
    for name in ("machines", "act", "s", "writes", "a second", "to raw", *_PROCESSES):
        table.add_column(name, no_wrap=True, justify="left" if name == "act" else "right")
    for one in played:
        acts = {
            "raw": one.raw,
            "declaring": one.declared,
            "cold start": one.cold,
            "change of all": one.changed,
            "restart": one.restarted,
        }
        for name, cost in (acts | {"idle": one.idle}).items():
            if cost is not None:
                cpu = [f"{cost.cpu_s.get(who, 0.0) * 1000 / max(1, cost.writes):.2f}" for who in _PROCESSES]
                numbers = [f"{cost.seconds:.1f}", str(cost.writes), f"{cost.writes_per_s:.0f}"]
                table.add_row(f"{one.machines:,}", name, *numbers, f"{_to_raw(one, name, cost):.2f}", *cpu)
    return table


_PROCESSES = ("kube-apiserver", "etcd", "kube-controller-manager", OPERATOR, OURSELVES)


def writes_table(played: Played) -> Table:
    """Return a table of what a cold start writes, for each extension."""
    title = f"requests of a cold start of {played.machines:,} machines, for each extension"
    table = Table(title=title, title_justify="left")
    for name in ("resource", "verb", "an extension", "counts as"):
        table.add_column(name, no_wrap=True, justify="right" if name == "an extension" else "left")
    for asked, number in sorted(played.cold.requests.items()):
        if number >= played.machines * 0.05 and asked.verb != "WATCH":
            table.add_row(asked.resource, asked.verb, f"{number / played.extensions:.2f}", _sort(asked))
    return table


def quiet_table(played: Played) -> Table | None:
    """Return a table of what is asked for while nobody changes anything: at a restart, and afterwards."""
    if played.restarted is None or played.idle is None:
        return None
    title = f"requests while nobody changes anything, {played.machines:,} machines"
    table = Table(title=title, title_justify="left")
    for name in ("resource", "verb", "of a restart, in all", "idle, a second"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("resource", "verb") else "right")
    restarted, idle = played.restarted.requests, played.idle.requests
    for asked in sorted({*restarted, *idle}):
        rate = idle[asked] / played.idle.seconds
        if asked.is_ours or asked.is_write or rate >= 0.1:
            table.add_row(asked.resource, asked.verb, str(restarted[asked]), f"{rate:.2f}")
    return table


def _sort(asked: Asked) -> str:
    if not asked.is_write:
        return "a read"
    if asked.resource in _APART:
        return "apart"
    if asked.resource in _BELONGINGS or asked.resource == "virtualmachines":
        return "a machine's own"
    return "an extension's" if asked.is_ours else "others'"


def _writes_per_extension(played: Played) -> float:
    counted = sum(number for asked, number in played.cold.requests.items() if _sort(asked) == "an extension's")
    return 1 + counted / played.extensions


def _writes_without_leases(cost: Cost) -> int:
    return sum(number for asked, number in cost.requests.items() if asked.is_write and asked.resource != "leases")


def _to_raw(played: Played, act: str, cost: Cost) -> float:
    """Return an act's rate over that of raw writes of the same kinds."""
    raw = played.raw_change if "change" in act else played.raw
    return cost.writes_per_s / raw.writes_per_s


def _cpu_ms(played: Played) -> float:
    return played.cold.cpu_s[OPERATOR] * 1000 / played.extensions


def _short(number: int) -> str:
    return f"{number // 1000}k" if number >= 1000 and number % 1000 == 0 else str(number)

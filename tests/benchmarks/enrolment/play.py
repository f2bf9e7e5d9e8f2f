"""Enrol fleets of different sizes one after another on one API server, renew a part, and say what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

import control_plane
from benchmarks.enrolment import renewal
from benchmarks.enrolment.bulk import AT_ONCE, LIFE_S, Bulk, Enrolled, Renewed
from benchmarks.enrolment.renewal import Spread
from benchmarks.figure import Figure
from benchmarks.fleet import wire
from benchmarks.fleet.meter import Meter
from development import credentials, house
from development.operator_process import Operator

SIZES = (100, 300, 1000)
#: Machines that are renewed in earnest.
RENEWED = 300
_DAY_S = 86_400.0
#: Simulated: machines, the life of their tokens, over how many of these.
SIMULATED = ((1000, 30 * _DAY_S, 6), (10_000, 30 * _DAY_S, 6), (1000, 3600.0, 24))


def measure(folder: Path, report: Callable[[str], None]) -> tuple[list[Figure], list[Figure], list[Table]]:
    """Return the figures, the curve's points, and the tables."""
    enrolled, renewed = asyncio.run(_play(folder, report))
    report("moving time for the renewals of fleets")
    spreads = [renewal.simulate(*one) for one in SIMULATED]
    points = [
        Figure(f"enroll_{name}_{one.machines}", value, f"for each of {one.machines} machines")
        for one in enrolled
        for name, value in (("s_per_vm", one.s_each), ("writes_per_vm", one.writes_each))
    ]
    return (
        _figures(enrolled, renewed, spreads),
        points,
        [_growth(enrolled), _writes(enrolled[-1]), _spread(spreads, renewed)],
    )


async def _play(folder: Path, report: Callable[[str], None]) -> tuple[list[Enrolled], Renewed]:
    binaries = control_plane.obtain(report)
    with control_plane.running(folder / "control-plane", binaries) as cluster:
        house.install(cluster)
        operator = Operator(credentials.of_operator(cluster, folder), folder / "operator.log")
        operator.start()
        try:
            async with wire.pool(wire.Server(cluster.kubeconfig), AT_ONCE) as users:
                keyless, meter = wire.Server(cluster.kubeconfig, keyless=True), Meter(cluster, operator, users)
                enrolled = []
                for size in SIZES:
                    report(f"enrolling {size} machines")
                    cluster.kubectl("create", "namespace", f"enrol-{size}")
                    bulk = Bulk(users, keyless, meter, f"enrol-{size}")
                    enrolled.append(await bulk.enroll(size))
                report(f"renewing {RENEWED} of them")
                return enrolled, await bulk.renew(RENEWED)
        finally:
            await asyncio.to_thread(operator.stop)


def _figures(enrolled: Sequence[Enrolled], renewed: Renewed, spreads: Sequence[Spread]) -> list[Figure]:
    last = enrolled[-1]
    what = f"{last.machines:,} machines declared and enrolled in one run, {AT_ONCE} at once, to the last token in use"
    return [
        Figure("enroll_s_per_vm", last.s_each, f"time by the clock for each, {what}"),
        Figure(
            "enroll_writes_per_vm", last.writes_each, "API writes for each, whoever made them: user, operator, agent"
        ),
        Figure(
            "enroll_s_growth",
            last.s_each / enrolled[0].s_each,
            f"time for each of {last.machines} over each of the first",
        ),
        Figure(
            "renew_peak_per_s",
            spreads[0].peak_per_s,
            f"most renewals in a second, {spreads[0].machines:,} machines enrolled within a minute, tokens of 30 days, "
            "time simulated",
        ),
        Figure(
            "renew_real_peak_per_s",
            renewed.peak_per_s,
            f"the same by the real operator, {renewed.machines} tokens said to be {LIFE_S // 2} s old of {LIFE_S}",
        ),
    ]


def _growth(enrolled: Sequence[Enrolled]) -> Table:
    table = Table(title="enrolment, from declaration to the operator's token in use", title_justify="left")
    for column in (
        "machines",
        "s in all",
        "s each",
        f"to {enrolled[0].machines}",
        "writes each",
        "writes/s",
        "operator's CPU, ms each",
    ):
        table.add_column(column, no_wrap=True, justify="right")
    for one in enrolled:
        cpu_ms = one.cost.cpu_s.get("operator", 0.0) / one.machines * 1000
        table.add_row(
            f"{one.machines:,}",
            f"{one.cost.seconds:.1f}",
            f"{one.s_each:.4f}",
            f"{one.s_each / enrolled[0].s_each:.2f}",
            f"{one.writes_each:.2f}",
            f"{one.cost.writes_per_s:.0f}",
            f"{cpu_ms:.1f}",
        )
    return table


def _writes(enrolled: Enrolled) -> Table:
    """Return what the writes were, of which there were any worth a word."""
    table = Table(title=f"writes for each of {enrolled.machines:,} machines", title_justify="left")
    for column in ("what", "how", "each"):
        table.add_column(column, no_wrap=True, justify="right" if column == "each" else "left")
    for asked, count in sorted(enrolled.cost.requests.items(), key=lambda one: -one[1]):
        if asked.is_write and count >= enrolled.machines / 10:
            table.add_row(asked.resource, asked.verb, f"{count / enrolled.machines:.2f}")
    return table


def _spread(spreads: Sequence[Spread], renewed: Renewed) -> Table:
    table = Table(title="renewals of machines that were enrolled within a minute", title_justify="left")
    for column in ("machines", "tokens live", "renewals", "most in a second", "quite even", "how"):
        table.add_column(column, no_wrap=True, justify="left" if column == "how" else "right")
    for one in spreads:
        life = f"{one.life_s / _DAY_S:.0f} days" if one.life_s >= _DAY_S else f"{one.life_s / 3600:.0f} h"
        table.add_row(
            f"{one.machines:,}",
            life,
            f"{one.renewals:,}",
            str(one.peak_per_s),
            f"{one.steady_per_s:.4f}",
            "time simulated",
        )
    even = renewed.machines / max(renewed.seconds, 1.0)
    how = f"real operator, spread over {renewed.seconds:.0f} s"
    table.add_row(
        f"{renewed.machines:,}", f"{LIFE_S} s", f"{renewed.machines:,}", str(renewed.peak_per_s), f"{even:.1f}", how
    )
    return table

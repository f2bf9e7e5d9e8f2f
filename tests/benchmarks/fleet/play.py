"""Play fleets of different sizes, each on an API server of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

import control_plane
from benchmarks.figure import Figure
from benchmarks.fleet import acts, results, stage
from benchmarks.fleet.acts import Played
from benchmarks.fleet.canary import Canaries

Report = Callable[[str], None]


def fleets(sizes: Sequence[int], folder: Path, report: Report) -> list[Played]:
    """Play fleets of so many machines: all from a cold start, the last one to its end."""
    binaries = control_plane.obtain(report)
    return [asyncio.run(_play(folder / str(size), binaries, size, report, whole=size == sizes[-1])) for size in sizes]


def results_of(played: Sequence[Played], suffix: str = "") -> tuple[list[Figure], list[Table]]:
    """Return the figures and the tables of what was played."""
    tables = [results.writes_table(played[-2]), results.quiet_table(played[-1]), results.acts_table(played)]
    return list(results.figures(played, suffix)), [table for table in tables if table is not None]


async def _play(folder: Path, binaries: control_plane.Binaries, size: int, report: Report, *, whole: bool) -> Played:
    folder.mkdir()
    async with contextlib.AsyncExitStack() as closing:
        on = await closing.enter_async_context(stage.prepared(folder, binaries, size, report))
        if not whole:
            return await acts.cold_start(on, None)
        canaries = Canaries(on)
        closing.push_async_callback(canaries.close)
        played = await acts.cold_start(on, canaries)
        await acts.go_on(on, canaries, played)
        return played

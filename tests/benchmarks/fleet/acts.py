"""The acts of a fleet's life that are measured, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fleet import raw, yardstick
from benchmarks.fleet import stage as staging
from benchmarks.fleet.canary import Canaries, Seconds
from benchmarks.fleet.declared import EACH, Machine
from benchmarks.fleet.meter import Cost
from benchmarks.fleet.stage import Stage

#: Machines of raw writes: some thousands of writes, on which nothing depends that a longer time would show.
_RAW = 150
_IDLE_S = 60.0


@dataclass
class Played:
    """What was measured of a fleet; an act that was not played is None."""

    machines: int
    raw: Cost
    raw_change: Cost
    declared: Cost
    cold: Cost
    #: Of the cold start: what a piece of the yardstick's work cost meanwhile.
    piece_ms: float = 0.0
    changed: Cost | None = None
    restarted: Cost | None = None
    idle: Cost | None = None
    single_write_s: float = 0.0
    apply_to_goal_s: float = 0.0
    apply_new_to_goal_s: float = 0.0
    apply_to_crowded_goal_s: float = 0.0
    #: From the process' start to its holding a Lease that nobody else wants.
    leading_s: float = 0.0
    #: Of single changes while all others were in work: of each act, in each namespace.
    busy: list[Seconds] = field(default_factory=list)
    peak_rss_mb: float = 0.0

    @property
    def extensions(self) -> int:
        """Return how many extensions the fleet has."""
        return self.machines * EACH


async def cold_start(stage: Stage, canaries: Canaries | None) -> Played:
    """Write as fast as can be, declare a fleet, and start the operator on it."""
    stage.report("raw writes, of the kinds and in the numbers of a fleet's")
    machines = raw.machines(min(_RAW, len(stage.machines)))
    async with staging.watches(stage, machines):
        written = await stage.cost_of(_write(stage, machines, raw.life))
        changed = await stage.cost_of(_write(stage, machines, raw.change))
        await raw.take_away(stage.users)
    stage.report(f"  {written.writes_per_s:.0f} a second; of changes, {changed.writes_per_s:.0f} a second")

    stage.report(f"declaring {len(stage.machines)} machines with {EACH} extensions each")
    generations: dict[tuple[str, str], int] = {}

    async def declare() -> None:
        generations.update(await stage.apply_to(stage.machines, _everything))

    declared = await stage.cost_of(declare())
    stage.report(f"  {declared.writes} writes, {declared.writes_per_s:.0f} a second")

    stage.report("cold start: the operator begins, and all is to be done")
    played = Played(len(stage.machines), written, changed, declared, declared)

    async def converge() -> None:
        await stage.start_operator()
        if canaries is None:
            await stage.until_ready(generations)
            return
        await stage.until_logged(staging.LISTED)
        await canaries.declare()
        async with canaries.meanwhile() as found:
            await stage.until_ready(generations)
        _take(stage, played, found)

    with yardstick.laid(stage.folder / "yardstick.log") as laid:
        played.cold = await stage.cost_of(converge(), operator_began=True)
        played.piece_ms = laid.piece_ms()
    stage.report(f"  {played.cold.seconds:.1f} s, {stage.extensions / played.cold.seconds:.0f} extensions a second")
    played.peak_rss_mb = stage.meter.peak_rss_mb()
    return played


async def go_on(stage: Stage, canaries: Canaries, played: Played) -> None:
    """Change one extension on every machine, restart the operator with nothing to do, and leave all alone."""
    stage.report("changing one extension on every machine")

    async def change() -> None:
        async with canaries.meanwhile() as found:
            generations = await stage.apply_to(stage.machines, lambda machine: [machine.extension(1, run=2)])
            await stage.until_ready(generations)
        _take(stage, played, found)

    played.changed = await stage.cost_of(change())
    stage.report(f"  {played.changed.seconds:.1f} s, {len(stage.machines) / played.changed.seconds:.0f} a second")

    stage.report("single changes on an idle system")
    await asyncio.sleep(2)
    played.single_write_s, played.apply_to_goal_s, played.apply_new_to_goal_s = await canaries.one.idle()
    played.apply_to_crowded_goal_s = await canaries.one.crowded()
    played.peak_rss_mb = max(played.peak_rss_mb, stage.meter.peak_rss_mb())

    stage.report("starting the operator again with nothing to do")
    await stage.stop_operator()

    async def restart() -> None:
        await stage.start_operator()
        played.leading_s = await stage.until_logged(staging.LEADING)
        await stage.until_logged(staging.CAUGHT_UP)

    played.restarted = await stage.cost_of(restart(), operator_began=True)
    played.peak_rss_mb = max(played.peak_rss_mb, stage.meter.peak_rss_mb())
    stage.report(f"  {played.restarted.seconds:.1f} s")

    stage.report(f"leaving all alone for {_IDLE_S:.0f} s")
    played.idle = await stage.cost_of(asyncio.sleep(_IDLE_S))


def _take(stage: Stage, played: Played, found: Mapping[str, Seconds]) -> None:
    for namespace, seconds in found.items():
        played.busy.append(seconds)
        stage.report(f"  in {namespace}: {seconds}")


async def _write(stage: Stage, machines: Sequence[Machine], writes: Callable[[Machine], Iterable[raw.Write]]) -> None:
    todo = iter(machines)

    async def client() -> None:
        for machine in todo:
            for one in writes(machine):
                await raw.write(stage.users, one)

    async with asyncio.TaskGroup() as clients:
        for _ in range(staging.RAW):
            clients.create_task(client())


def _everything(machine: Machine) -> list[dict[str, Any]]:
    return [machine.manifest(), *(machine.extension(number) for number in range(1, EACH + 1))]

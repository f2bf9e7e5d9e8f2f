"""How soon a single change is in the goal state and is ready, on an idle system and while thousands are in work."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.fleet import declared
from benchmarks.fleet.declared import EACH, Machine
from benchmarks.fleet.sight import Goals
from benchmarks.fleet.stage import Stage

_IDLE = 60
#: As many extensions as few machines have: what a goal costs the API server grows with them.
CROWD = 30
_EVERY_S = 0.3
#: Between two single changes while others are in work, however long each of them takes.
_MOMENT_S = 0.5
_PATIENCE_S = 120.0
_MARK = itertools.count(1)


class Changed(NamedTuple):
    """A change that has come into the goal: when it was applied, the generation that it made, the seconds it took."""

    at: float
    generation: int
    to_goal_s: float


@dataclass(frozen=True, slots=True)
class Seconds:
    """What each of some changes took from its apply on: until it was in the goal, and until it was said to be ready."""

    to_goal: list[float] = field(default_factory=list)
    to_ready: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        said = (f"{what} {_quantiles(found)}" for what, found in (("goal", self.to_goal), ("Ready", self.to_ready)))
        return f"{len(self.to_goal)} single changes meanwhile, from apply to {'; to '.join(said)}"


class Canary:
    """One machine that is changed by itself; it has as many extensions as the others."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        self._stage = stage
        self._machine = machine
        self._goals = Goals(stage.server, machine.namespace, machine.name)
        #: By number, the extensions as they were applied last.
        self._applied: dict[int, dict[str, Any]] = {}

    @property
    def namespace(self) -> str:
        """Return the namespace that it is in."""
        return self._machine.namespace

    async def declare(self) -> None:
        """Declare it with its extensions, and return when those are in its goal."""
        await self._goals.open(self._stage.single)
        await self._stage.apply(self._machine, self._machine.manifest(), self._stage.single)
        for number in range(1, EACH + 1):
            await self.change(number)

    async def close(self) -> None:
        """End the watch."""
        await self._goals.close()

    async def change(self, number: int) -> Changed:
        """Apply an extension with other settings; return when they are seen in the goal. Raises TimeoutError."""
        mark = f"canary-{next(_MARK)}-"
        obj = self._machine.extension(number, type=declared.CANARY, settings={"commandToExecute": f"true # {mark}"})
        self._applied[number] = obj
        began = time.perf_counter()
        generation = await self._stage.apply(self._machine, obj, self._stage.single)
        return Changed(began, generation, await self._goals.first(mark, _PATIENCE_S) - began)

    async def ready(self, number: int, changed: Changed) -> float:
        """Return how many seconds after a change the extension is ready as it was changed. Raises TimeoutError."""
        name = self._machine.namespace, self._machine.extension_name(number)
        await self._stage.sight.ready(name, changed.generation, _PATIENCE_S)
        return time.perf_counter() - changed.at

    async def idle(self) -> tuple[float, float, float]:
        """Return medians on an idle system: of a single write, and from apply to goal of a change and of a new one."""
        writes, changes, new = [], [], []
        for number in range(_IDLE):
            writes.append(await self._write(number))
            await asyncio.sleep(_EVERY_S)
            changes.append((await self.change(1)).to_goal_s)
            await asyncio.sleep(_EVERY_S)
            new.append((await self.change(EACH + 1)).to_goal_s)
            await self._take_away(EACH + 1)
            await asyncio.sleep(_EVERY_S)
        return statistics.median(writes), statistics.median(changes), statistics.median(new)

    async def crowded(self) -> float:
        """Give it many extensions more; return the median from apply to goal of a change, on an idle system."""
        for number in range(EACH + 1, CROWD + 1):
            await self.change(number)
        changes: list[float] = []
        for _ in range(_IDLE):
            # Whatever was applied before is reported and counted by then.
            await asyncio.sleep(2 if not changes else _EVERY_S)
            changes.append((await self.change(1)).to_goal_s)
        return statistics.median(changes)

    async def _take_away(self, number: int) -> None:
        """Delete an extension, and return when its goal is without it."""
        name = self._machine.extension_name(number)
        await self._stage.single.request("DELETE", self._machine.path("virtualmachineextensions", name))
        await self._goals.without(name, _PATIENCE_S)

    async def _write(self, number: int) -> float:
        """Apply nothing that an operator would look at; return the seconds of this one write."""
        obj = self._applied[1]
        obj["metadata"]["annotations"] = {"example.com/number": str(number)}
        began = time.perf_counter()
        await self._stage.apply(self._machine, obj, self._stage.single)
        return time.perf_counter() - began


class Canaries:
    """Machines that are changed one after another, at moments that do not depend on what a change takes."""

    def __init__(self, stage: Stage) -> None:
        self._all = [Canary(stage, machine) for machine in stage.canaries]
        #: Whoever has been free for longest is changed next.
        self._free: asyncio.Queue[Canary] = asyncio.Queue()
        #: The one for an idle system.
        self.one = self._all[0]

    async def declare(self) -> None:
        """Declare all, and return when everything is in their goals."""
        async with asyncio.TaskGroup() as declaring:
            for canary in self._all:
                declaring.create_task(canary.declare())
        for canary in self._all:
            self._free.put_nowait(canary)

    async def close(self) -> None:
        """End their watches."""
        for canary in self._all:
            await canary.close()

    @contextlib.asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[Mapping[str, Seconds]]:
        """Change one at each moment until the block ends; give what each change took, by namespace."""
        found, is_over = {canary.namespace: Seconds() for canary in self._all}, asyncio.Event()

        async def change(canary: Canary) -> None:
            seconds = found[canary.namespace]
            # Longer than anybody waits, unless it comes sooner: that counts, and is no reason to end.
            to_goal = to_ready = math.inf
            with contextlib.suppress(TimeoutError):
                changed = await canary.change(1)
                to_goal = changed.to_goal_s
                to_ready = await canary.ready(1, changed)
            seconds.to_goal.append(to_goal)
            seconds.to_ready.append(to_ready)
            self._free.put_nowait(canary)

        async def go_on() -> None:
            async with asyncio.TaskGroup() as changing:
                while not is_over.is_set():
                    if not self._free.empty():
                        changing.create_task(change(self._free.get_nowait()))
                    await asyncio.sleep(_MOMENT_S)

        task = asyncio.create_task(go_on())
        try:
            yield found
            is_over.set()
            await task
        finally:
            task.cancel()


def _quantiles(found: list[float]) -> str:
    """Return the seconds in which a half, nine tenths and all were there."""
    ordered = sorted(found)
    parts = (ordered[min(len(ordered) - 1, len(ordered) * tenths // 10)] for tenths in (5, 9, 10))
    return " / ".join(f"{seconds:.2f}" for seconds in parts) + " s"

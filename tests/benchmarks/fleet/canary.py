"""How soon a single change is in the goal state and is ready, on an idle system and while thousands are in work."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from benchmarks.fleet import declared
from benchmarks.fleet.declared import EACH
from benchmarks.fleet.sight import Goals
from benchmarks.fleet.stage import CANARY, Stage

_IDLE = 30
#: As many extensions as few machines have: what a goal costs the API server grows with them.
CROWD = 30
_EVERY_S = 0.3
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Seconds:
    """What each of some changes took from its apply on: until it was in the goal, and until it was said to be ready."""

    to_goal: list[float] = field(default_factory=list)
    to_ready: list[float] = field(default_factory=list)


class Canary:
    """One machine of the fleet's namespace that is changed by itself; it has as many extensions as the others."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._goals = Goals(stage.server, CANARY.namespace, CANARY.name)
        self._number = 0
        #: Of what was applied last.
        self._generation = 0

    async def declare(self) -> None:
        """Declare it with its extensions, and return when those are in its goal."""
        await self._goals.open(self._stage.users)
        await self._stage.apply(CANARY, CANARY.manifest())
        for number in range(1, EACH + 1):
            await self._change(number)

    async def close(self) -> None:
        """End the watch."""
        await self._goals.close()

    @contextlib.asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[Seconds]:
        """Change it again and again until the block ends; give what each change took."""
        seconds = Seconds()

        is_over = asyncio.Event()

        async def go_on() -> None:
            name = CANARY.namespace, CANARY.extension_name(1)
            while not is_over.is_set():
                began = time.perf_counter()
                seconds.to_goal.append(await self._change(1))
                await self._stage.sight.ready(name, self._generation, _PATIENCE_S)
                seconds.to_ready.append(time.perf_counter() - began)
                await asyncio.sleep(_EVERY_S)

        task = asyncio.create_task(go_on())
        try:
            yield seconds
            is_over.set()
            await task
        finally:
            task.cancel()

    async def idle(self) -> tuple[float, float, float]:
        """Return medians on an idle system: of a single write, and from apply to goal of a change and of a new one."""
        writes, changes, new = [], [], []
        for number in range(_IDLE):
            writes.append(await self._write(number))
            await asyncio.sleep(_EVERY_S)
            changes.append(await self._change(1))
            await asyncio.sleep(_EVERY_S)
            new.append(await self._change(EACH + 1))
            await self._take_away(EACH + 1)
            await asyncio.sleep(_EVERY_S)
        return statistics.median(writes), statistics.median(changes), statistics.median(new)

    async def crowded(self) -> float:
        """Give it many extensions more; return the median from apply to goal of a change, on an idle system."""
        for number in range(EACH + 1, CROWD + 1):
            await self._change(number)
        changes: list[float] = []
        for _ in range(_IDLE):
            # Whatever was applied before is reported and counted by then.
            await asyncio.sleep(2 if not changes else _EVERY_S)
            changes.append(await self._change(1))
        return statistics.median(changes)

    async def _take_away(self, number: int) -> None:
        """Delete an extension, and return when its goal is without it."""
        name = CANARY.extension_name(number)
        await self._stage.users.request("DELETE", CANARY.path("virtualmachineextensions", name))
        await self._goals.without(name, _PATIENCE_S)

    async def _change(self, number: int) -> float:
        """Apply an extension with other settings; return the seconds until they are seen in the goal."""
        self._number += 1
        mark = f"canary-{self._number}-"
        obj = CANARY.extension(number, type=declared.CANARY, settings={"commandToExecute": f"true # {mark}"})
        began = time.perf_counter()
        self._generation = await self._stage.apply(CANARY, obj)
        return await self._goals.first(mark, _PATIENCE_S) - began

    async def _write(self, number: int) -> float:
        """Apply nothing that an operator would look at; return the seconds of this one write."""
        obj = CANARY.extension(1, type=declared.CANARY, settings={"commandToExecute": f"true # canary-{self._number}-"})
        obj["metadata"]["annotations"] = {"example.com/number": str(number)}
        began = time.perf_counter()
        await self._stage.apply(CANARY, obj)
        return time.perf_counter() - began

"""One fleet on one API server, and what happens to it, act by act."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import control_plane
from benchmarks.fleet import counting, declared, raw, wire
from benchmarks.fleet.agents import Fleet
from benchmarks.fleet.declared import EACH, Machine
from benchmarks.fleet.meter import Cost, Meter
from benchmarks.fleet.sight import Sight
from development import credentials, house
from development.operator_process import Operator
from vmext_operator.api.goal_state import name_of

#: So many write at once: raw writes, as many as the API server takes; users, each of whom applies one object after
#: another as Flux and helm do; agents, which report when they have something to say.
RAW, USERS, WRITERS = 32, 8, 64
_KINDS = ("virtualmachines", "virtualmachineextensions", "virtualmachineextensionimages", "goalstates")
#: What is changed for its own sake while the fleet is in work; of a small fleet not all of them. One half is in a
#: namespace of the fleet's, the other in one of its own, as what other people have.
_CANARIES = tuple(Machine(("fleet-0", "neighbour")[number % 2], f"canary-{number}") for number in range(40))
#: The controller manager looks every half minute for kinds that are new.
_DISCOVERED_S = 120.0
LEADING = "leading lease="
CAUGHT_UP = "every machine looked at"
LISTED = "everything listed"


@dataclass
class Stage:
    """A fleet, and who acts on it."""

    folder: Path
    cluster: control_plane.ControlPlane
    server: wire.Server
    users: wire.Pool
    #: For whoever changes something by itself: it waits for nobody's connection.
    single: wire.Pool
    fleet: Fleet
    sight: Sight
    operator: Operator
    meter: Meter
    machines: Sequence[Machine]
    canaries: Sequence[Machine]
    report: Callable[[str], None]
    #: Where in the operator's log its present process begins.
    _log_from: int = 0

    @property
    def extensions(self) -> int:
        """Return how many extensions the fleet has."""
        return len(self.machines) * EACH

    @property
    def patience_s(self) -> float:
        """Return for how long something that concerns the whole fleet is waited for."""
        return 120.0 + self.extensions * 0.1

    async def start_operator(self) -> None:
        """Start the operator."""
        log = self.operator.log
        self._log_from = log.stat().st_size if log.exists() else 0
        await asyncio.to_thread(self.operator.start)

    async def stop_operator(self) -> None:
        """Stop the operator."""
        await asyncio.to_thread(self.operator.stop)

    async def until_logged(self, mark: str) -> float:
        """Return how many seconds it took the operator's present process to log something."""
        began = time.perf_counter()
        async with asyncio.timeout(self.patience_s):
            while mark not in self.operator.log.read_bytes()[self._log_from :].decode(errors="replace"):
                await asyncio.sleep(0.1)
        return time.perf_counter() - began

    async def apply(self, machine: Machine, obj: dict[str, Any], by: wire.Pool | None = None) -> int:
        """Apply an object as a user does, by default as one of many; return its generation."""
        plural = "virtualmachines" if obj["kind"] == "VirtualMachine" else "virtualmachineextensions"
        applied = await (by or self.users).apply(machine.path(plural, obj["metadata"]["name"]), obj)
        generation: int = applied["metadata"]["generation"]
        return generation

    async def apply_to(
        self, machines: Sequence[Machine], make: Callable[[Machine], Sequence[dict[str, Any]]]
    ) -> dict[tuple[str, str], int]:
        """Apply objects for each machine, some at once; return the generations of the extensions among them."""
        generations: dict[tuple[str, str], int] = {}
        todo = iter(machines)

        async def user() -> None:
            for machine in todo:
                for obj in make(machine):
                    generation = await self.apply(machine, obj)
                    if obj["kind"] != "VirtualMachine":
                        generations[machine.namespace, obj["metadata"]["name"]] = generation

        async with asyncio.TaskGroup() as users:
            for _ in range(USERS):
                users.create_task(user())
        return generations

    async def until_ready(self, generations: dict[tuple[str, str], int]) -> None:
        """Return when these generations of extensions are ready and all machines have counted theirs."""
        sight = self.sight
        sight.expect(generations)

        def is_done() -> bool:
            # At every event of a large fleet's: no more than to look at two numbers.
            return not sight.awaited and sight.counted >= len(self.machines)

        async def tell() -> None:
            while True:
                await asyncio.sleep(30)
                ready = len(generations) - len(sight.awaited)
                self.report(f"  {ready} of {len(generations)} extensions are ready")

        telling = asyncio.create_task(tell())
        try:
            await sight.wait(is_done, self.patience_s)
        except TimeoutError:
            some, log = sorted(sight.awaited)[:3], self.operator.log
            self.report(f"{len(sight.awaited)} extensions are not ready, such as {some}; the operator's log: {log}")
            raise
        finally:
            telling.cancel()

    async def cost_of(self, act: Awaitable[object], *, operator_began: bool = False) -> Cost:
        """Do something and return what it cost."""
        before = await self.meter.read(operator_began=operator_began)
        await act
        return await self.meter.since(before)


@contextlib.asynccontextmanager
async def prepared(
    folder: Path, binaries: control_plane.Binaries, count: int, report: Callable[[str], None]
) -> AsyncIterator[Stage]:
    """Give an API server of its own with our kinds, and a fleet's agents that watch; nothing is declared yet."""
    with control_plane.running(folder / "control-plane", binaries, large=count > 1000) as cluster:
        house.install(cluster)
        machines = declared.machines(count)
        canaries = _CANARIES[: max(2, count // 25)]
        for namespace in sorted({raw.NAMESPACE, *(machine.namespace for machine in (*machines, *canaries))}):
            cluster.kubectl("create", "namespace", namespace)
        server = wire.Server(cluster.kubeconfig)
        operator = Operator(credentials.of_operator(cluster, folder), folder / "operator.log")
        async with (
            wire.pool(server, RAW) as users,
            wire.pool(server, len(canaries)) as single,
            wire.pool(server, WRITERS) as writers,
        ):
            for target, obj in declared.catalog():
                await users.apply(target, obj)
            report("the cluster's own controllers begin to watch our kinds")
            await _until_watched(users)
            fleet, sight = Fleet(server, writers), Sight(server, machines)
            try:
                report(f"{count} agents begin to watch their goal states")
                await fleet.start([*machines, *canaries])
                await sight.open(users)
                meter = Meter(cluster, operator, users)
                yield Stage(
                    folder, cluster, server, users, single, fleet, sight, operator, meter, machines, canaries, report
                )
            finally:
                await asyncio.to_thread(operator.stop)
                await sight.close()
                await fleet.stop()


async def _until_watched(pool: wire.Pool) -> None:
    """Return when the controller manager watches our kinds, as it does in any cluster: every write costs that, too."""
    async with asyncio.timeout(_DISCOVERED_S):
        while not await counting.watched(pool) >= {*_KINDS}:
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def watches(stage: Stage, machines: Sequence[Machine]) -> AsyncIterator[None]:
    """Have the watches open that the operator and some machines' agents would have; all that they bring is let go."""
    targets = [f"{declared.BASE}/{plural}?watch=1" for plural in _KINDS]
    for machine in machines:
        target = f"{declared.BASE}/namespaces/{machine.namespace}/goalstates?watch=1"
        targets.append(f"{target}&fieldSelector=metadata.name%3D{name_of(machine.name, raw.ANCHOR)}")
    version = (await stage.users.get(f"{declared.BASE}/goalstates?limit=1"))["metadata"]["resourceVersion"]
    connections = [wire.Connection(stage.server) for _ in targets]

    async def drain(connection: wire.Connection, target: str) -> None:
        async for _ in connection.watch(f"{target}&resourceVersion={version}"):
            pass

    await asyncio.gather(*(connection.open() for connection in connections))
    tasks = [asyncio.create_task(drain(*both)) for both in zip(connections, targets, strict=True)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections:
            connection.close()

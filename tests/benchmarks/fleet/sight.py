"""What users' watches show: which extensions are as declared, which machines are counted, which goals are written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.fleet.declared import BASE, EACH, Machine
from benchmarks.fleet.follow import follow
from benchmarks.fleet.wire import Connection, Pool, Server

Key = tuple[str, str]
_KINDS = ("virtualmachineextensions", "virtualmachines")


class Sight:
    """Watches extensions and machines of all namespaces.

    Args:
        server: the API server.
        machines: those to count.
    """

    def __init__(self, server: Server, machines: Iterable[Machine]) -> None:
        self._machines: set[Key] = set(machines)
        self._connections = [Connection(server) for _ in _KINDS]
        self._tasks: list[asyncio.Task[None]] = []
        #: The generation of each extension that is reported as ready.
        self._ready: dict[Key, int] = {}
        #: The extensions that are waited for, with the generations that they are to be ready in.
        self.awaited: dict[Key, int] = {}
        #: Of extensions that somebody waits for one by one: set when they are ready, in whatever generation.
        self._told: dict[Key, asyncio.Event] = {}
        self._counted: set[Key] = set()
        self._changed = asyncio.Event()

    @property
    def counted(self) -> int:
        """Return how many of the machines have a status that counts all of their extensions as ready."""
        return len(self._counted)

    async def open(self, pool: Pool) -> None:
        """Begin to watch."""
        for connection, plural in zip(self._connections, _KINDS, strict=True):
            version = (await pool.get(f"{BASE}/{plural}?limit=1"))["metadata"]["resourceVersion"]
            self._tasks.append(asyncio.create_task(self._watch(connection, plural, version)))

    async def close(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections:
            connection.close()

    def expect(self, generations: Mapping[Key, int]) -> None:
        """Begin to wait for extensions: each stays among the awaited until that generation of it is ready."""
        self.awaited = {key: wanted for key, wanted in generations.items() if self._ready.get(key, 0) < wanted}

    async def ready(self, key: Key, generation: int, timeout_s: float) -> None:
        """Return as soon as an extension is ready in that generation. Raises TimeoutError."""
        # Not woken at every event of a fleet's, as ``wait`` is: many are waited for at once.
        told = self._told.setdefault(key, asyncio.Event())
        async with asyncio.timeout(timeout_s):
            while self._ready.get(key, 0) < generation:
                told.clear()
                await told.wait()

    async def wait(self, until: Callable[[], bool], timeout_s: float) -> None:
        """Return as soon as it is so. Raises TimeoutError, and what has ended a watch."""
        async with asyncio.timeout(timeout_s):
            while not until():
                self._changed.clear()
                for task in self._tasks:
                    if task.done():
                        task.result()
                        raise RuntimeError("a watch ended")
                await self._changed.wait()

    async def _watch(self, connection: Connection, plural: str, version: str) -> None:
        async for _, obj in follow(connection, f"{BASE}/{plural}", "", version):
            self._see(plural, obj)
            self._changed.set()

    def _see(self, plural: str, obj: Mapping[str, Any]) -> None:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if plural == "virtualmachineextensions":
            self._see_extension(key, obj)
        elif key in self._machines and (obj.get("status") or {}).get("extensions", {}).get("ready", 0) >= EACH:
            self._counted.add(key)
        else:
            self._counted.discard(key)

    def _see_extension(self, key: Key, obj: Mapping[str, Any]) -> None:
        status = obj.get("status") or {}
        generation = obj["metadata"]["generation"]
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        if status.get("observedGeneration") == generation and conditions.get("Ready") == "True":
            self._ready[key] = generation
            if self.awaited.get(key, generation + 1) <= generation:
                del self.awaited[key]
            if key in self._told:
                self._told[key].set()


class Goals:
    """Watches one machine's goal: when an entry of it came to have some settings, and which entries it has."""

    def __init__(self, server: Server, namespace: str, name: str) -> None:
        self._connection = Connection(server)
        self._target = f"{BASE}/namespaces/{namespace}/goalstates"
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[str, float] = {}
        self._names: set[str] = set()
        self._changed = asyncio.Event()

    async def open(self, pool: Pool) -> None:
        """Begin to watch."""
        version = (await pool.get(f"{self._target}?limit=1"))["metadata"]["resourceVersion"]
        self._task = asyncio.create_task(self._watch(version))

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._connection.close()

    async def first(self, mark: str, timeout_s: float) -> float:
        """Return when settings with this text were first seen in the goal. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                for settings, at in self._seen.items():
                    if mark in settings:
                        return at
                self._changed.clear()
                await self._changed.wait()

    async def without(self, name: str, timeout_s: float) -> None:
        """Return as soon as the goal has no entry of that name. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while name in self._names:
                self._changed.clear()
                await self._changed.wait()

    async def _watch(self, version: str) -> None:
        async for kind, obj in follow(
            self._connection, self._target, f"&fieldSelector=spec.vmName%3D{self._name}", version
        ):
            at = time.perf_counter()
            entries = () if kind == "DELETED" else (obj.get("spec") or {}).get("extensions") or ()
            self._names = {entry["name"] for entry in entries}
            for entry in entries:
                self._seen.setdefault(entry["settings"], at)
            self._changed.set()

"""Simulated agents: each watches its goal state by name, patches its status and renews its Lease, as the real one does.

The rules are those of ``vmext_agent.reporter``: what is final is sent at once, what is not waits a second for something
final to come with it, and while a report is on its way what comes is gathered for the next one. Extensions run one
after another. Nothing runs in earnest, and no more is written than a real agent would write.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from benchmarks.fleet.declared import BASE, Machine
from benchmarks.fleet.follow import follow
from benchmarks.fleet.wire import MERGE, METADATA, Connection, Pool, RequestError, Server
from vmext_agent import report
from vmext_operator.api.goal_state import name_of

#: What an extension takes: longer than a report is on its way, so that each is reported for itself.
WORK_S = 0.05
_DELAY_S = 1.0
_RETRY_S = 0.5
#: A third of the five minutes after which a machine counts as unreachable.
_BEAT_S = 100
_CONNECTING = 64


class Fleet:
    """All agents of a fleet.

    Args:
        server: the API server.
        writers: for reports; the agents share its connections. Each has a connection of its own for its watch.
    """

    def __init__(self, server: Server, writers: Pool) -> None:
        self._server = server
        self._writers = writers
        self._connecting = asyncio.Semaphore(_CONNECTING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._agents: list[_Agent] = []
        self._learning = Connection(server)
        #: Names of goal states, by namespace and name of the machine.
        self._goals: dict[tuple[str, str], asyncio.Future[str]] = {}
        #: Reports that the API server did not take at once.
        self.repeated = 0

    async def start(self, machines: list[Machine]) -> None:
        """Start the agents of some machines; return when all of them watch."""
        version = (await self._writers.get(f"{BASE}/virtualmachines?limit=1"))["metadata"]["resourceVersion"]
        agents = [_Agent(self, machine) for machine in machines]
        self._agents += agents
        for machine in machines:
            self._goals[machine] = asyncio.get_running_loop().create_future()
        self.run(self._learn(version))
        async with asyncio.TaskGroup() as opening:
            for agent in agents:
                opening.create_task(agent.connect())
        for number, agent in enumerate(agents):
            self.run(agent.watch())
            self.run(agent.beat(_BEAT_S * number / len(agents)))

    async def goal_of(self, machine: Machine) -> str:
        """Return the name of a machine's goal state, once it has one: real agents are told when they are enrolled."""
        return await self._goals[machine]

    async def _learn(self, version: str) -> None:
        async for _, obj in follow(self._learning, f"{BASE}/virtualmachines", "", version):
            known = self._goals.get((obj["metadata"]["namespace"], obj["metadata"]["name"]))
            anchor_uid = (obj.get("status") or {}).get("credential", {}).get("anchorUID")
            if known is not None and not known.done() and anchor_uid:
                known.set_result(name_of(obj["metadata"]["name"], anchor_uid))

    def run(self, coroutine: Any) -> asyncio.Task[None]:
        """Run something of an agent until the fleet is stopped."""
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            raise RuntimeError("an agent ended") from task.exception()

    async def stop(self) -> None:
        """End all agents."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for agent in self._agents:
            agent.connection.close()
        self._learning.close()

    def dial(self) -> tuple[Connection, asyncio.Semaphore]:
        """Return a new connection, and what is held to open it."""
        return Connection(self._server), self._connecting

    async def renew(self, target: str, lease: dict[str, Any] | None, spec: Mapping[str, Any]) -> dict[str, Any] | None:
        """Renew a Lease as it is known, or as it is found; return it as it is now, None where that can't be done."""
        try:
            found = lease or await self._writers.get(target)
            answer = await self._writers.request("PUT", target, {**found, "spec": spec})
        except RequestError:
            return None
        renewed: dict[str, Any] = json.loads(answer)
        return renewed

    async def patch(self, target: str, status: Mapping[str, Any]) -> None:
        """Report, again and again until it is taken."""
        while True:
            try:
                await self._writers.request("PATCH", target, {"status": status}, MERGE, METADATA)
            except RequestError:
                self.repeated += 1
                await asyncio.sleep(_RETRY_S)
            else:
                return


class _Agent:
    def __init__(self, fleet: Fleet, machine: Machine) -> None:
        self._fleet = fleet
        self._machine = machine
        self.connection, self._connecting = fleet.dial()
        self._known: Mapping[str, Any] = {}
        self._wanted: dict[str, Any] = {**facts(machine.name), "extensions": {}, "highestSequenceNumber": 0}
        self._goal = self._uid = ""
        self._generation = 0
        self._entries: list[dict[str, Any]] = []
        self._working: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        async with self._connecting:
            await self.connection.open()

    async def watch(self) -> None:
        """Watch the goal for as long as the fleet lives, and carry out what is new."""
        target = f"{BASE}/namespaces/{self._machine.namespace}/goalstates"
        self._goal = await self._fleet.goal_of(self._machine)
        async for kind, obj in follow(self.connection, target, f"&fieldSelector=metadata.name%3D{self._goal}", "0"):
            if kind in ("ADDED", "MODIFIED"):
                self._take(obj)

    async def beat(self, delay_s: float) -> None:
        """Renew the machine's Lease for as long as the fleet lives, at other times than the other agents."""
        machine, lease = self._machine, None
        target = f"/apis/coordination.k8s.io/v1/namespaces/{machine.namespace}/leases/vmext-vm-{machine.name}"
        await asyncio.sleep(delay_s)
        while True:
            renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            spec = {"holderIdentity": machine.name, "leaseDurationSeconds": 3 * _BEAT_S, "renewTime": renewed}
            lease = await self._fleet.renew(target, lease, spec)
            await asyncio.sleep(_BEAT_S)

    def _take(self, obj: Mapping[str, Any]) -> None:
        metadata = obj["metadata"]
        if (self._uid, self._generation) == (metadata["uid"], metadata["generation"]):
            return  # the echo of a report
        self._uid, self._generation = metadata["uid"], metadata["generation"]
        self._entries = obj["spec"].get("extensions") or []
        self._wanted = {**self._wanted, "observedGeneration": self._generation}
        if self._working is None or self._working.done():
            self._working = self._fleet.run(self._work())
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self._report)

    async def _work(self) -> None:
        while (entry := self._next()) is not None:
            began = now()
            await asyncio.sleep(WORK_S)
            documents = {**self._wanted["extensions"], entry["name"]: document(entry, began)}
            highest = max(self._wanted["highestSequenceNumber"], entry["sequenceNumber"])
            self._wanted = {**self._wanted, "extensions": documents, "highestSequenceNumber": highest}
            self._report()

    def _next(self) -> dict[str, Any] | None:
        """Return the first entry that is not carried out yet."""
        done = self._wanted["extensions"]
        for entry in self._entries:
            known = done.get(entry["name"])
            if known is None or any(known[field] != value for field, value in _key(entry).items()):
                return entry
        return None

    def _report(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is None or self._sending.done():
            self._sending = self._fleet.run(self._send())

    async def _send(self) -> None:
        while self._wanted != self._known:
            wanted = self._wanted
            patch = report.merge_patch(self._known, wanted)
            await self._fleet.patch(
                self._machine.path("goalstates", self._goal) + "/status?fieldManager=vmext-agent", patch
            )
            self._known = wanted


def facts(name: str) -> dict[str, Any]:
    """Return what an agent says of itself and of its machine."""
    guest = {"os": "debian", "version": "12", "arch": "x86_64", "hostname": name, "kernel": "6.1.0", "python": "3.11.2"}
    return {"agentVersion": "0.1.0", "guest": guest}


def _key(entry: Mapping[str, Any]) -> dict[str, Any]:
    named = {field: entry[field] for field in ("uid", "state", "sequenceNumber")}
    return {**named, "version": entry["handler"]["version"]}


def document(entry: Mapping[str, Any], began: str) -> dict[str, Any]:
    """Return what a real agent reports of an extension that has succeeded, or is removed."""
    made = {**_key(entry), "startTime": began, "endTime": now()}
    if entry["state"] != "enabled":
        return made | {"outcome": "Removed", "operation": "Uninstall"}
    said = {"status": "success", "operation": "Enable", "code": 0, "message": "Enable succeeded", "time": now()}
    output = {"name": "StdOut", "status": "success", "code": 0, "message": "configured\n"}
    return made | {
        "outcome": "Succeeded",
        "operation": "Enable",
        "installedVersion": entry["handler"]["version"],
        "handlerStatus": {"status": "Ready", "code": 0, "message": "Plugin enabled"},
        "extensionStatus": said | {"substatuses": [output]},
    }


def now() -> str:
    """Return the time as the API has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

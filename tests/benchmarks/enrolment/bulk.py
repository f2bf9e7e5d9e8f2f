"""A number of machines enrolled in one run, and renewed: what each costs in time and in writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.enrolment.machine import Machine
from benchmarks.enrolment.renewal import peak_per_s
from benchmarks.fleet import wire
from benchmarks.fleet.declared import BASE
from benchmarks.fleet.meter import Cost, Meter
from benchmarks.fleet.wire import Pool, Server
from support.certificates import rsa_key

#: So many are declared at once, and so many enrolled.
AT_ONCE = 64
#: Keys that a fleet shares, of the size that agents make.
KEYS, BITS = 8, 3072
#: Of the real renewals: for how long the tokens are said to have been granted. A tenth of it is what they spread over.
LIFE_S = 300
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What it cost to enrol so many machines, from the first declaration to the last token in use."""

    machines: int
    cost: Cost

    @property
    def s_each(self) -> float:
        """Return the seconds by the clock for each."""
        return self.cost.seconds / self.machines

    @property
    def writes_each(self) -> float:
        """Return the writes to the API server for each, whoever made them."""
        return self.cost.writes / self.machines


@dataclass(frozen=True, slots=True)
class Renewed:
    """Real renewals that were due within a short while: over how many seconds they came, and the most in one."""

    machines: int
    seconds: float
    peak_per_s: int


class Bulk:
    """Enrols machines of one namespace.

    Args:
        users: who declare and enrol.
        server: as agents reach it, by their tokens alone.
        namespace: there already.
    """

    def __init__(self, users: Pool, server: Server, meter: Meter, namespace: str) -> None:
        self._users = users
        self._server = server
        self._meter = meter
        self._namespace = namespace
        self.machines: list[Machine] = []

    async def enroll(self, count: int) -> Enrolled:
        """Declare and enrol so many machines."""
        keys = [rsa_key(number, BITS) for number in range(KEYS)]
        made = [Machine(self._namespace, f"vm-{number:05}", keys[number % KEYS]) for number in range(count)]
        self.machines = made
        before = await self._meter.read()
        await _some_at_once(made, lambda machine: machine.declare(self._users))
        await self._until(lambda status: "anchorUID" in status.get("credential", {}))
        declared = await self._meter.since(before)
        # The test's own part: on machines it is done by each for itself.
        for machine in made:
            machine.make_certificate()
        before = await self._meter.read()
        await _some_at_once(made, lambda machine: machine.enroll(self._users, self._server))
        await self._until(lambda status: "expiresAt" in status.get("credential", {}))
        return Enrolled(count, declared + await self._meter.since(before))

    async def renew(self, count: int) -> Renewed:
        """Say of so many machines' tokens that half of their lives is over; return how the operator renews them.

        This is time moved, not waited for: the operator goes by what agents say of their tokens.
        """
        now = datetime.now(UTC)
        times = {"issuedAt": now - timedelta(seconds=LIFE_S / 2), "expiresAt": now + timedelta(seconds=LIFE_S / 2)}
        moved = {name: value.strftime("%Y-%m-%dT%H:%M:%SZ") for name, value in times.items()}
        some = self.machines[:count]
        old = {machine.name: machine.held["id"] for machine in some}
        minted: dict[str, float] = {}
        listed = await self._users.get(f"{BASE}/namespaces/{self._namespace}/goalstates?limit=1")
        watching = asyncio.create_task(self._mints(old, minted, listed["metadata"]["resourceVersion"]))
        try:
            await _some_at_once(some, lambda machine: self._say(machine, moved))
            async with asyncio.timeout(LIFE_S):
                while len(minted) < len(some):
                    await asyncio.sleep(0.2)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        at = sorted(minted.values())
        return Renewed(len(some), at[-1] - at[0], peak_per_s(at))

    async def _say(self, machine: Machine, times: dict[str, str]) -> None:
        body = {"status": {"credential": times}}
        await self._users.request("PATCH", f"{machine.path('goalstates')}/status", body, wire.MERGE)

    async def _mints(self, old: dict[str, str], minted: dict[str, float], version: str) -> None:
        """Note when each machine's goal state has another token."""
        connection = wire.Connection(self._users.server)
        clock = asyncio.get_running_loop().time
        target = f"{BASE}/namespaces/{self._namespace}/goalstates?watch=1&resourceVersion={version}"
        try:
            async for line in connection.watch(target):
                obj = json.loads(line)["object"]
                name, given = obj["spec"]["vmName"], obj["spec"].get("credential", {})
                if name in old and given.get("id") not in (None, old[name]):
                    minted.setdefault(name, clock())
        finally:
            connection.close()

    async def _until(self, is_so: Callable[[dict[str, dict[str, object]]], bool]) -> None:
        """Return when something holds of every machine's status; take in its anchor."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                found = {name: one.get("status", {}) for name, one in (await self._list("virtualmachines")).items()}
                if all(is_so(found.get(machine.name, {})) for machine in self.machines):
                    break
                await asyncio.sleep(0.3)
            # A machine says what it says by its goal state, which comes a moment later.
            while len(await self._list("goalstates")) < len(self.machines):
                await asyncio.sleep(0.3)
        for machine in self.machines:
            machine.anchor = found[machine.name]["credential"]["anchorUID"]

    async def _list(self, plural: str) -> dict[str, wire.Object]:
        listed = await self._users.get(f"{BASE}/namespaces/{self._namespace}/{plural}")
        return {one["metadata"]["name"]: one for one in listed["items"]}


async def _some_at_once(machines: Sequence[Machine], act: Callable[[Machine], Awaitable[None]]) -> None:
    todo = iter(machines)

    async def one_after_another() -> None:
        for machine in todo:
            await act(machine)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another())

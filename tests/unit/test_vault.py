"""When Secrets are read: for a reason at once, without one in turns that no number of extensions makes too many."""

from __future__ import annotations

import asyncio
import base64
import heapq
import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from support import objects
from support.certificates import certificate, rsa_key
from vmext_operator.api import goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.goal_state import GoalState
from vmext_operator.api.meta import Key
from vmext_operator.api.protected import Sealed
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.cluster.client import Client
from vmext_operator.cluster.identities import Identities
from vmext_operator.control.secrets import Vault
from vmext_operator.control.settings_check import Checker
from vmext_operator.control.writer import Clock
from vmext_operator.core import verdict
from vmext_operator.core.certificate import read
from vmext_operator.errors import NotFoundError, TransientClusterError

PINNED = read(certificate("uid-vm", rsa_key(1)))


class Server(Client):
    """Plays an API server that has Secrets and nothing else."""

    def __init__(self) -> None:
        super().__init__(kubeconfig=None, term=None)
        self.secrets: dict[str, bytes] = {"vmext-operator-key": b"k" * 32}
        self.asked: list[str] = []
        self.failing: set[str] = set()
        self.while_read: Callable[[str], None] = lambda _: None

    async def request(self, method: str, target: str, **_: Any) -> dict[str, Any]:
        name = target.rpartition("/")[2]
        if name != "vmext-operator-key":
            self.asked.append(name)
        self.while_read(name)
        if name in self.failing:
            raise TransientClusterError(f"{method} {target}", 503, "not now")
        if name not in self.secrets:
            raise NotFoundError(f"{method} {target}", 404, "there is none")
        text = base64.b64encode(self.secrets[name]).decode()
        return {"metadata": {"name": name}, "data": {"k": text, "hmac": text}}


class House:
    """A vault with a clock that the test moves, and machines with one extension each."""

    def __init__(self, server: Server | None = None) -> None:
        self.now_s = 1000.0
        self.server = server or Server()
        clock = Clock(now=lambda: datetime(2026, 1, 1, tzinfo=UTC), monotonic=lambda: self.now_s)
        self.vault = Vault(Identities(self.server), clock, "vmext-system", Checker())

    async def look(
        self, name: str = "web-1", known: GoalState | None = None, **extension_: Any
    ) -> tuple[Sealed | verdict.Held, float]:
        """Have a machine's extension sealed; return what came of it, and in how many seconds to come again."""
        one = extension(name, **extension_)
        found = await self.vault.seal(machine(name), [one], known, {})
        assert found.again_s is not None
        return found.sealed[one.meta.uid], found.again_s

    async def live(self, names: list[str], seconds: float) -> dict[str, list[float]]:
        """Have so many machines looked at whenever they are to be; return when each one's Secret was read."""
        reads: dict[str, list[float]] = {name: [] for name in names}
        due = [(self.now_s, name) for name in names]
        heapq.heapify(due)
        end_s = self.now_s + seconds
        while due[0][0] < end_s:
            self.now_s, name = heapq.heappop(due)
            _, again_s = await self.look(name)
            for read_name in self.server.asked:
                reads[read_name].append(self.now_s)
            self.server.asked.clear()
            heapq.heappush(due, (self.now_s + again_s, name))
        return reads


def machine(name: str) -> VirtualMachine:
    obj = objects.machine(name)
    obj["status"]["credential"] = {
        "anchorUID": "anchor",
        "certificate": PINNED.pem,
        "thumbprint": PINNED.thumbprint,
    }
    return virtual_machine.parse(obj)


def extension(name: str, **fields: Any) -> VirtualMachineExtension:
    obj = objects.extension(name, spec={"vmName": name, "protectedSettings": {"secretRef": {"name": name, "key": "k"}}})
    obj["metadata"] |= fields.pop("metadata", {})
    return virtual_machine_extension.parse(obj | fields)


def most_in(reads: Mapping[str, list[float]], seconds: float) -> int:
    """Return how many reads there were in the busiest time of that length."""
    times = sorted(time for one in reads.values() for time in one)
    first = most = 0
    for last, time in enumerate(times):
        while times[first] < time - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(("number", "every_s"), [(1, 60), (100, 60), (240, 60), (480, 120), (720, 180)])
def test_the_more_secrets_the_more_seldom_each_is_read(number: int, every_s: float) -> None:
    house = House()
    names = [f"vm-{one}" for one in range(number)]
    house.server.secrets |= dict.fromkeys(names, b"{}")

    async def run() -> dict[str, list[float]]:
        # All at once, since each is a reason; from then on there is none.
        await house.live(names, 1.0)
        return await house.live(names, 2.5 * every_s)

    reads = asyncio.run(run())
    assert {len(times) for times in reads.values()} <= {2, 3}
    gaps = [later - sooner for times in reads.values() for sooner, later in itertools.pairwise(times)]
    assert every_s <= min(gaps) <= max(gaps) < 1.2 * every_s + 1
    assert most_in(reads, 1.0) <= 5
    assert most_in(reads, 60.0) <= 4 * 60 + 1


def test_those_that_can_not_be_used_are_looked_at_sooner_and_make_no_more_requests_however_many() -> None:
    house = House()
    good, bad = [f"vm-{one}" for one in range(300)], [f"bad-{one}" for one in range(50)]
    house.server.secrets |= dict.fromkeys(good, b"{}")

    async def run() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        await house.live([*good, "bad-0"], 1.0)
        one = await house.live([*good, "bad-0"], 60.0)
        await house.live([*good, *bad], 1.0)
        return one, await house.live([*good, *bad], 200.0)

    few, many = asyncio.run(run())
    assert len(few["bad-0"]) >= 11
    assert {len(many[name]) for name in bad} <= {3, 4, 5}
    assert most_in(many, 60.0) <= 5 * 60 + 2
    # Good again: it counts among those.
    house.server.secrets["bad-0"] = b"{}"
    house.now_s += 100
    assert isinstance(asyncio.run(house.look("bad-0"))[0], Sealed)
    assert (house.vault._good.number, house.vault._bad.number) == (301, 49)


def test_whoever_is_gone_makes_nobody_wait() -> None:
    house = House()
    names = [f"vm-{one}" for one in range(20)]
    house.server.secrets |= dict.fromkeys(names, b"{}")
    asyncio.run(house.live(names, 1.0))
    for name in names[1:]:
        house.vault.keep(machine(name).meta.key, set())
    assert house.vault._good.number == 1
    assert house.vault._seen.keys() == {Key("default", "vm-0")}


def test_a_reason_is_looked_at_at_once() -> None:
    house = House()
    house.server.secrets["web-1"] = b"{}"

    async def run() -> None:
        first, again_s = await house.look()
        assert 0 < again_s < 61
        assert await house.look() == (first, again_s)
        assert house.server.asked == ["web-1"]
        await house.look(metadata={"generation": 2})
        assert house.server.asked == ["web-1", "web-1"]

    asyncio.run(run())


def in_force(name: str, **entry: Any) -> GoalState:
    """Return a goal that has an extension with what its Secret had."""
    sealed = {"protectedSettings": "sealed", "thumbprint": PINNED.thumbprint, "protectedHash": "content"}
    package = {"urls": ["http://127.0.0.1/x.zip"], "sha256": "ab" * 32, "sizeBytes": 1}
    known = {
        "name": name,
        "uid": f"uid-{name}",
        "state": "enabled",
        "sequenceNumber": 1,
        "settings": "{}",
        "timeoutSeconds": 60,
        "handler": {"name": "VMExt.CustomScript", "version": "2.1.0", "package": package},
    }
    spec = {"vmUID": f"uid-{name}", "modelHash": "h", "lastSequenceNumber": 1, "extensions": [known | sealed | entry]}
    return goal_state.parse(objects.goal_state(name, spec))


READY = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}


def test_after_a_start_what_is_ready_is_not_read_at_once_but_takes_turns() -> None:
    house = House()
    names = [f"vm-{one}" for one in range(100)]
    house.server.secrets |= dict.fromkeys(names, b"{}")

    async def run() -> list[float]:
        found = [await house.look(name, in_force(name), status=READY) for name in names]
        assert {one.ciphertext for one, _ in found[1:] if isinstance(one, Sealed)} == {"sealed"}
        return [again_s for _, again_s in found]

    waits = asyncio.run(run())
    assert house.server.asked == names[:1]
    assert waits[-1] == pytest.approx(99 / 4 + 0.05)


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        ({"uid": "of-one-before"}, READY),
        ({"thumbprint": "CD" * 20}, READY),
        ({}, READY | {"observedGeneration": 0}),
        ({}, READY | {"conditions": [{"type": "Ready", "status": "False"}]}),
        ({}, {"observedGeneration": 1}),
    ],
)
def test_after_a_start_whatever_may_not_be_as_it_is_declared_is_read_at_once(
    entry: dict[str, Any], status: dict[str, Any]
) -> None:
    house = House()
    house.server.secrets |= {"web-1": b"{}", "web-2": b"{}"}

    async def run() -> None:
        await house.look("web-2", in_force("web-2"), status=READY)
        await house.look("web-1", in_force("web-1", **entry), status=status)

    asyncio.run(run())
    assert house.server.asked == ["web-2", "web-1"]


def test_a_read_that_fails_is_made_again_and_those_that_went_well_are_not() -> None:
    house = House()
    house.server.secrets |= {"web-1": b"{}"}
    first, second = extension("web-1"), extension("web-2")

    async def seal() -> None:
        await house.vault.seal(machine("web-1"), [first, second], None, {})

    house.server.failing = {"web-2"}
    for _ in range(3):
        with pytest.raises(TransientClusterError):
            asyncio.run(seal())
    assert house.server.asked == ["web-1", *["web-2"] * 3]


SECRET = Key("default", "web-1")


def test_what_a_watch_tells_of_is_read_at_once_and_only_once() -> None:
    house = House()
    house.server.secrets |= {"web-1": b"{}", "web-2": b"{}"}

    async def run() -> None:
        first, _ = await house.look()
        house.server.secrets["web-1"] = b'{"a": 1}'
        for _ in range(3):
            house.vault.changed(SECRET)
        house.vault.changed(Key("elsewhere", "web-1"))
        second, again_s = await house.look()
        assert second != first
        assert again_s > 59
        assert await house.look() == (second, again_s)
        assert house.server.asked == ["web-1", "web-1"]

    asyncio.run(run())


@pytest.mark.parametrize("there_before", [True, False])
def test_a_change_that_comes_while_the_same_secret_is_read_is_not_lost(there_before: bool) -> None:
    house = House()
    house.server.secrets |= {"web-1": b"{}"} if there_before else {}

    async def run() -> None:
        old, _ = await house.look()

        def change(name: str) -> None:
            # What is read now is what was there before.
            house.server.while_read = lambda _: None
            house.vault.changed(Key("default", name))

        house.vault.changed(SECRET)
        house.server.while_read = change
        during, again_s = await house.look()
        assert (type(during), again_s < 0.1) == (type(old), True)
        house.server.secrets["web-1"] = b'{"a": 1}'
        begun_s = house.now_s
        while len(house.server.asked) < 3:
            house.now_s += again_s
            new, again_s = await house.look()
        assert house.now_s - begun_s < 0.1
        assert isinstance(new, Sealed)
        assert new != during
        assert again_s > 1

    asyncio.run(run())


def test_a_change_that_is_told_of_before_an_extension_is_looked_at_first_is_not_lost() -> None:
    house = House()
    house.server.secrets |= {"web-1": b"{}", "web-2": b"{}"}
    house.vault.changed(SECRET)

    async def run() -> None:
        await house.look("web-2", in_force("web-2"), status=READY)
        await house.look("web-1", in_force("web-1"), status=READY)

    asyncio.run(run())
    assert house.server.asked == ["web-2", "web-1"]


def test_a_secret_of_a_whole_fleet_that_changes_is_no_flood_and_passes_those_that_wait_for_their_turn() -> None:
    house = House()
    names = [f"vm-{one}" for one in range(200)]
    house.server.secrets |= dict.fromkeys(names, b"{}")

    async def run() -> dict[str, list[float]]:
        await house.live(names, 1.0)
        # All are due, and have a turn in up to fifty seconds.
        house.now_s += 1000.0
        for name in names:
            await house.look(name)
        house.server.asked.clear()
        for name in names:
            house.vault.changed(Key("default", name))
        return await house.live(names, 10.0)

    reads = asyncio.run(run())
    assert all(times for times in reads.values())
    assert most_in(reads, 1.0) <= 51 + 5

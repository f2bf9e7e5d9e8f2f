"""Two operators, one Lease: who leads writes, who does not does not, whatever is killed, stopped or taken away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import control_plane
from control_plane import ControlPlane, process
from development import house
from development.api import Api, ApiError, Object
from development.house import extension
from development.operator_process import ROOT, Operator
from support import accounts
from support.waiting import eventually
from vmext_operator.cluster.client import Client
from vmext_operator.cluster.term import Term, boot_clock
from vmext_operator.control.elector import Elector
from vmext_operator.control.leadership import STUCK_S
from vmext_operator.core.election import LEASE_S, RETRY_S
from vmext_operator.errors import LeaseLostError

#: The operator as it is, but that a signal makes its main thread, on which its event loop is, do something else.
INTERRUPTIBLE = """
import ctypes, runpy, signal, time
signal.signal(signal.SIGUSR1, lambda *_: {something})
runpy.run_module("vmext_operator", run_name="__main__", alter_sys=True)
"""
LEASE = "/apis/coordination.k8s.io/v1/namespaces/vmext-system/leases/vmext-operator"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that writes down who asked for what."""
    if os.environ.get(control_plane.choice.VARIABLE):
        pytest.skip("an existing cluster's API server is not stopped, and its audit log not read")
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane.running(folder, control_plane.obtain(print), audit=True) as running:
        house.install(running)
        yield running


@pytest.fixture
def pair(cluster: ControlPlane, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """Two operators, each with an account of its own; the first one leads."""
    made = []
    for _ in range(2):
        name = f"operator-{next(_numbers)}"
        operator = Operator(accounts.kubeconfig(cluster, tmp_path, name), tmp_path / f"{name}.log")
        operator.identity = name
        made.append(operator)
    first, second = made
    first.start()
    eventually(lambda: holder(cluster) == first.identity)
    second.start()
    eventually(lambda: "standing by" in second.log.read_text())
    yield first, second
    for operator in made:
        with contextlib.suppress(AssertionError):
            operator.stop()


def lease(cluster: control_plane.Cluster) -> Object | None:
    api = Api(cluster.kubeconfig)
    with contextlib.closing(api):
        try:
            return api.request("GET", LEASE)
        except ApiError:
            return None


def holder(cluster: control_plane.Cluster) -> str:
    found = lease(cluster)
    return "" if found is None else str(found["spec"].get("holderIdentity") or "")


def declare(api: Api, name: str, text: str) -> None:
    image = {"urls": ["http://127.0.0.1:9/1.zip"], "sha256": "ab" * 32, "sizeBytes": 1}
    for obj in (
        {"kind": "VirtualMachine", "metadata": {"name": name}},
        {
            "kind": "VirtualMachineExtensionImage",
            "metadata": {"name": "test.ha-1.0.0"},
            "spec": {"publisher": "Test", "type": "HA", "version": "1.0.0", "package": image},
        },
        extension(name, name, publisher="Test", type="HA", typeHandlerVersion="1", settings={"text": text}),
    ):
        api.apply({"apiVersion": "vmext.dev/v1alpha1", **obj})


def wait_goal(api: Api, name: str, text: str, timeout_s: float = 30.0) -> None:
    def there(goal: Object | None) -> bool:
        return goal is not None and any(text in one["settings"] for one in goal["spec"]["extensions"])

    api.wait("GoalState", name, there, timeout_s=timeout_s)


@contextlib.contextmanager
def busy(cluster: ControlPlane, namespace: str) -> Iterator[None]:
    """Have something to write for whoever leads, all the time."""
    ended = threading.Event()

    def change() -> None:
        api = Api(cluster.kubeconfig, namespace)
        with contextlib.closing(api):
            for number in itertools.count():
                if ended.is_set():
                    return
                with contextlib.suppress(Exception):
                    declare(api, f"busy-{number % 10}", str(number))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_killed_leader_is_followed_within_fifteen_seconds(
    cluster: ControlPlane, pair: tuple[Operator, Operator], api: Api
) -> None:
    first, second = pair
    declare(api, "web-1", "before")
    wait_goal(api, "web-1", "before")
    first.kill()
    killed = time.monotonic()
    declare(api, "web-1", "after")
    eventually(lambda: holder(cluster) == second.identity)
    taken_s = time.monotonic() - killed
    wait_goal(api, "web-1", "after")
    written_s = time.monotonic() - killed
    print(f"Lease taken {taken_s:.1f} s after a kill, first write {written_s:.1f} s after it")
    assert taken_s <= 15


def test_a_leader_that_is_stopped_is_followed_at_once(
    cluster: ControlPlane, pair: tuple[Operator, Operator], api: Api
) -> None:
    first, second = pair
    first.stop()
    stopped = time.monotonic()
    eventually(lambda: holder(cluster) == second.identity, timeout_s=RETRY_S + 3)
    print(f"Lease taken {time.monotonic() - stopped:.1f} s after the leader had ended")
    declare(api, "web-1", "after")
    wait_goal(api, "web-1", "after")


def test_a_leader_that_crashes_takes_its_own_lease_at_once(
    cluster: ControlPlane, pair: tuple[Operator, Operator], api: Api
) -> None:
    first, _ = pair
    first.kill()
    first.start()
    declare(api, "web-1", "after")
    begun = time.monotonic()
    wait_goal(api, "web-1", "after")
    print(f"first write {time.monotonic() - begun:.1f} s after the start")
    assert holder(cluster) == first.identity


def test_a_leader_that_slept_past_its_lease_writes_nothing_when_it_wakes(
    cluster: ControlPlane, pair: tuple[Operator, Operator], namespace: str
) -> None:
    with busy(cluster, namespace):
        for sleeper, other in (pair, pair[::-1]):
            assert holder(cluster) == sleeper.identity
            eventually(lambda who=sleeper: len(accounts.writes(cluster, who.identity)) > 20)  # type: ignore[misc]
            before = sleeper.pid
            sleeper.suspend()
            eventually(lambda who=other: holder(cluster) == who.identity)  # type: ignore[misc]
            taken = datetime.now(UTC).isoformat()
            so_far = len(accounts.writes(cluster, other.identity))
            eventually(lambda who=other, n=so_far: len(accounts.writes(cluster, who.identity)) > n + 20)  # type: ignore[misc]
            sleeper.resume()
            eventually(lambda who=sleeper, pid=before: who.pid != pid)  # type: ignore[misc]
            assert "is lost: it was not renewed for" in sleeper.log.read_text()
            # Its next life stands by; all that it ever asked to write was before the other one took the Lease.
            eventually(lambda who=sleeper: who.log.read_text().count("standing by") >= 1)  # type: ignore[misc]
            late = [one for one in accounts.writes(cluster, sleeper.identity) if one[0] > taken]
            assert late == []


@pytest.mark.parametrize(
    ("something", "lost"),
    [
        # No other thread gets to run either: the Lease is not renewed.
        ("ctypes.PyDLL(None).sleep(20)", "is lost: it was not renewed for"),
        # The elector's thread renews it, until it has seen that nothing gets done.
        ("time.sleep(600)", "the operator has been stuck for"),
    ],
    ids=["with all of its threads", "while its Lease is renewed"],
)
def test_a_leader_whose_event_loop_is_stuck_is_followed_and_writes_nothing_any_more(
    cluster: ControlPlane, tmp_path: Path, namespace: str, something: str, lost: str
) -> None:
    name, log = f"stuck-{next(_numbers)}", tmp_path / "stuck.log"
    other = Operator(accounts.kubeconfig(cluster, tmp_path, f"{name}-other"), tmp_path / "other.log")
    other.identity = f"{name}-other"
    stuck = process.start(
        [
            *(sys.executable, "-c", INTERRUPTIBLE.format(something=something), "--probe-address=off"),
            *("--identity", name, "--kubeconfig", str(accounts.kubeconfig(cluster, tmp_path, name))),
        ],
        environment={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT / "operator")},
        log=log,
    )
    try:
        eventually(lambda: holder(cluster) == name)
        other.start()
        eventually(lambda: "standing by" in other.log.read_text())
        with busy(cluster, namespace):
            eventually(lambda: len(accounts.writes(cluster, name)) > 20)
            stuck.send_signal(signal.SIGUSR1)
            eventually(lambda: holder(cluster) == other.identity, timeout_s=STUCK_S + 4 * LEASE_S)
            taken = datetime.now(UTC).isoformat()
            eventually(lambda: len(accounts.writes(cluster, other.identity)) > 20)
            eventually(lambda: stuck.poll() is not None, "who is stuck finds its Lease lost and ends", timeout_s=60)
            assert stuck.returncode == 1
            assert lost in log.read_text()
            late = [one for one in accounts.writes(cluster, name) if one[0] > taken]
            assert late == []
    finally:
        stuck.kill()
        stuck.wait()
        other.stop()


def test_an_api_server_that_is_away_for_longer_than_the_lease_finds_one_leader(
    cluster: ControlPlane, pair: tuple[Operator, Operator], api: Api
) -> None:
    first, _ = pair
    before = first.pid
    cluster.stop_api_server()
    eventually(lambda: first.pid != before, "a leader that can't renew its Lease ends")
    cluster.start_api_server()
    declare(api, "web-1", "after")
    wait_goal(api, "web-1", "after")
    assert holder(cluster) in {operator.identity for operator in pair}


def test_a_lease_that_is_deleted_is_the_leaders_again(
    cluster: ControlPlane, pair: tuple[Operator, Operator], api: Api
) -> None:
    first, second = pair
    before = first.pid
    old = lease(cluster)
    assert old is not None
    api.request("DELETE", LEASE)
    eventually(lambda: (lease(cluster) or old)["metadata"]["uid"] != old["metadata"]["uid"])
    assert holder(cluster) == first.identity
    assert first.pid == before
    assert not [what for _, what in accounts.writes(cluster, second.identity) if "leases" in what and "201" in what]


@pytest.mark.parametrize("spec", [{"holderIdentity": "somebody"}, None], ids=["another name", "nothing"])
def test_a_lease_that_a_human_edits_has_one_leader_again(
    cluster: ControlPlane, pair: tuple[Operator, Operator], api: Api, namespace: str, spec: Object | None
) -> None:
    first, second = pair
    before = first.pid
    with busy(cluster, namespace):
        api.request("PATCH", LEASE, {"spec": spec}, "application/merge-patch+json")
        edited = time.monotonic()
        eventually(lambda: first.pid != before, "a leader ends that finds another name in its Lease")
        eventually(lambda: holder(cluster) in (first.identity, second.identity))
        assert time.monotonic() - edited >= LEASE_S - 0.5, "whoever led until then may not know for so long"
    declare(api, "web-1", "after")
    wait_goal(api, "web-1", "after")


def test_clocks_on_the_wall_decide_nothing(cluster: ControlPlane, tmp_path: Path) -> None:
    namespace = "vmext-skewed"
    cluster.kubectl("create", "namespace", namespace)

    async def candidates() -> None:
        async with contextlib.AsyncExitStack() as closing:
            made = []
            for name, days in (("ahead", 300), ("behind", -300)):
                client = await closing.enter_async_context(
                    Client(kubeconfig=str(cluster.kubeconfig), term=None, timeout_s=RETRY_S)
                )

                def now(days: int = days) -> datetime:
                    return datetime.now(UTC) + timedelta(days=days)

                term = Term()
                made.append((Elector(client, namespace, name, term, boot_clock, now, random.Random(1)), term))
            (ahead, its_term), (behind, other_term) = made
            async with asyncio.timeout(60):
                await ahead.acquire()
                keeping = asyncio.create_task(ahead.keep())
                waiting = asyncio.create_task(behind.acquire())
                # For longer than a Lease lasts: it would be taken if a time in it were believed.
                await asyncio.wait([keeping, waiting], timeout=LEASE_S + 2 * RETRY_S)
                assert not waiting.done()
                its_term.check("a write")
                with pytest.raises(LeaseLostError):
                    other_term.check("a write")
                keeping.cancel()
                begun = time.monotonic()
                await waiting
                assert time.monotonic() - begun >= LEASE_S - RETRY_S - 0.5
                other_term.check("a write")

    asyncio.run(candidates())

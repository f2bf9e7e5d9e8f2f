"""A fleet that changes at random while everything between it and the operator fails at random; and the verdict.

In the end every goal state has to be what the pure compile says from scratch, no sequence number may have gone back,
and nothing may have been uninstalled, or orphaned, that nobody deleted.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from control_plane import ControlPlane
from development.api import Api, ApiError, Object, is_ready
from development.house import extension
from development.operator_process import Operator
from support import accounts, proxy, simulated_agents
from support.proxy import Faults
from support.simulated_agents import Agents
from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.core import goal_compile
from vmext_operator.core.declared import Declared

SLOTS = 4
VERSIONS = ("1.0.0", "1.1.0", "2.0.0")
#: Each of these at 5 %, of requests as of what watches bring.
ALL = Faults(code=0.05, dropped=0.05, unanswered=0.05, held=0.05, cut=0.05, gone=0.05)


class Users:
    """People who declare, change and delete at random.

    Args:
        api: the API server, for them alone.
        draw: what they do.
        machines: how many there are.
    """

    def __init__(self, api: Api, draw: random.Random, machines: int) -> None:
        self._api = api
        self._draw = draw
        self._machines = [f"web-{number}" for number in range(machines)]
        #: UIDs of what they deleted.
        self.deleted: set[str] = set()
        self.changes = 0

    def begin(self) -> None:
        """Fill the catalog and declare the machines."""
        for slot in range(SLOTS):
            for version in VERSIONS:
                package = {"urls": ["http://127.0.0.1:9/1.zip"], "sha256": "ab" * 32, "sizeBytes": 1}
                spec = {"publisher": "Test", "type": f"Slot{slot}", "version": version, "package": package}
                self._apply("VirtualMachineExtensionImage", f"test.slot{slot}-{version}", spec)
        for name in self._machines:
            # Its agents give no other sign of life than what they report.
            self._apply("VirtualMachine", name, {"unreachableAfter": "72h"})
            self._declare(name, 0)

    def work(self, ended: threading.Event) -> None:
        """Change one thing after another until it ends, however often the API server is away."""
        while not ended.wait(0.01):
            with contextlib.suppress(ApiError, requests.RequestException):
                self._change()
                self.changes += 1

    def _change(self) -> None:
        vm, slot = self._draw.choice(self._machines), self._draw.randrange(SLOTS)
        if slot == 0 or self._draw.random() > 0.15:
            self._declare(vm, slot)
            return
        found = self._api.get("VirtualMachineExtension", f"{vm}-{slot}")
        if found is not None:
            # Before it is asked for: no answer does not mean that it was not done.
            self.deleted.add(found["metadata"]["uid"])
            uid = {"preconditions": {"uid": found["metadata"]["uid"]}}
            self._api.request("DELETE", self._api.path("VirtualMachineExtension", f"{vm}-{slot}"), uid)

    def _declare(self, vm: str, slot: int) -> None:
        """Declare an extension, of a handler of its own, at random. Each machine's first one is never deleted."""
        more: dict[str, Any] = {"settings": {"n": self._draw.randrange(5)}}
        if self._draw.random() < 0.3:
            more["forceUpdateTag"] = str(self._draw.randrange(5))
        if self._draw.random() < 0.3:
            more["tags"] = {"t": str(self._draw.randrange(5))}
        if slot and self._draw.random() < 0.3:
            more["dependsOn"] = [f"{vm}-0"]
        version = self._draw.choice(("1", "1.0", "2"))
        name = f"{vm}-{slot}"
        self._api.apply(extension(name, vm, publisher="Test", type=f"Slot{slot}", typeHandlerVersion=version, **more))

    def _apply(self, kind: str, name: str, spec: Object) -> None:
        self._api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})


class Turmoil:
    """One fleet, one operator behind a proxy, and what happens to them.

    Args:
        cluster: the control plane, whose parts are stopped.
        folder: for logs.
        api: the API server, in the fleet's namespace.
        draw: everything that is random.
        machines: how many there are.
    """

    def __init__(self, cluster: ControlPlane, folder: Path, api: Api, draw: random.Random, machines: int) -> None:
        self._cluster = cluster
        self._folder = folder
        self._api = api
        self._draw = draw
        self._machines = machines
        self.note = ""

    def live(self, kills: int, *, pause_s: float, settle_s: float) -> list[str]:
        """Let it happen; return what did not hold in the end.

        Args:
            kills: of the operator; every tenth time, and once at least, the API server is restarted and etcd stopped
                for a while as well.
            pause_s: between two of them, at most.
            settle_s: how long it may take until everything is as it should be once nothing fails any more.
        """
        with contextlib.ExitStack() as closing:
            users_api = closing.enter_context(_another(self._api, self._cluster))
            agents_api = closing.enter_context(_another(self._api, self._cluster))
            between = closing.enter_context(
                proxy.running(self._cluster.server, self._cluster.ca_file, random.Random(self._draw.random()))
            )
            account = f"turmoil-{self._api.namespace}"
            kubeconfig = accounts.kubeconfig(self._cluster, self._folder, account, server=between.url)
            operator = Operator(kubeconfig, self._folder / "operator.log", "--resync-seconds=10")
            users = Users(users_api, random.Random(self._draw.random()), self._machines)
            users.begin()
            operator.start()
            closing.callback(operator.stop)
            agents = closing.enter_context(simulated_agents.running(agents_api))
            between.faults = ALL
            with _at_work(users):
                for number in range(kills):
                    self._interrupt(operator, number % 10 == 0)
                    time.sleep(self._draw.uniform(0.2, 1.0) * pause_s)
            spoilt = ", ".join(f"{number} {what}" for what, number in sorted(between.counts.items()))
            between.faults = proxy.NONE
            begun = time.monotonic()
            wrong = self._settled(users, agents, begun + settle_s)
            self.note = (
                f"{self._machines} machines, {kills} kills, {users.changes} changes, "
                f"settled in {time.monotonic() - begun:.0f} s, requests: {spoilt}"
            )
            return wrong

    def _interrupt(self, operator: Operator, everything: bool) -> None:
        operator.kill()
        operator.start()
        if everything:
            with self._cluster.suspended("etcd"):
                time.sleep(self._draw.uniform(0.5, 3.0))
            self._cluster.stop_api_server()
            self._cluster.start_api_server()

    def _settled(self, users: Users, agents: Agents, deadline: float) -> list[str]:
        """Return what is wrong still when everything should have settled, and what was wrong at any time."""
        while (wrong := self._differences()) and time.monotonic() < deadline:
            time.sleep(0.3)
        wrong += agents.complaints
        taken = agents.took_away - users.deleted
        if taken:
            wrong.append(f"taken away from machines though nobody deleted them: {sorted(taken)}")
        return wrong

    def _differences(self) -> list[str]:
        """Return how things differ from what the pure compile says from scratch."""
        listed = {kind: self._list(kind) for kind in ("VirtualMachine", "VirtualMachineExtension", "GoalState")}
        catalog: dict[str, list[extension_image.ExtensionImage]] = {}
        for obj in self._list("VirtualMachineExtensionImage"):
            image = extension_image.parse(obj)
            catalog.setdefault(image.handler_key, []).append(image)
        goals = {obj["spec"]["vmName"]: goal_state.parse(obj) for obj in listed["GoalState"]}
        declared = [virtual_machine_extension.parse(obj) for obj in listed["VirtualMachineExtension"]]
        wrong = [f"{one.meta.key.name} is not gone yet" for one in declared if one.meta.deleted is not None]
        for obj in listed["VirtualMachine"]:
            machine = virtual_machine.parse(obj)
            found = goals.get(machine.meta.key.name)
            if found is None:
                wrong.append(f"{machine.meta.key.name} has no goal state")
                continue
            own = [one for one in declared if one.vm_key == machine.meta.key]
            given = Declared(machine, own, catalog, None, None, frozenset(), machine.meta.created)
            scratch = goal_compile.compile_goal(given).goal
            if [_shape(one) for one in scratch.extensions] != [_shape(one) for one in found.goal.extensions]:
                wrong.append(f"{machine.meta.key.name}: {found.goal.extensions} instead of {scratch.extensions}")
        entries = {entry.uid: entry for goal in goals.values() for entry in goal.goal.extensions}
        for obj in listed["VirtualMachineExtension"]:
            uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
            number = entries[uid].sequence_number if uid in entries else None
            if number is not None and (not is_ready(obj) or obj["status"].get("sequenceNumber") != number):
                wrong.append(f"{name} is not ready with {number}: {obj.get('status')}")
        return wrong

    def _list(self, kind: str) -> list[Object]:
        found: list[Object] = self._api.request("GET", self._api.path(kind))["items"]
        return found


def _shape(entry: goal_state.Entry) -> Object:
    """Return an entry without what depends on what was before."""
    rendered = dict(entry.render())
    del rendered["sequenceNumber"]
    return rendered


@contextlib.contextmanager
def _another(api: Api, cluster: ControlPlane) -> Iterator[Api]:
    made = Api(cluster.kubeconfig, api.namespace)
    with contextlib.closing(made):
        yield made


@contextlib.contextmanager
def _at_work(users: Users) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=users.work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

"""The suite in which a whole fleet reconnects at once, and the operator goes on to lead."""

from __future__ import annotations

import asyncio
import contextlib

from development import credentials
from development.operator_process import Operator
from soak import own_cluster
from soak.suite import Failure
from support import reconnecting
from support.waiting import eventually

LEASE = "/apis/coordination.k8s.io/v1/namespaces/vmext-system/leases/vmext-operator"


class Reconnects:
    """A run is an agent: all of a chunk come at once, three times."""

    name, full, chunk = "operator.reconnect", 5000, 5000

    def __init__(self) -> None:
        self.note = ""

    def run(self, seed: int, count: int) -> list[Failure]:
        """Have so many agents reconnect; return what came of it that should not."""
        with contextlib.ExitStack() as closing:
            cluster, folder, api = closing.enter_context(own_cluster.running())
            operator = Operator(credentials.of_operator(cluster, folder), folder / "operator.log")
            operator.start()
            closing.callback(operator.stop)
            eventually(lambda: "everything listed" in operator.log.read_text())
            machines = reconnecting.machines(api, 50)
            before, pid = api.request("GET", LEASE)["spec"]["acquireTime"], operator.pid
            took = asyncio.run(reconnecting.storm(cluster, "default", machines, count, times=3))
            self.note = f"{count} agents, seconds: {', '.join(f'{seconds:.1f}' for seconds in took)}"
            if (api.request("GET", LEASE)["spec"]["acquireTime"], operator.pid) == (before, pid):
                return []
        again = f'make soak ARGS="--only {self.name} --seed {seed} --count {count} --output build/again.json"'
        return [Failure(seed, "the leader changed while the fleet reconnected", again)]

"""The suite that kills the operator at random, and spoils what it says and hears, while a fleet changes."""

from __future__ import annotations

import random

from soak import own_cluster
from soak.suite import Failure
from soak.turmoil import Turmoil

MACHINES = 200


class OperatorFaults:
    """A run is a kill; each chunk is a fleet of its own on a control plane of its own."""

    name, full, chunk = "operator.faults", 100, 25

    def __init__(self) -> None:
        self.note = ""

    def run(self, seed: int, count: int) -> list[Failure]:
        """Kill it so many times; return what did not hold in the end."""
        with own_cluster.running() as (cluster, folder, api):
            turmoil = Turmoil(cluster, folder, api, random.Random(seed), MACHINES)
            wrong = turmoil.live(count, pause_s=10.0, settle_s=300.0)
            self.note = turmoil.note
        again = f'make soak ARGS="--only {self.name} --seed {seed} --count {count} --output build/again.json"'
        return [Failure(seed, one[:1500], again) for one in wrong[:5]]

"""The suites that kill a real agent, or cut the power of its machine, at every moment of a handler's life."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import control_plane
from development import house
from development.api import Api
from guests import agent_machine, interrupted_life
from guests.agent_machine import Machine
from guests.interrupted_life import Killer, PowerCutter
from soak.suite import Failure, Suite

#: A life comes to fewer records than this: every one of them is a run of the suite.
RECORDS = 110
_MOST_FAILURES = 3
_numbers = itertools.count(1)

#: One life of a handler with interruptions; the number says which life it is.
Life = Callable[[Machine, str, Killer, random.Random, int], None]


def suites() -> list[Suite]:
    """Return the suites; a run of one is an interruption, of ``crash.record`` a life that is interrupted there."""
    return [
        Interruptions("crash.random", 300, 50, _at_random, Killer),
        Interruptions("crash.record", RECORDS, 11, _at_record, Killer, every_life=True),
        Interruptions("power", 60, 15, _without_power, PowerCutter, ext4=True, small=False),
    ]


def _at_random(machine: Machine, handler: str, killer: Killer, draw: random.Random, number: int) -> None:
    interrupted_life.live_at_random(machine, handler, killer, draw)


def _at_record(machine: Machine, handler: str, killer: Killer, draw: random.Random, number: int) -> None:
    came = interrupted_life.live_to_record(machine, handler, killer, 1 + number % RECORDS)
    if came and number % RECORDS == RECORDS - 1:
        raise AssertionError(f"a life comes to {RECORDS} records or more: raise RECORDS")


def _without_power(machine: Machine, handler: str, killer: Killer, draw: random.Random, number: int) -> None:
    interrupted_life.live_without_power(machine, handler, killer, draw)


class Interruptions:
    """Lives on real machines.

    Args:
        name: of the suite.
        full: interruptions, or lives, that make it complete.
        chunk: of them.
        life: one life.
        killer: what interrupts it.
        every_life: lives are counted, not interruptions.
        options: of the machine.
    """

    def __init__(
        self,
        name: str,
        full: int,
        chunk: int,
        life: Life,
        killer: Callable[[Machine], Killer],
        *,
        every_life: bool = False,
        **options: Any,
    ) -> None:
        self.name = name
        self.full = full
        self.chunk = chunk
        self.note = ""
        self._lives = self._kills = 0
        self._life = life
        self._killer = killer
        self._every_life = every_life
        self._options = options

    def run(self, seed: int, count: int) -> list[Failure]:
        """Live until there were so many interruptions; return what did not hold."""
        self._lives = self._kills = 0
        draw, found = random.Random(seed), list[Failure]()
        with _control_plane() as cluster:
            while self._done < count and len(found) < _MOST_FAILURES:
                # One on which something went wrong is no place for another life.
                with _machine(cluster, self._options) as machine:
                    found += self._live(machine, seed, count, draw)
        self.note = f"{self._lives} lives, {self._kills} interruptions in the last chunk"
        return found

    @property
    def _done(self) -> int:
        return self._lives if self._every_life else self._kills

    def _live(self, machine: Machine, seed: int, count: int, draw: random.Random) -> list[Failure]:
        """Live on a machine until it is enough, or something did not hold."""
        killer = self._killer(machine)
        while self._done < count:
            before = killer.kills
            try:
                self._life(machine, f"Test.L{self._lives}", killer, draw, seed + self._lives)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
                return [self._failure(seed, count, error)]
            finally:
                self._lives += 1
                self._kills += killer.kills - before
        return []

    def _failure(self, seed: int, count: int, error: Exception) -> Failure:
        options = f"--only {self.name} --seed {seed} --count {count} --output build/again.json"
        # An assertion without words is known by its place.
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{error!r:.1500} at {Path(last.filename).name}:{last.lineno}: {last.line}"
        return Failure(seed, what, f'make soak ARGS="{options}"')


@contextlib.contextmanager
def _control_plane() -> Iterator[control_plane.Cluster]:
    """Give a control plane with our kinds in it until the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="vmext-soak-") as folder,
        control_plane.available(Path(folder), lambda _: None) as cluster,
    ):
        house.install(cluster)
        yield cluster


@contextlib.contextmanager
def _machine(cluster: control_plane.Cluster, options: dict[str, Any]) -> Iterator[Machine]:
    """Give a machine with an agent until the block ends, in a namespace of its own."""
    namespace = f"soak-{os.getpid()}-{next(_numbers)}"
    cluster.kubectl("create", "namespace", namespace)
    api = Api(cluster.kubeconfig, namespace)
    with (
        contextlib.closing(api),
        tempfile.TemporaryDirectory(prefix="vmext-soak-") as folder,
        agent_machine.running(cluster, api, Path(folder), agent={"killAfterSeconds": 1}, **options) as machine,
    ):
        yield machine

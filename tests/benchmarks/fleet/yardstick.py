"""A piece of work that is always the same, done once a second: by what it costs, two parts of a run are compared.

On a machine that others use too, the same instructions take more CPU time in one minute than in another. What a process
used in one part is put over what the yardstick used meanwhile. The piece is of the operator's kind: JSON and dicts.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fleet.declared import EACH, Machine
from control_plane import process

_EVERY_S = 1.0
#: So many times it goes through a machine's extensions: some 10 ms.
_ROUNDS = 400


class Yardstick:
    """What pieces cost: the CPU seconds of each are a line of a log."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def piece_ms(self) -> float:
        """Return what a piece has cost on average, in milliseconds of CPU time."""
        # The last line may be on its way.
        *lines, _ = self._log.read_text().split("\n")
        return statistics.mean(map(float, lines)) * 1000


@contextlib.contextmanager
def laid(log: Path) -> Iterator[Yardstick]:
    """Have the work done by a process of its own until the block ends."""
    command = [sys.executable, "-m", "benchmarks.fleet.yardstick"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = process.start(command, log=log, environment=environment)
    try:
        yield Yardstick(log)
    finally:
        process.stop(started)


def _piece(text: str) -> None:
    for _ in range(_ROUNDS):
        found = {obj["metadata"]["name"]: obj for obj in json.loads(text)}
        changed = [obj | {"metadata": {**obj["metadata"], "namespace": name}} for name, obj in sorted(found.items())]
        json.dumps(changed)


def main() -> None:
    """Do a piece every second, for ever."""
    machine = Machine("yardstick", "yardstick")
    text = json.dumps([machine.extension(number) for number in range(1, EACH + 1)])
    while True:
        began = time.process_time()
        _piece(text)
        print(f"{time.process_time() - began:.9f}", flush=True)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main()

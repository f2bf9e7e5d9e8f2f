"""How long it takes from applying an extension to Ready=True, and how many API writes that costs."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable

from benchmarks.figure import Figure
from development import house

COUNT = 50
COUNTED = 20
#: The machine's counts are written up to a second after the extension is ready.
SETTLED_S = 1.5
_WRITES = re.compile(
    r'^apiserver_request_total\{[^}]*group="vmext\.dev"[^}]*verb="(?:POST|PUT|PATCH|APPLY|DELETE)"[^}]*\} (\S+)$',
    re.MULTILINE,
)


def measure(running: house.House, report: Callable[[str], None]) -> list[Figure]:
    """Create and delete a trivial extension many times on one machine."""
    api = running.api
    _once(running, 0)  # the package server, the caches and the machine's first report are not what is measured
    report(f"creating a trivial extension {COUNT} times")
    seconds = [_once(running, number) for number in range(1, COUNT + 1)]

    report(f"counting the API writes of {COUNTED} more")
    writes = 0.0
    for number in range(COUNTED):
        time.sleep(SETTLED_S)
        before = _count(running)
        api.apply(house.extension("trivial", "bench-1", settings={"commandToExecute": f"exit 0 # {number}"}))
        api.wait_ready("trivial")
        time.sleep(SETTLED_S)
        writes += _count(running) - before
        _delete(running)
    cuts = statistics.quantiles(seconds, n=20)
    return [
        Figure("apply_to_ready_p50_s", statistics.median(seconds), f"from apply to Ready=True, n={COUNT}", 0.5),
        Figure("apply_to_ready_p95_s", cuts[18], "the same, 95th percentile"),
        Figure("api_writes_per_extension", writes / COUNTED, "by the API server's own metrics, the user's included", 6),
    ]


def _once(running: house.House, number: int) -> float:
    began = time.perf_counter()
    command = {"commandToExecute": f"exit 0 # {number}"}
    running.api.apply(house.extension("trivial", "bench-1", settings=command))
    running.api.wait_ready("trivial")
    seconds = time.perf_counter() - began
    _delete(running)
    return seconds


def _delete(running: house.House) -> None:
    running.api.delete("VirtualMachineExtension", "trivial")
    running.api.wait_gone("VirtualMachineExtension", "trivial")


def _count(running: house.House) -> float:
    """Return how many writes to our kinds the API server has answered."""
    metrics = running.cluster.kubectl("get", "--raw", "/metrics")
    return sum(float(value) for value in _WRITES.findall(metrics))

"""How many requests the API server has answered, and what is watched, by its own metrics."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from benchmarks.fleet.wire import Pool
from vmext_operator.api import GROUP

_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
_ANSWERED, _UNDER_WAY = (
    re.compile(rf"^{name}\{{([^}}]*)\}} (\S+)$", re.MULTILINE)
    for name in ("apiserver_request_total", "apiserver_longrunning_requests")
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Asked(NamedTuple):
    """What was asked for."""

    group: str
    resource: str
    verb: str

    @property
    def is_write(self) -> bool:
        """Tell whether it changes anything."""
        return self.verb in _WRITES

    @property
    def is_ours(self) -> bool:
        """Tell whether it is one of our kinds."""
        return self.group == GROUP


#: How often. The resource is with its subresource, such as ``goalstates/status``.
Counts = Counter[Asked]


async def requests(pool: Pool) -> Counts:
    """Return how many requests have been answered since the API server began."""
    counts: Counts = Counter()
    for label, value in await _metric(pool, _ANSWERED):
        resource = "/".join(part for part in (label["resource"], label["subresource"]) if part)
        counts[Asked(label["group"], resource, label["verb"])] += int(value)
    return counts


async def watched(pool: Pool) -> set[str]:
    """Return which of our kinds somebody watches in all namespaces."""
    return {
        label["resource"]
        for label, value in await _metric(pool, _UNDER_WAY)
        if (label["group"], label["scope"], label["verb"]) == (GROUP, "cluster", "WATCH") and value
    }


async def _metric(pool: Pool, line: re.Pattern[str]) -> list[tuple[dict[str, str], float]]:
    text = (await pool.request("GET", "/metrics")).decode()
    return [(dict(_LABEL.findall(labels)), float(value)) for labels, value in line.findall(text)]


def writes(counts: Counts) -> int:
    """Return the number of writes."""
    return sum(number for asked, number in counts.items() if asked.is_write)

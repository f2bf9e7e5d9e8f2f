"""How many requests the API server has answered, and what is watched, by its own metrics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

from benchmarks.fleet.wire import Pool
from vmext_operator.api import GROUP

_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
_ANSWERED, _UNDER_WAY = "apiserver_request_total", "apiserver_longrunning_requests"
_LINE = re.compile(r"^(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
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
    async for label, value in _metric(pool, _ANSWERED):
        resource = "/".join(part for part in (label["resource"], label["subresource"]) if part)
        counts[Asked(label["group"], resource, label["verb"])] += int(value)
    return counts


async def watched(pool: Pool) -> set[str]:
    """Return which of our kinds somebody watches in all namespaces."""
    found = set()
    async for label, value in _metric(pool, _UNDER_WAY):
        if (label["group"], label["scope"], label["verb"]) == (GROUP, "cluster", "WATCH") and value:
            found.add(label["resource"])
    return found


async def _metric(pool: Pool, wanted: str) -> AsyncIterator[tuple[dict[str, str], float]]:
    text = (await pool.request("GET", "/metrics")).decode()
    for name, labels, value in _LINE.findall(text):
        if name == wanted:
            yield dict(_LABEL.findall(labels)), float(value)


def writes(counts: Counts) -> int:
    """Return the number of writes."""
    return sum(number for asked, number in counts.items() if asked.is_write)

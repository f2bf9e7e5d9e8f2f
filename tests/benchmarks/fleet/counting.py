"""How many requests the API server has answered, by its own metrics."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from benchmarks.fleet.wire import Pool
from vmext_operator.api import GROUP

_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
_LINE = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
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
    text = (await pool.request("GET", "/metrics")).decode()
    counts: Counts = Counter()
    for labels, value in _LINE.findall(text):
        label = dict(_LABEL.findall(labels))
        resource = "/".join(part for part in (label["resource"], label["subresource"]) if part)
        counts[Asked(label["group"], resource, label["verb"])] += int(float(value))
    return counts


def writes(counts: Counts) -> int:
    """Return the number of writes."""
    return sum(number for asked, number in counts.items() if asked.is_write)

"""The machine's Lease: renewed as often as the goal state says, so that the operator knows that an agent is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmext_agent import clock, cluster
from vmext_agent.backoff import Backoff

if TYPE_CHECKING:
    import random

    from vmext_agent.cluster import Cluster
    from vmext_agent.log import Log

_FIRST_S, _LIMIT_S = 1.0, 30.0
#: A fleet that comes back at one moment does not beat in step.
_FIRST_WITHIN_S = 5.0
_JITTER = 0.1


class Lease:
    """When to renew; one thread uses it.

    Args:
        client: that thread's connection.
        holder: who renews it: this machine, in this boot.
        draw: randomness of jitter and back-off.
    """

    def __init__(self, client: Cluster, holder: str, draw: random.Random, log: Log) -> None:
        self._client = client
        self._holder = holder
        self._draw = draw
        self._log = log
        self._every_s = 0
        self._due: float | None = None
        self._backoff = Backoff(_FIRST_S, _LIMIT_S, draw)

    def set_interval(self, seconds: int) -> None:
        """Renew that often from now on, soon for the first time; 0 for never."""
        if seconds != self._every_s:
            self._every_s = seconds
            first_s = self._draw.uniform(0.0, min(_FIRST_WITHIN_S, seconds * _JITTER))
            self._due = time.monotonic() + first_s if seconds else None

    def wait_s(self) -> float | None:
        """Return how long until it is to be renewed; None for never."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def renew(self) -> None:
        """Renew it; tried again by itself where that fails."""
        try:
            self._client.renew_lease(self._holder, self._every_s, clock.log_time(time.time()))
        except cluster.ClusterError as error:
            self._due = time.monotonic() + max(self._backoff.next(), error.retry_after_s)
            if self._backoff.tries == 1:
                self._log.warning("The machine's Lease can't be renewed; trying again", error=error)
            return
        self._backoff.reset()
        self._due = time.monotonic() + self._every_s * self._draw.uniform(1.0 - _JITTER, 1.0 + _JITTER)

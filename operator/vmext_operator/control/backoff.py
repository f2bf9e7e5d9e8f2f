"""Wait between attempts: with a draw, so that many do not come at once, and twice as long each time."""

from __future__ import annotations

import asyncio
import random

_FIRST_S, _LAST_S = 0.1, 5.0


class Backoff:
    """The waits of one who tries again and again.

    Args:
        random_source: of the draws.
        last_s: the longest wait.
    """

    def __init__(self, random_source: random.Random, last_s: float = _LAST_S) -> None:
        self._random = random_source
        self._last_s = last_s
        #: How long the next wait is at most; at least it is half of that.
        self.at_most_s = _FIRST_S

    def reset(self) -> None:
        """Take note that an attempt went well."""
        self.at_most_s = _FIRST_S

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self.at_most_s * self._random.uniform(0.5, 1.0))
        self.at_most_s = min(self._last_s, self.at_most_s * 2)

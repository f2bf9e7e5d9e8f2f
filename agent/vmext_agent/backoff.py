"""How long to wait before trying again: doubling, with full jitter, so that a fleet does not come back in step."""

from __future__ import annotations

import random


class Backoff:
    """Waits in seconds: the first below `first_s`, none above `limit_s`."""

    __slots__ = ("_draw", "_first_s", "_limit_s", "tries")

    def __init__(self, first_s: float, limit_s: float, draw: random.Random) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self._draw = draw
        self.tries = 0

    def next(self) -> float:
        """Return how long to wait this time."""
        bound = min(self._limit_s, self._first_s * 2 ** min(self.tries, 30))
        self.tries += 1
        return self._draw.uniform(bound / 2 if self.tries == 1 else 0.0, bound)

    def reset(self) -> None:
        """Begin from the first wait again: it worked."""
        self.tries = 0

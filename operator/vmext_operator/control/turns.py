"""When what is looked at again and again has its turn: as often as it should be, and all of it never above a rate.

With few to look at each has its turn after the time that was asked for; with many that time grows with their number.
"""

from __future__ import annotations


class Turns:
    """The turns of one sort of looks.

    Args:
        every_s: from one look at something to the next, while they are few.
        apart_s: at least so much is between two turns, whosever they are.
    """

    def __init__(self, every_s: float, apart_s: float) -> None:
        self._every_s = every_s
        self._apart_s = apart_s
        self._last = float("-inf")
        #: How many take turns.
        self.number = 0

    @property
    def interval_s(self) -> float:
        """Return how long it is from one look at something to the next, as many as there are now."""
        return max(self._every_s, self.number * self._apart_s)

    def take(self, now: float) -> float:
        """Return when the next turn is: now, or behind those that were taken before."""
        self._last = max(now, self._last + self._apart_s)
        return self._last

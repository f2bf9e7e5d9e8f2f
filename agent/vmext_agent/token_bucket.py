"""How often something may be done: a burst, then once in so many seconds. The clock is the caller's."""

from __future__ import annotations


class TokenBucket:
    """Tokens, of which each act takes one; it is full at the start. Times are seconds of one monotonic clock.

    Args:
        burst: how many tokens there are at most.
        every_s: how long it takes until another one is there.
        now: the time.
    """

    __slots__ = ("_burst", "_every_s", "_level", "_since")

    def __init__(self, burst: int, every_s: float, now: float) -> None:
        self._burst = float(burst)
        self._every_s = every_s
        self._level = self._burst
        self._since = now

    def fill(self, now: float) -> None:
        """Have all tokens there."""
        self._level, self._since = self._burst, now

    def take(self, now: float) -> None:
        """Take one, also one that is not there yet: the next is the later for it."""
        self._level = self._at(now) - 1.0
        self._since = now

    def wait_s(self, now: float) -> float:
        """Return how long until a token is there, 0 where one is."""
        return max(0.0, (1.0 - self._at(now)) * self._every_s)

    def _at(self, now: float) -> float:
        return min(self._burst, self._level + max(0.0, now - self._since) / self._every_s)

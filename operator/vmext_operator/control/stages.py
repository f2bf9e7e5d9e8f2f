"""For how long each extension has stood where it stands: what is short-lived is not worth a write."""

from __future__ import annotations

from collections.abc import Callable


class Stages:
    """Since when each key has been at its stage.

    It is kept in memory alone: an operator that starts again is patient once more, and nothing else is lost.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[str, tuple[str, float]] = {}

    def age(self, key: str, stage: str) -> float:
        """Return for how many seconds that key has been at that stage."""
        known = self._since.get(key)
        if known is None or known[0] != stage:
            known = (stage, self._clock())
            self._since[key] = known
        return self._clock() - known[1]

    def forget(self, key: str) -> None:
        """Forget a key that is gone."""
        self._since.pop(key, None)

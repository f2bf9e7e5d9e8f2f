"""Tell a watch that hangs from one with nothing to tell: by what a list had that the watch never brought.

A connection can die without a word: the watch on it stands for ever and tells nothing. The lists mend the store every
few minutes, and would hide it.
"""

from __future__ import annotations

from collections.abc import Callable

from vmext_operator.errors import WatchHangsError


class Watches:
    """When each kind's watch last told something, and since when it owes something.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: By kind.
        self._told: dict[str, float] = {}
        self._owes: dict[str, float] = {}

    def told(self, plural: str) -> None:
        """Take note of an event."""
        self._told[plural] = self._clock()

    def listed(self, plural: str, begun: float, news: int) -> None:
        """Take note of a list that was begun at a time, and had so many objects as the watch had not brought."""
        if news and self._told.get(plural, float("-inf")) < begun:
            self._owes.setdefault(plural, begun)

    def owing(self) -> bool:
        """Tell whether a watch has something to bring that a list had first."""
        return any(self._told.get(plural, float("-inf")) < since for plural, since in self._owes.items())

    def check(self, patience_s: float) -> None:
        """Forget what was brought after all. Raises WatchHangsError where a watch owes something for that long."""
        for plural, since in list(self._owes.items()):
            if self._told.get(plural, float("-inf")) >= since:
                del self._owes[plural]
            elif self._clock() - since >= patience_s:
                age_s = self._clock() - since
                raise WatchHangsError(
                    f"the watch of {plural} hangs: a list had changes that it has not told for {age_s:.0f} s"
                )

"""Tell a watch that hangs from one with nothing to tell: by what a list had that the watch never brought.

A connection can die without a word: the watch on it stands for ever and tells nothing. The lists mend the store every
few minutes, and would hide it.
"""

from __future__ import annotations

from collections.abc import Callable

from vmext_operator.control.namespaces import Collection
from vmext_operator.errors import WatchHangsError


class Watches:
    """When each collection's watch last told something, and since when it owes something.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[Collection, float] = {}
        self._owes: dict[Collection, float] = {}

    def told(self, collection: Collection) -> None:
        """Take note of an event."""
        self._told[collection] = self._clock()

    def listed(self, collection: Collection, begun: float, news: int) -> None:
        """Take note of a list that was begun at a time, and had so many objects as the watch had not brought."""
        if news and self._told.get(collection, float("-inf")) < begun:
            self._owes.setdefault(collection, begun)

    def left(self, namespace: str) -> None:
        """Take note that a namespace is not watched any more: nothing is owed there."""
        self._owes = {one: since for one, since in self._owes.items() if one.namespace != namespace}

    def owing(self) -> bool:
        """Tell whether a watch has something to bring that a list had first."""
        return any(self._told.get(one, float("-inf")) < since for one, since in self._owes.items())

    def check(self, patience_s: float) -> None:
        """Forget what was brought after all. Raises WatchHangsError where a watch owes something for that long."""
        for collection, since in list(self._owes.items()):
            if self._told.get(collection, float("-inf")) >= since:
                del self._owes[collection]
            elif self._clock() - since >= patience_s:
                age_s = self._clock() - since
                raise WatchHangsError(
                    f"the watch of {collection} hangs: a list had changes that it has not told for {age_s:.0f} s"
                )

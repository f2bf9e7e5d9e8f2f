"""For how long each object of a machine has stood where it stands: what is short-lived is not worth a write."""

from __future__ import annotations

from collections.abc import Callable, Set

from vmext_operator.api.meta import Key


class Stages:
    """Since when each object has been at its stage, by machine and UID.

    It is kept in memory alone: an operator that starts again is patient once more, and nothing else is lost.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[Key, dict[str, tuple[str, float]]] = {}

    def age(self, machine: Key, uid: str, stage: str) -> float:
        """Return for how many seconds that object has been at that stage."""
        of_machine = self._since.setdefault(machine, {})
        known = of_machine.get(uid)
        if known is None or known[0] != stage:
            known = of_machine[uid] = (stage, self._clock())
        return self._clock() - known[1]

    def keep(self, machine: Key, uids: Set[str]) -> None:
        """Forget all objects of a machine but those: the others are gone."""
        kept = {uid: since for uid, since in self._since.pop(machine, {}).items() if uid in uids}
        if kept:
            self._since[machine] = kept

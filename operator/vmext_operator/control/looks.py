"""When each machine's anchor is looked at: at once for a reason, else now and then, and never a whole fleet at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.core.identity import share

#: How often without a reason: 10,000 machines are then 2.8 requests a second.
EVERY_S = 3600.0
#: Every so many looks, all else that the machine was given is looked after too: 1.4 requests a second more.
_THOROUGH_EVERY = 8
#: So long after a start the first looks without a reason begin: there is more urgent work before.
SETTLED_AFTER_S = 300.0
#: Whatever a machine proposes, it is looked at no more often than this.
_AGAIN_AFTER_S = 5.0


class _Look(NamedTuple):
    at: float
    number: int


class Looks:
    """The looks at a fleet's anchors.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = clock()
        #: By machine's UID.
        self._last: dict[str, _Look] = {}
        self._asked: set[str] = set()

    def due_in_s(self, machine: VirtualMachine, *, has_other_anchor: bool) -> float:
        """Return in how many seconds a machine's anchor is to be looked at without need, 0 or less for now.

        Args:
            machine: whose anchor it is.
            has_other_anchor: the machine says that it was enrolled for another one.
        """
        now, uid = self._clock(), machine.meta.uid
        last = self._last.get(uid)
        if uid in self._asked:
            return 0.0
        if has_other_anchor:
            return 0.0 if last is None else last.at + _AGAIN_AFTER_S - now
        if last is not None:
            return last.at + EVERY_S - now
        # After a start everything is as it was: there is no need to look at a whole fleet at once.
        return self._begun + SETTLED_AFTER_S + EVERY_S * share(uid) - now

    def is_thorough(self, machine: VirtualMachine) -> bool:
        """Tell whether the look that is due is one after all that the machine was given."""
        return self._number(machine) % _THOROUGH_EVERY == 0

    def ask(self, machine: VirtualMachine) -> None:
        """Have a machine's anchor looked at at once: there is reason to believe that it is another one."""
        self._asked.add(machine.meta.uid)

    def took(self, machine: VirtualMachine) -> None:
        """Take note of a look that went well."""
        self._asked.discard(machine.meta.uid)
        self._last[machine.meta.uid] = _Look(self._clock(), self._number(machine))

    def _number(self, machine: VirtualMachine) -> int:
        last = self._last.get(machine.meta.uid)
        if last is not None:
            return last.number + 1
        # Of another share than its turn: else the thorough looks of a whole fleet come one after another.
        return int(_THOROUGH_EVERY * share(f"{machine.meta.uid} thorough"))

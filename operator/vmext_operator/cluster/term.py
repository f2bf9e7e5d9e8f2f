"""For how long this process may write: the choke point of every write asks here, just before it sends.

The clock is one that goes on while the machine sleeps and that nobody sets (CLOCK_BOOTTIME): a process that was
stopped, or whose machine was suspended, finds its term over at its first look.

What is excluded: a write that begins more than ``RENEW_DEADLINE_S`` after the last renewal was sent, and one that the
client or the API server still works on when the Lease ends (both are told the time that is left). What can't be: a
process that is stopped between its look at the clock and the next instruction but a few, which hands bytes to the
kernel; bytes that lie in the network past the Lease's end; a hypervisor that stops a machine together with all its
clocks. Those writes meet what guards each of them by itself: the resourceVersion that a goal state was compiled from,
and the UID that a status is written for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vmext_operator.core.election import LEASE_S, RENEW_DEADLINE_S
from vmext_operator.errors import LeaseLostError


def boot_clock() -> float:
    """Return seconds since the machine started, those in which it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Term:
    """The time for which this process leads. Its renewal and its use may be on different threads.

    Args:
        clock: seconds that also pass while the machine sleeps.
    """

    def __init__(self, clock: Callable[[], float] = boot_clock) -> None:
        self._clock = clock
        self._renewed: float | None = None

    def renew(self, asked: float) -> None:
        """Go on from the time at which the renewal was asked for: it took effect no earlier."""
        self._renewed = asked

    def end(self) -> None:
        """Let nothing more be written."""
        self._renewed = None

    def check(self, what: str) -> float:
        """Return for how many seconds a write that begins now may last. Raises LeaseLostError."""
        renewed = self._renewed
        if renewed is None:
            raise LeaseLostError(f"{what} is not sent: this operator does not lead")
        age = self._clock() - renewed
        if age >= RENEW_DEADLINE_S:
            raise LeaseLostError(f"{what} is not sent: the Lease was renewed {age:.1f} s ago")
        return LEASE_S - age

"""Wakes a thread that waits: a pipe and a poll, whose time goes by a clock that nobody sets.

The waits of ``threading`` go by the machine's wall clock before Python 3.11, and with older C libraries after it: set
back by an hour, a wait of a second lasts for an hour and a second.
"""

from __future__ import annotations

import os
import select

#: What a pipe holds.
_PIPE_BYTES = 1 << 16


class Wakeup:
    """One thread waits, any may wake it; ``descriptor`` is readable while it is to wake up."""

    __slots__ = ("_end", "descriptor")

    def __init__(self) -> None:
        self.descriptor, self._end = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._end, False)

    def set(self) -> None:
        """Wake the thread, or keep it from its next wait."""
        try:
            os.write(self._end, b"!")
        except BlockingIOError:
            # It is to wake up already.
            return

    def clear(self) -> bool:
        """Take note of that; return whether it was to wake up."""
        try:
            return bool(os.read(self.descriptor, _PIPE_BYTES))
        except BlockingIOError:
            return False

    def wait(self, seconds: float | None) -> None:
        """Wait to be woken, for so long at most; None for ever."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        # Rounded up: a wait that ends too early would be one more for nothing.
        poll.poll(None if seconds is None else int(max(0.0, seconds) * 1000) + 1)
        self.clear()

"""Say how a long step goes: a line in place on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Report = Callable[[str], None]
_ON_TERMINAL_S = 0.2
_ELSEWHERE_S = 10.0


class Progress:
    """How one step goes; its end is reported by ``done``.

    Args:
        report: takes finished lines.
        label: what the step is.
    """

    def __init__(self, report: Report, label: str) -> None:
        self._report = report
        self._label = label
        self._began = time.monotonic()
        self._said = self._began
        self._in_place = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Return for how long the step has gone on."""
        return time.monotonic() - self._began

    def step(self, detail: str) -> None:
        """Say where it stands, if it is time to."""
        now = time.monotonic()
        if now - self._said < (_ON_TERMINAL_S if self._in_place else _ELSEWHERE_S):
            return
        self._said = now
        line = f"{self._label}: {detail}, {self.seconds:.0f} s"
        if self._in_place:
            sys.stderr.write(f"\r\033[K{line[:110]}")
            sys.stderr.flush()
        else:
            self._report(line)

    def done(self, detail: str) -> None:
        """Say how it ended."""
        if self._in_place:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
        self._report(f"{self._label}: {detail}, {self.seconds:.0f} s")

"""Being stopped: an agent sends SIGTERM when the time is up or the extension is no longer wanted."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType

from .errors import CancelledError


class Cancellation:
    """Turns SIGTERM and SIGINT into CancelledError, or, once a script was started, into a mark to look at."""

    def __init__(self) -> None:
        self.requested = False
        self._only_marked = False

    def listen(self) -> None:
        """Take over the signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def only_mark(self) -> None:
        """Raise nothing from here on: there is a script to be ended first, or an outcome to be written down."""
        self._only_marked = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if not self._only_marked and not again:
            raise CancelledError("cancelled: the handler was told to stop before the script was started")


def group_members() -> list[int]:
    """Return the processes of this process's group but itself and those that started it.

    The script stays in the handler's group, so that an agent that kills the group reaches both. The handler can't
    send to the group as such: an agent's shell above it may be in it.
    """
    group, spared = os.getpgrp(), _ancestry()
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    members = []
    for pid in pids:
        state, _parent, process_group = _stat(pid)
        if process_group == group and state != "Z" and pid not in spared:
            members.append(pid)
    return members


def signal_group(number: signal.Signals) -> None:
    """Send a signal to group_members()."""
    for pid in group_members():
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _ancestry() -> set[int]:
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        pid = _stat(pid)[1]
    return pids


def _stat(pid: int) -> tuple[str, int, int]:
    """Return state, parent and group of a process; it may have ended meanwhile."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "Z", 0, 0
    # The name, in parentheses, may hold blanks and parentheses itself.
    state, parent, group = text.rpartition(")")[2].split()[:3]
    return state, int(parent), int(group)

"""Heartbeat files of the handlers that keep one, looked at twice a minute: a dead one shows by its silence."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vmext_agent import clock, heartbeat
from vmext_agent.errors import StatusError
from vmext_agent.records import HandlerStatus

if TYPE_CHECKING:
    from vmext_agent.handler import Handler
    from vmext_agent.layout import Layout

_LOOK_S = 30.0


class Pulse:
    """What handlers say of themselves by their heartbeat; looked at only while somebody asks."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[str, HandlerStatus] = {}
        self._look_at: dict[str, float] = {}
        #: When each file was written last, by its own time, and when that was, in seconds since boot.
        self._written: dict[str, tuple[int, float]] = {}

    def wait_s(self) -> float | None:
        """Return how long until the next look; None where no handler keeps a heartbeat."""
        now = time.monotonic()
        for path in [path for path, at in self._look_at.items() if at <= now]:
            # It was due, and nobody asked: the handler is gone.
            del self._look_at[path], self._known[path], self._written[path]
        return max(0.0, min(self._look_at.values()) - now) if self._look_at else None

    def status(self, handler: Handler) -> HandlerStatus:
        """Return a handler's status by its heartbeat file."""
        path, now = f"{handler.folder}/heartbeat.log", time.monotonic()
        if path not in self._known or self._look_at[path] <= now:
            self._look_at[path] = now + _LOOK_S
            self._known[path] = _look(path, self._silent_s(path, clock.since_boot()))
        return self._known[path]

    def _silent_s(self, path: str, now: float) -> float:
        """Return for how long a file was not written, whatever became of the machine's clock meanwhile.

        What was written before this agent saw it has only its own time to tell; it counts from this boot on at most.
        """
        try:
            written = os.stat(path)
        except OSError:
            written = None
        number = written.st_mtime_ns if written is not None else 0
        known = self._written.get(path)
        if known is None:
            age_s = time.time() - written.st_mtime if written is not None else 0.0
            known = self._written[path] = (number, now - min(max(0.0, age_s), now))
        elif known[0] != number:
            known = self._written[path] = (number, now)
        return now - known[1]


def _look(path: str, silent_s: float) -> HandlerStatus:
    try:
        found = heartbeat.read(path, silent_s)
    except StatusError as error:
        return HandlerStatus("NotReady", -1, str(error))
    return HandlerStatus(*found)

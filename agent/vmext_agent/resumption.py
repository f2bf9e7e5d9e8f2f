"""Extensions whose work was cut off, and whose handler does not take it up: reported at once, not at the timeout.

A handler that has seen a number answers its enable in the next boot with exit 0 and writes nothing: its status file is
what it was when the machine went down. Where nothing of the handler runs either, nothing more will come.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import clock, lifecycle

if TYPE_CHECKING:
    from vmext_agent.disk import Store
    from vmext_agent.executor import Executor
    from vmext_agent.log import Log
    from vmext_agent.observer import Observer
    from vmext_agent.records import Enabled, Record

#: Nothing that runs is believed when it was seen twice, so far apart: a process that makes another is easily missed.
_AGAIN_S = 1.0
#: How often it is looked whether what runs still does.
_SELDOM_S = 30.0


class _Look(NamedTuple):
    """When the next look at an extension is due, by the monotonic clock, and whether nothing ran at the last one."""

    at: float = 0.0
    was_idle: bool = False


class ResumptionCheck:
    """Looks at what was enabled again and has written nothing since; ``turn`` never blocks for long."""

    def __init__(self, store: Store, observer: Observer, executor: Executor, log: Log) -> None:
        self._store = store
        self._observer = observer
        self._executor = executor
        self._log = log
        self._looks: dict[str, _Look] = {}

    def wait_s(self) -> float | None:
        """Return how long until the next look is due; None where nothing is to be looked at."""
        times = [look.at for look in self._looks.values()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def turn(self) -> bool:
        """Look where it is time; return whether an extension was found to have ended."""
        looks: dict[str, _Look] = {}
        found = False
        for name, record in list(self._store.disk.records.items()):
            enabled, look = record.enabled, self._looks.get(name, _Look())
            if enabled is None or not self._may_be_over(record):
                continue
            if look.at > time.monotonic():
                looks[name] = look
                continue
            is_idle = not self._executor.is_at_work(record.handler, enabled.version, name)
            if is_idle and look.was_idle:
                self._end(record, enabled)
                found = True
            else:
                looks[name] = _Look(time.monotonic() + (_AGAIN_S if is_idle else _SELDOM_S), is_idle)
        self._looks = looks
        return found

    def _may_be_over(self, record: Record) -> bool:
        said = self._observer.said(record.extension)
        boot = self._store.disk.boot
        return lifecycle.may_not_be_resumed(record, said.status, said.identity, boot=boot, now=clock.since_boot())

    def _end(self, record: Record, enabled: Enabled) -> None:
        prefix = f"[{record.handler}-{enabled.version}]"
        self._log.warning(
            "An extension's work was cut off, and nothing takes it up", prefix, extension=record.extension
        )
        ended = record._replace(enabled=enabled._replace(not_resumed=clock.rfc3339(time.time())))
        try:
            self._store.save(ended)
        except OSError as error:
            # It is known for as long as the agent runs, and found again by the next one.
            self._log.warning("A record can't be written", prefix, extension=record.extension, error=error)

"""Steps that failed: recorded, and where waiting may help tried again, each extension with a back-off of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmext_agent import clock, files, lifecycle, records
from vmext_agent.backoff import Backoff

if TYPE_CHECKING:
    import random

    from vmext_agent.config import Config
    from vmext_agent.disk import Store
    from vmext_agent.goal_state import Goal
    from vmext_agent.log import Log
    from vmext_agent.steps import Step

_NO_CODE = 1000


class Setbacks:
    """Which extensions wait, and until when."""

    def __init__(self, config: Config, store: Store, log: Log, draw: random.Random) -> None:
        self._config = config
        self._store = store
        self._log = log
        self._draw = draw
        self._backoffs: dict[str, Backoff] = {}
        #: By the monotonic clock.
        self._until: dict[str, float] = {}

    def is_waiting(self, extension: str) -> bool:
        """Tell whether an extension's step is to be left alone for now."""
        if self._until.get(extension, 0.0) > time.monotonic():
            return True
        self._until.pop(extension, None)
        return False

    def wait_s(self, extension: str = "") -> float | None:
        """Return how long until the first of them (or that extension) is tried again; None where none waits."""
        times = [at for name, at in self._until.items() if not extension or name == extension]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def clear(self, extension: str) -> None:
        """Begin anew with an extension: something worked."""
        self._until.pop(extension, None)
        self._backoffs.pop(extension, None)

    def take_goal(self, old: Goal | None, new: Goal) -> None:
        """Let what is new be tried at once: another package, or anything else."""
        for name in list(self._backoffs):
            if old is None or old.entry(name) != new.entry(name):
                self.clear(name)

    def delay(self, extension: str) -> float:
        """Leave an extension's step alone for a while, longer each time; return for how many seconds."""
        backoff = self._backoffs.get(extension)
        if backoff is None:
            backoff = self._backoffs[extension] = Backoff(
                self._config.retry_first_s, self._config.retry_limit_s, self._draw
            )
        wait_s = backoff.next()
        self._until[extension] = time.monotonic() + wait_s
        return wait_s

    def put_off(self, step: Step, error: OSError) -> None:
        """Have a step tried again that the machine's files did not let through."""
        reason, cure = ("DiskFull", "free some space") if files.is_full(error) else ("FileSystemError", "see to it")
        self.fail(step, reason, f"{step.kind} can't go on: {error}; {cure}", _NO_CODE, retry=True)

    def fail(self, step: Step, reason: str, message: str, code: int, *, retry: bool) -> None:
        """Record a failure; with `retry` the step is tried again after a while, and the message says when."""
        now = time.time()
        if retry:
            message += f"; tried again at {clock.rfc3339(now + self.delay(step.extension))}"
        self._log.error(f"{step.kind} failed", f"[{step.handler}-{step.version}]", reason=reason, why=message)
        record = self._store.disk.records.get(step.extension)
        if record is None:
            record = records.Record(step.extension, step.handler, step.key, "", clock.rfc3339(now))
        failed = lifecycle.fail(record, step, reason, message, code, clock.rfc3339(now), retry=retry)
        try:
            self._store.save(failed)
        except OSError:
            self._store.remember(failed)

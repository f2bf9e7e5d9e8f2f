"""The worker: one loop over the goal, commands, status files and time; watching and reporting are its two threads."""

from __future__ import annotations

import gc
import os
import random
import select
import threading
import time
from typing import TYPE_CHECKING

from vmext_agent import __version__, clock, guest, plan, process, report
from vmext_agent.cluster import Cluster
from vmext_agent.disk import Store
from vmext_agent.executor import Executor
from vmext_agent.handler import Handler
from vmext_agent.layout import Layout
from vmext_agent.observer import Observer
from vmext_agent.reporter import Reporter
from vmext_agent.watcher import Watcher

if TYPE_CHECKING:
    from vmext_agent.config import Config
    from vmext_agent.goal_state import Goal
    from vmext_agent.log import Log
    from vmext_agent.records import Record
    from vmext_agent.report import Document


_LONGEST_WAIT_S = 86_400.0


class Mailbox:
    """The newest goal, handed from the watcher's thread to the loop; older ones nobody took are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._goal: Goal | None = None
        self.descriptor, self._bell = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._bell, False)

    def put(self, goal: Goal) -> None:
        """Hand over a goal."""
        with self._lock:
            self._goal = goal
        try:
            os.write(self._bell, b"!")
        except BlockingIOError:
            # It rings already.
            return

    def take(self) -> Goal | None:
        """Return the newest goal, None where there is none since the last time."""
        try:
            os.read(self.descriptor, 4096)
        except BlockingIOError:
            return None
        with self._lock:
            goal, self._goal = self._goal, None
        return goal


class Worker:
    """What the loop knows and does."""

    def __init__(self, config: Config, log: Log) -> None:
        self._log = log
        self._layout = Layout(config.root)
        draw = random.Random()  # noqa: S311 -- spreads retries over time, keeps no secret
        self._store = Store(self._layout, process.boot_id(), log)
        self._store.load()
        self._observer = Observer(log)
        self._executor = Executor(config, self._layout, self._store, log, draw)
        self._mailbox = Mailbox()
        self._reporter = Reporter(Cluster(config), config.report_delay_s, config.report_every_s, draw, log)
        self._watcher = Watcher(Cluster(config), self._mailbox.put, self._reporter.observe, draw, log)
        self._facts: Document = {"agentVersion": __version__, "guest": guest.facts(config.root)}
        self._goal: Goal | None = None
        self._goal_at = ""
        self._followed: dict[str, tuple[object, ...]] = {}
        self._deadline: float | None = None

    def run(self) -> None:
        """Work for ever."""
        threading.excepthook = self._give_up
        self._executor.resume()
        self._watcher.start()
        self._reporter.start()
        # What has been made so far stays: the collector need not look at it again, nor touch its pages.
        gc.collect()
        gc.freeze()
        while True:
            self._wait()
            goal = self._mailbox.take()
            if goal is not None:
                self._take(goal)
            self._observer.look()
            self._executor.turn()
            if self._goal is not None:
                self._reporter.submit(self._document(self._goal))

    def _give_up(self, failed: threading.ExceptHookArgs) -> None:
        """End the process because a thread has: the parent starts another, and nothing that runs is lost."""
        name = failed.thread.name if failed.thread is not None else "a thread"
        self._log.error(f"{name} failed; this is an error of the agent's", error=repr(failed.exc_value))
        os._exit(1)

    def _wait(self) -> None:
        poll = select.poll()
        for descriptor in (self._mailbox.descriptor, self._observer.descriptor, *self._executor.descriptors()):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        waits = [wait_s for wait_s in (self._executor.wait_s(), self._observer.wait_s()) if wait_s is not None]
        if self._deadline is not None:
            waits.append(max(0.0, self._deadline - time.time()))
        # Rounded up: a wait that ends too early would be one more turn for nothing. The kernel takes no wait of months.
        poll.poll(int(min(*waits, _LONGEST_WAIT_S) * 1000) + 1 if waits else None)

    def _take(self, goal: Goal) -> None:
        self._log.info("A new goal state", incarnation=goal.generation, extensions=len(goal.entries))
        for refused in goal.refused:
            self._log.error("An entry of the goal state can't be carried out", extension=refused.name, why=refused.why)
        self._goal = goal
        self._goal_at = clock.rfc3339(time.time())
        self._executor.set_goal(goal)

    def _document(self, goal: Goal) -> Document:
        extensions: dict[str, Document] = {one.name: report.refused(one, self._goal_at) for one in goal.refused}
        self._deadline = None
        for entry in goal.entries:
            record = self._store.disk.records.get(entry.name)
            if record is not None:
                extensions[entry.name] = self._extension(record)
        return report.whole({**self._facts, "observedGeneration": goal.generation}, extensions)

    def _extension(self, record: Record) -> Document:
        self._follow(record)
        step = self._executor.step
        operation = _operation(step.kind) if step is not None and step.extension == record.extension else ""
        said = self._observer.said(record.extension)
        now = time.time()
        enabled = record.enabled if record.is_enabled and record.verdict is None else None
        is_final = said.status is not None and said.status.is_final
        if enabled is not None and not is_final and now < enabled.until:
            self._deadline = min(self._deadline or enabled.until, enabled.until)
        return report.extension(
            record,
            operation=operation,
            said=said.status,
            ended=said.written,
            now=now,
            version=self._store.disk.in_force(record.handler),
        )

    def _follow(self, record: Record) -> None:
        """Follow the status file of what is enabled, or of what failed to be."""
        key = record.key
        is_there = key.version in self._store.disk.handlers.get(record.handler, {})
        wanted = (record.handler, key.version, key.sequence_number, record.enabled, record.verdict)
        if key.state != "enabled" or not is_there:
            if self._followed.pop(record.extension, None) is not None:
                self._observer.drop(record.extension)
        elif (record.is_enabled or record.verdict is not None) and self._followed.get(record.extension) != wanted:
            self._followed[record.extension] = wanted
            handler = Handler(self._layout, record.handler, key.version)
            self._observer.follow(record.extension, handler, key.sequence_number)


def _operation(kind: str) -> str:
    """Return the name of what is being done in a status; a step that takes no time has none."""
    return kind.capitalize() if kind in (*plan.COMMANDS, plan.DOWNLOAD) else ""

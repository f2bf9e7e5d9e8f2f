"""The worker: one loop over the goal, commands, status files and time; watching and reporting are its two threads."""

from __future__ import annotations

import gc
import os
import random
import select
import threading
from typing import TYPE_CHECKING

from vmext_agent import files, installation, last_goal, policy, process
from vmext_agent.access import Access
from vmext_agent.cluster import Cluster
from vmext_agent.credential import Credential
from vmext_agent.disk import Store
from vmext_agent.executor import Executor
from vmext_agent.housekeeping import Housekeeping
from vmext_agent.layout import Layout
from vmext_agent.observer import Observer
from vmext_agent.reporter import Reporter
from vmext_agent.resumption import ResumptionCheck
from vmext_agent.view import View
from vmext_agent.wakeup import Wakeup
from vmext_agent.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.config import Config
    from vmext_agent.goal_state import Goal
    from vmext_agent.installation import Standing
    from vmext_agent.log import Log


_LONGEST_WAIT_S = 86_400.0


class Mailbox:
    """The newest goal, handed from the watcher's thread to the loop; older ones nobody took are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: tuple[Goal, Mapping[str, object]] | None = None
        self._wakeup = Wakeup()
        self.descriptor = self._wakeup.descriptor

    def put(self, goal: Goal, obj: Mapping[str, object]) -> None:
        """Hand over a goal, and the object that it was parsed from."""
        with self._lock:
            self._newest = (goal, obj)
        self.ring()

    def ring(self) -> None:
        """Wake the loop though there is no new goal."""
        self._wakeup.set()

    def take(self) -> tuple[Goal, Mapping[str, object]] | None:
        """Return the newest goal and its object, None where there is none since the last time."""
        if not self._wakeup.clear():
            return None
        with self._lock:
            newest, self._newest = self._newest, None
        return newest


class Worker:
    """What the loop knows and does.

    Args:
        config: of the agent.
        standing: of the machine: that it is the one that was enrolled.
    """

    def __init__(self, config: Config, standing: Standing, log: Log) -> None:
        self._log = log
        self._layout = Layout(config.root)
        draw = random.Random()  # noqa: S311 -- spreads retries over time, keeps no secret
        self._store = Store(self._layout, process.boot(), log)
        self._store.load()
        files.remove(self._layout.stopping)
        self._observer = Observer(log)
        self._policy = policy.Watch(config.root)
        self._executor = Executor(config, self._layout, self._store, log, draw)
        self._mailbox = Mailbox()
        self._installation = standing.installation
        access = Access()
        credential = Credential(config, self._layout, draw, self._mailbox.ring, log)
        self._reporter = Reporter(
            config, Cluster(config, access), credential, standing.claim, self._give_way, draw, log
        )
        self._enrolment = (config.uid, config.anchor_uid)
        self._watcher = Watcher(
            Cluster(config, access),
            self._enrolment,
            self._mailbox.put,
            self._reporter.take_identity,
            self._reporter.observe,
            draw,
            log,
        )
        self._housekeeping = Housekeeping(self._layout, log)
        self._view = View(self._layout, self._store, self._observer, self._executor, credential)
        self._resumption = ResumptionCheck(self._store, self._observer, self._executor, log)
        self._goal: Goal | None = None
        #: The object of the newest goal, until it is on disk.
        self._unsaved: Mapping[str, object] | None = None

    def run(self) -> None:
        """Work for ever."""
        threading.excepthook = self._give_up
        self._executor.resume()
        self._watcher.start()
        self._reporter.start()
        # What has been made so far stays: the collector need not look at it again, nor touch its pages.
        gc.collect()
        gc.freeze()
        last = last_goal.load(self._layout, self._log)
        if last is not None and last.is_of(*self._enrolment):
            # Nothing is reported of it before the API server has said what it has: what was ready stays ready.
            self._log.info("Working from the last goal state", incarnation=last.generation)
            self._take(last)
            self._work()
        while True:
            self._wait()
            newest = self._mailbox.take()
            if newest is not None:
                self._take(newest[0])
                self._unsaved = newest[1]
            self._work()

    def _work(self) -> None:
        """Do what can be done now, and have it reported."""
        self._save_goal()
        self._executor.set_policy(self._policy.current())
        self._observer.look()
        self._view.refresh()
        self._executor.turn()
        # What a command has left may be all that another one waited for.
        while self._view.refresh() or self._resumption.turn():
            self._executor.turn()
        if self._goal is not None:
            self._reporter.submit(self._view.document(self._goal))
        self._housekeeping.turn(self._store.disk, is_idle=self._executor.step is None)

    def _save_goal(self) -> None:
        """Keep the newest goal on disk, before anything of it is begun.

        An agent that is killed goes on from there: with an older goal it would enable again what it had just disabled.
        """
        if self._unsaved is None or self._goal is None or not self._store.is_newest(self._goal):
            self._unsaved = None
            return
        try:
            last_goal.save(self._layout, self._unsaved)
        except OSError as error:
            self._log.warning("The goal state can't be kept on disk", error=error)
        self._unsaved = None

    def _give_up(self, failed: threading.ExceptHookArgs) -> None:
        """End the process because a thread has: the parent starts another, and nothing that runs is lost."""
        name = failed.thread.name if failed.thread is not None else "a thread"
        self._log.error(f"{name} failed; this is an error of the agent's", error=repr(failed.exc_value))
        os._exit(1)

    def _give_way(self, why: str) -> None:
        """End the process because another machine is the one that was enrolled: the next one takes no orders."""
        self._log.error("This machine gives way to another one", why=why)
        try:
            installation.save(self._layout, self._installation._replace(yielded=why))
        except OSError as error:
            self._log.error("That this machine gives way can't be noted; it finds out again", error=error)
        os._exit(1)

    def _wait(self) -> None:
        poll = select.poll()
        for descriptor in (self._mailbox.descriptor, self._observer.descriptor, *self._executor.descriptors()):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        parts = (self._executor, self._observer, self._view, self._housekeeping, self._resumption)
        due = [wait_s for wait_s in (part.wait_s() for part in parts) if wait_s is not None]
        # Rounded up: a wait that ends too early would be one more turn for nothing. The kernel takes no wait of months.
        poll.poll(int(min(*due, _LONGEST_WAIT_S) * 1000) + 1 if due else None)

    def _take(self, goal: Goal) -> None:
        self._log.info("A new goal state", incarnation=goal.generation, extensions=len(goal.entries))
        for refused in goal.refused:
            self._log.error("An entry of the goal state can't be carried out", extension=refused.name, why=refused.why)
        if not self._store.take_goal(goal):
            self._log.warning(
                "The goal state is older than what this machine has taken; nothing old is carried out",
                incarnation=goal.generation,
                last_sequence_number=goal.last_sequence_number,
                highest=self._store.disk.highest,
            )
        self._goal = goal
        self._reporter.take_goal(goal.uid, goal.generation)
        self._reporter.beat_every(goal.heartbeat_s)
        self._view.take_goal(goal)
        self._executor.set_goal(goal)

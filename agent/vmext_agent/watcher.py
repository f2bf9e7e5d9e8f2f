"""The thread that knows the goal: one object by name, watched for ever, the newest state handed on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from vmext_agent import cluster, goal_state
from vmext_agent.backoff import Backoff
from vmext_agent.errors import GoalStateError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping

    from vmext_agent.cluster import Cluster, Event
    from vmext_agent.goal_state import Goal
    from vmext_agent.log import Log

_FIRST_S, _LIMIT_S = 0.2, 30.0


class Watcher:
    """Watches the GoalState.

    Args:
        client: its own connection.
        enrolment: UIDs of the VirtualMachine and of the anchor that the machine was enrolled for; empty for any.
        on_goal: told of every new goal, and of the object it was parsed from; called in the watcher's thread.
        on_identity: told of a goal for what it says of token and certificate, before it is handed on; it may take a
            while.
        on_status: told of the object's uid and resource version, whoever changed it, and how to read its status.
        draw: randomness of the back-off.
    """

    def __init__(
        self,
        client: Cluster,
        enrolment: tuple[str, str],
        on_goal: Callable[[Goal, Mapping[str, object]], None],
        on_identity: Callable[[Goal], None],
        on_status: Callable[[str, str, Callable[[], Mapping[str, object]]], None],
        draw: random.Random,
        log: Log,
    ) -> None:
        self._client = client
        self._enrolment = enrolment
        self._on_goal = on_goal
        self._on_identity = on_identity
        self._on_status = on_status
        self._backoff = Backoff(_FIRST_S, _LIMIT_S, draw)
        self._log = log
        self._version = ""
        self._seen: tuple[str, int] | None = None

    def start(self) -> None:
        """Begin; the thread ends with the process."""
        threading.Thread(target=self._run, name="Watcher", daemon=True).start()

    def _run(self) -> None:
        trouble = ""
        while True:
            try:
                for event in self._events():
                    if trouble:
                        self._log.info("The API server answers again")
                        trouble = ""
                    self._backoff.reset()
                    self._take(event)
                wait_s = 0.0
            except cluster.GoneError as error:
                self._log.info("The watch is too old; reading again", error=error)
                self._version, wait_s = "", 0.0
            except cluster.ClusterError as error:
                wait_s = max(self._backoff.next(), error.retry_after_s)
                if type(error).__name__ != trouble:
                    self._log.warning("The goal state can't be read; trying again", error=error)
                trouble = type(error).__name__
            # A server that ends every watch at once is not asked without a breath.
            time.sleep(wait_s or self._backoff.next())

    def _events(self) -> Iterator[Event]:
        if not self._version:
            event = self._client.read()
            if not event.is_there and self._seen is None:
                self._log.info("There is no goal state yet; waiting for it")
            yield event
        for event in self._client.watch(self._version):
            yield event
            if event.deleted:
                # It is asked for anew: where this machine was shut out, that is when it hears of it.
                self._version = ""
                return

    def _take(self, event: Event) -> None:
        self._version = event.resource_version or self._version
        if event.deleted:
            # Nothing is ever uninstalled because something is missing.
            if self._seen is not None:
                self._log.warning("The goal state is gone; everything stays as it is")
            self._seen = None
            return
        if not event.is_there:
            return
        self._on_status(event.uid, event.resource_version, event.status)
        if self._seen == (event.uid, event.generation):
            return
        try:
            goal = goal_state.parse(event.obj())
        except GoalStateError as error:
            self._log.error("The goal state can't be understood; the one before it stays in force", error=error)
            return
        self._seen = (goal.uid, goal.generation)
        if not goal.is_of(*self._enrolment):
            self._log.error(
                "The goal state is another enrolment's; nothing of it is taken. Enrol this machine anew",
                vm_uid=goal.vm_uid,
                anchor_uid=goal.anchor_uid,
            )
            return
        self._on_identity(goal)
        self._on_goal(goal, event.obj())

"""Carry out what ``plan`` says, one step at a time, and record what came of each before the next is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmext_agent import clock, files, lifecycle, plan, records
from vmext_agent.errors import ManifestError, PackageError
from vmext_agent.execution import Execution
from vmext_agent.fetch import Fetch
from vmext_agent.handler import Handler
from vmext_agent.packages import Instructions
from vmext_agent.setbacks import Setbacks

if TYPE_CHECKING:
    import random

    from vmext_agent.config import Config
    from vmext_agent.disk import Store
    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.plan import Step
    from vmext_agent.records import Record


class Executor:
    """The worker's hands. ``turn`` is called at every wake-up and never blocks on a command or a download."""

    def __init__(self, config: Config, layout: Layout, store: Store, log: Log, draw: random.Random) -> None:
        self._config = config
        self._layout = layout
        self._store = store
        self._log = log
        self._goal: Goal | None = None
        self._setbacks = Setbacks(config, store, log, draw)
        self._execution = Execution(config, layout, store, self._setbacks, log)
        self._fetch: Fetch | None = None
        self._fetching: Step | None = None

    @property
    def step(self) -> Step | None:
        """Return the step that takes time now: a download or a command; None for none."""
        return self._execution.step or self._fetching

    def descriptors(self) -> list[int]:
        """Return what to wait for: readable when a command or a download may have ended; -1 stands for nothing."""
        return [self._execution.descriptor(), self._fetch.descriptor if self._fetch is not None else -1]

    def wait_s(self) -> float | None:
        """Return how long nothing has to be done unless a descriptor says so; None for ever."""
        # Nothing else is begun before what runs has ended.
        setback = None if self.step is not None else self._setbacks.wait_s()
        times = [wait_s for wait_s in (self._execution.wait_s(), setback) if wait_s is not None]
        return min(times, default=None)

    def resume(self) -> None:
        """Pick up what an earlier agent had running, or had not recorded yet."""
        self._execution.resume()

    def set_goal(self, goal: Goal) -> None:
        """Work towards this goal from now on; what it no longer wants of what runs now is cancelled."""
        old, self._goal = self._goal, goal
        self._setbacks.take_goal(old, goal)
        self._forget_removed(goal)
        running, fetching = self._execution.step, self._fetching
        # During its other commands a handler's files are in no man's land: those end by themselves.
        if running is not None and running.kind == plan.ENABLE and _is_superseded(running, goal):
            self._execution.cancel()
        if self._fetch is not None and fetching is not None and self._is_outdated(fetching, goal):
            self._log.info("Cancelling a download", extension=fetching.extension)
            self._fetch.cancel()
            self._fetch = self._fetching = None

    def _forget_removed(self, goal: Goal) -> None:
        """Drop the records of what was removed from the machine and has now left the goal too."""
        names = {entry.name for entry in goal.entries}
        for record in list(self._store.disk.records.values()):
            verdict = record.verdict
            if verdict is not None and verdict.outcome == lifecycle.REMOVED and record.extension not in names:
                self._store.drop_record(record.extension)

    def _is_outdated(self, fetching: Step, goal: Goal) -> bool:
        entry, record = goal.entry(fetching.extension), self._store.disk.records.get(fetching.extension)
        other = entry is not None and record is not None and record.package != records.package_id(entry)
        return other or _is_superseded(fetching, goal)

    def turn(self) -> None:
        """Do all that can be done now without waiting."""
        self._execution.turn()
        if self._fetch is not None and self._fetching is not None:
            self._follow_fetch(self._fetch, self._fetching)
        while self._goal is not None and self.step is None:
            steps = plan.plan(self._goal, self._store.disk)
            step = next((step for step in steps if not self._setbacks.is_waiting(step.extension)), None)
            if step is None:
                return
            self._perform(step, self._goal)

    def _perform(self, step: Step, goal: Goal) -> None:
        entry = goal.entry(step.extension)
        assert entry is not None, "a plan holds only steps for what is in the goal"
        record = self._store.disk.records.get(step.extension)
        try:
            if record is None or record.key != entry.key or record.package != records.package_id(entry):
                record = records.begin(record, entry, clock.rfc3339(time.time()))
                self._store.save(record)
            if step.kind == plan.DOWNLOAD:
                self._begin_fetch(step, entry)
            elif step.kind in plan.COMMANDS:
                self._execution.begin(step, entry, record)
            else:
                self._do(step, record)
        except OSError as error:
            self._setbacks.put_off(step, error)

    def _do(self, step: Step, record: Record) -> None:
        """Carry out a step that takes no time. Raises OSError."""
        handler = Handler(self._layout, step.handler, step.version)
        record = record._replace(verdict=None)
        if step.kind == plan.CARRY:
            self._log.info("Copy status files and mrseq from the old version to the new", handler.log_prefix)
            handler.make()
            handler.carry_from(Handler(self._layout, step.handler, step.source))
            record = lifecycle.carried(record, step)
        elif step.kind == plan.REMOVE:
            self._log.info(f"Remove extension handler directory: {handler.folder}", handler.log_prefix)
            self._store.drop_folder(step.handler, step.version)
            self._count_as_installed(step)
        elif step.kind == plan.FORGET:
            self._log.info("Nothing is left to do", handler.log_prefix, extension=step.extension, state=step.key.state)
            # What a lost command left counts attempts at something that nobody wants any more.
            files.remove(self._layout.command(step.extension))
            record = lifecycle.forgotten(record, clock.rfc3339(time.time()))
        self._store.save(record)
        self._setbacks.clear(step.extension)

    def _count_as_installed(self, step: Step) -> None:
        """Count a new version as installed where its manifest says that an update is enough. Raises OSError."""
        new = self._store.disk.handlers.get(step.handler, {}).get(step.key.version)
        if step.key.state == "enabled" and new is not None and not new.update_with_install:
            self._log.info("UpdateWithInstall not set. Skip install during upgrade.", f"[{step.handler}]")
            self._store.set_state(step.handler, step.key.version, records.INSTALLED)

    def _begin_fetch(self, step: Step, entry: Entry) -> None:
        package = entry.package
        self._log.info(f"Downloading {step.handler}-{step.version}", extension=step.extension)
        self._fetch = Fetch(
            Instructions(
                urls=package.urls,
                sha256=package.sha256,
                size_bytes=package.size_bytes,
                zip_path=f"{self._layout.handlers}/{step.handler}__{step.version}.zip",
                folder=self._layout.handler(step.handler, step.version),
                connect_s=self._config.connect_s,
                stall_s=self._config.stall_s,
                proxy=self._config.proxy,
            )
        )
        self._fetching = step

    def _follow_fetch(self, fetch: Fetch, step: Step) -> None:
        try:
            if not fetch.is_done():
                return
            self._take_package(step)
        except (PackageError, ManifestError) as error:
            reason = error.reason if isinstance(error, PackageError) else "PackageInvalid"
            retry = reason != "PackageInvalid"
            self._setbacks.fail(step, reason, f"Failed to download artifacts: {error}", error.code, retry=retry)
        except OSError as error:
            self._setbacks.put_off(step, error)
        self._fetch = self._fetching = None

    def _take_package(self, step: Step) -> None:
        """Count an unpacked package as a handler that is not installed. Raises ManifestError, OSError."""
        handler = Handler(self._layout, step.handler, step.version)
        for oddity in handler.manifest().oddities:
            self._log.warning(f"In the handler manifest: {oddity}", handler.log_prefix)
        handler.make()
        handler.write_state(records.NOT_INSTALLED)
        self._store.note_folder(step.handler, step.version)
        self._store.save(self._store.disk.records[step.extension]._replace(verdict=None))
        self._setbacks.clear(step.extension)
        self._log.info(f"Unzipped {step.handler}-{step.version}", extension=step.extension)


def _is_superseded(step: Step, goal: Goal) -> bool:
    """Tell whether a goal has something else for a step's extension; what is missing from it is left alone."""
    entry = goal.entry(step.extension)
    return entry is not None and entry.key != step.key

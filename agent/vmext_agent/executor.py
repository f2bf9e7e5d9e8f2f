"""Carry out what ``plan`` says, one step at a time, and record what came of each before the next is asked for."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vmext_agent import clock, files, goal_state, lifecycle, plan, records, status_files, steps
from vmext_agent.errors import ManifestError, PackageError
from vmext_agent.execution import Execution
from vmext_agent.fetch import Fetch
from vmext_agent.goal_state import Limits
from vmext_agent.handler import Handler, settings_document
from vmext_agent.judge import Judge
from vmext_agent.packages import Instructions
from vmext_agent.patience import Patience
from vmext_agent.setbacks import Setbacks

if TYPE_CHECKING:
    import random

    from vmext_agent.config import Config
    from vmext_agent.disk import Store
    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.hold import Held
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.policy import Policy
    from vmext_agent.records import Record
    from vmext_agent.steps import Step


class Executor:
    """The worker's hands. ``turn`` is called at every wake-up and never blocks on a command or a download."""

    def __init__(self, config: Config, layout: Layout, store: Store, log: Log, draw: random.Random) -> None:
        self._config = config
        self._layout = layout
        self._store = store
        self._log = log
        self._goal: Goal | None = None
        self._setbacks = Setbacks(config, store, log, draw)
        self._patience = Patience(config, log)
        self._judge = Judge(layout, store)
        self._execution = Execution(config, layout, store, self._setbacks, log)
        self._fetch: Fetch | None = None
        self._fetching: Step | None = None
        self._since = 0.0

    @property
    def step(self) -> Step | None:
        """Return the step that takes time now: a download or a command; None for none."""
        return self._execution.step or self._fetching

    @property
    def running_s(self) -> float:
        """Return for how long that step has been at it."""
        return clock.since_boot() - self._since

    def waits_for(self, extension: str) -> Held | None:
        """Return what an extension's next step waits for on this machine, None for nothing."""
        return self._patience.waits_for(extension)

    def is_at_work(self, handler: str, version: str, extension: str) -> bool:
        """Tell whether anything runs that a handler version's commands for an extension have started."""
        return self._execution.is_at_work(handler, version, extension)

    def notes(self, entry: Entry) -> tuple[str, ...]:
        """Return what people should know of how an extension's commands run."""
        if entry.limits == Limits():
            return ()
        return self._execution.limit(entry.handler, entry.version, entry.limits)

    def descriptors(self) -> list[int]:
        """Return what to wait for: readable when a command or a download may have ended; -1 stands for nothing."""
        return [self._execution.descriptor(), self._fetch.descriptor if self._fetch is not None else -1]

    def wait_s(self) -> float | None:
        """Return how long nothing has to be done unless a descriptor says so; None for ever."""
        times = [self._execution.wait_s()]
        if self.step is None:
            # Nothing else is begun before what runs has ended.
            times += [self._setbacks.wait_s(), self._patience.wait_s()]
        times.append(self._judge.wait_s())
        return min((wait_s for wait_s in times if wait_s is not None), default=None)

    def resume(self) -> None:
        """Pick up what an earlier agent had running, or had not recorded yet."""
        self._execution.resume()

    def set_policy(self, policy: Policy) -> None:
        """Run from now on only what the machine's policy allows."""
        self._judge.set_policy(policy)

    def set_goal(self, goal: Goal) -> None:
        """Work towards this goal from now on; what it no longer wants of what runs now is cancelled."""
        old, self._goal = self._goal, goal
        self._setbacks.take_goal(old, goal)
        self._patience.take_goal(goal)
        self._judge.set_goal(goal)
        self._forget_removed(goal)
        running, fetching = self._execution.step, self._fetching
        if running is not None and plan.is_unwanted(running, goal, self._store.disk):
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
        return other or (entry is not None and entry.key != fetching.key)

    def turn(self) -> None:
        """Do all that can be done now without waiting."""
        self._judge.turn()
        self._execution.turn()
        if self._fetch is not None and self._fetching is not None:
            self._follow_fetch(self._fetch, self._fetching)
        while self._goal is not None and self.step is None:
            step = self._next(self._goal)
            if step is None:
                return
            self._perform(step, self._goal)

    def _next(self, goal: Goal) -> Step | None:
        """Return the first step whose extension does not have to wait; None for none."""
        if os.path.exists(self._layout.stopping):
            return None
        waiting: set[str] = set()
        for step in plan.plan(goal, self._store.disk):
            name = step.extension
            if name in waiting:
                continue
            if self._setbacks.is_waiting(name) or self._patience.holds_back(step, goal.entry(name)):
                waiting.add(name)
                continue
            return step
        return None

    def _perform(self, step: Step, goal: Goal) -> None:
        entry, known = goal.entry(step.extension), self._store.disk.records.get(step.extension)
        record = known
        self._since = clock.since_boot()
        try:
            if entry is not None and _begins(step, entry, record):
                record = records.begin(record, entry, clock.rfc3339(time.time()))
            if step.kind in steps.COMMANDS:
                record = status_files.begin(record or _unknown(step), step, self._store.disk, self._layout)
            if record is not None and record is not known:
                self._store.save(record)
            if step.kind in steps.COMMANDS and record is not None:
                self._execution.begin(step, entry, record)
            elif entry is not None and record is not None:
                if step.kind == steps.DOWNLOAD:
                    self._begin_fetch(step, entry)
                else:
                    self._do(step, entry, record, goal)
        except OSError as error:
            self._setbacks.put_off(step, error)

    def _do(self, step: Step, entry: Entry, record: Record, goal: Goal) -> None:
        """Carry out a step that takes no time. Raises OSError."""
        store, kind = self._store, step.kind
        handler = Handler(self._layout, step.handler, step.version)
        move = store.disk.moves.get(step.handler)
        record = record._replace(verdict=None)
        if kind == steps.BEGIN:
            begun = lifecycle.begun(step, entry, store.disk)
            status_files.keep(begun, store.disk, self._layout)
            store.save_move(begun)
        elif kind == steps.CARRY and move is not None:
            self._log.info("Copy status files and mrseq from the old version to the new", handler.log_prefix)
            handler.make()
            handler.carry_from(Handler(self._layout, step.handler, step.source))
            status_files.carry(move, goal, store.disk, self._layout)
            store.save_move(lifecycle.carried(step, move))
        elif kind == steps.ASIDE and move is not None:
            self._set_aside(step, move.target)
        elif kind == steps.TAKE_BACK and move is not None:
            self._log.warning("The change of version is taken back", handler.log_prefix, wanted=entry.version)
            store.save_move(lifecycle.taken_back(move, entry.version))
        elif kind == steps.RESTORE:
            self._log.info(f"Put back extension handler directory: {handler.folder}", handler.log_prefix)
            store.restore(step.handler, step.version)
        elif kind == steps.RETURN and move is not None:
            self._return(move, goal)
            record = store.disk.records[step.extension]
        elif kind == steps.SETTLE:
            store.drop_aside(step.handler)
            store.drop_move(step.handler)
        elif kind == steps.REMOVE:
            self._log.info(f"Remove extension handler directory: {handler.folder}", handler.log_prefix)
            record = lifecycle.discarded(record, store.disk.handlers.get(step.handler, {}).get(step.version))
            store.drop_folder(step.handler, step.version)
        elif kind == steps.REWRITE:
            self._rewrite(step, entry)
            record = record._replace(settings=entry.settings.digest)
        elif kind == steps.FORGET:
            self._log.info("Nothing is left to do", handler.log_prefix, extension=step.extension, state=step.key.state)
            record = self._forget(step, record, goal)
        store.save(record)
        self._setbacks.clear(step.extension)

    def _set_aside(self, step: Step, target: str) -> None:
        """Put the old version out of the way, and count the new one as installed where an update is all it wants."""
        folder = self._layout.handler(step.handler, step.version)
        self._log.info(f"Set aside extension handler directory: {folder}", f"[{step.handler}-{step.version}]")
        state = lifecycle.after_aside(self._store.disk.handlers[step.handler].get(target))
        if state is not None:
            self._log.info("UpdateWithInstall not set. Skip install during upgrade.", f"[{step.handler}-{target}]")
            self._store.set_state(step.handler, target, state)
        self._store.set_aside(step.handler, step.version)

    def _return(self, move: records.Move, goal: Goal) -> None:
        """End a change that was taken back: whoever wanted it is told, then it is forgotten. Raises OSError."""
        store, now = self._store, clock.rfc3339(time.time())
        for entry in lifecycle.concerned(move, goal, store.disk):
            record = store.disk.records.get(entry.name)
            if record is None or record.key != entry.key:
                record = records.begin(record, entry, now)
            failed = lifecycle.returned(record, move, store.disk, now)
            self._log.error(
                "A version failed and was taken back",
                f"[{move.handler}-{move.target}]",
                extension=entry.name,
                in_force=store.disk.in_force(move.handler),
                reason=failed.verdict.reason if failed.verdict is not None else "",
            )
            store.save(failed)
        if move.failure is not None and move.failure.kind and move.target in store.disk.handlers.get(move.handler, {}):
            store.set_state(move.handler, move.target, records.FAILED_UPGRADE)
        store.drop_move(move.handler)

    def _rewrite(self, step: Step, entry: Entry) -> None:
        """Write an extension's settings anew; nothing runs. Raises OSError."""
        self._log.info("Settings are written anew", f"[{step.handler}-{step.version}]", extension=step.extension)
        folder = self._store.disk.handlers[step.handler][step.version]
        number, document = step.key.sequence_number, settings_document(entry.settings)
        files.write(self._layout.kept_settings(step.extension, number), document, 0o600)
        handler = Handler(self._layout, step.handler, step.version)
        handler.write_settings(number, document, step.extension if folder.multi_config else "")

    def _forget(self, step: Step, record: Record, goal: Goal) -> Record:
        """Remove what is kept for an extension that is gone or left as it is. Raises OSError."""
        # What a lost command left counts attempts at something that nobody wants any more.
        files.remove(self._layout.command(step.extension))
        self._store.drop_settings(step.extension)
        if step.key.state == goal_state.UNINSTALL:
            for version, folder in self._store.disk.handlers.get(step.handler, {}).items():
                if folder.multi_config:
                    Handler(self._layout, step.handler, version).remove_extension(step.extension)
        self._store.outcomes.pop(step.extension, None)
        entry = goal.entry(step.extension)
        is_removal = entry is not None and step.key.state == goal_state.UNINSTALL
        kept_by = plan.kept_by(entry, goal, self._store.disk) if entry is not None and is_removal else ""
        if is_removal and not kept_by:
            self._drop_taken_over(step, goal)
        return lifecycle.forgotten(record, clock.rfc3339(time.time()), kept_by)

    def _drop_taken_over(self, step: Step, goal: Goal) -> None:
        """Drop the records of what had a handler that is gone, and is declared nowhere."""
        named = {entry.name for entry in goal.entries} | {refused.name for refused in goal.refused}
        for record in list(self._store.disk.records.values()):
            if record.handler == step.handler and record.extension not in named:
                self._store.drop_record(record.extension)

    # -- packages

    def _begin_fetch(self, step: Step, entry: Entry) -> None:
        package = entry.package
        self._log.info(f"Downloading {step.handler}-{step.version}", extension=step.extension)
        policy = self._judge.policy
        urls = package.urls if policy is None else policy.allowed_urls(package.urls)
        self._fetch = Fetch(
            Instructions(
                urls=urls,
                sha256=package.sha256,
                size_bytes=package.size_bytes,
                zip_path=f"{self._layout.handlers}/{step.handler}__{step.version}.zip",
                folder=self._layout.handler(step.handler, step.version),
                connect_s=self._config.connect_s,
                stall_s=self._config.stall_s,
                proxy=self._config.proxy,
                root=self._config.root,
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
        manifest = handler.manifest()
        for oddity in manifest.oddities:
            self._log.warning(f"In the handler manifest: {oddity}", handler.log_prefix)
        entry = self._goal.entry(step.extension) if self._goal is not None else None
        if entry is not None and entry.multi_config and not manifest.multi_config:
            why = f"{step.handler}-{step.version} takes one extension, by its manifest, and the catalog says several"
            raise PackageError("PackageInvalid", why)
        handler.make()
        if entry is not None:
            handler.note_package(entry.package.sha256)
        handler.write_state(records.NOT_INSTALLED)
        self._store.note_folder(step.handler, step.version)
        self._store.save(self._store.disk.records[step.extension]._replace(verdict=None))
        self._setbacks.clear(step.extension)
        self._log.info(f"Unzipped {step.handler}-{step.version}", extension=step.extension)


def _begins(step: Step, entry: Entry, record: Record | None) -> bool:
    """Tell whether a step is the first towards an entry; what is known is of an earlier one then."""
    if step.back or step.key != entry.key:
        return False
    return record is None or record.key != entry.key or record.package != records.package_id(entry)


def _unknown(step: Step) -> Record:
    """Return a record of an extension of which nothing is known but a step."""
    return records.Record(step.extension, step.handler, step.key, "", clock.rfc3339(time.time()))

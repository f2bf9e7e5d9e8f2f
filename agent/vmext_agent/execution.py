"""The command that runs now: begun, watched over, ended when it takes too long, and its result recorded."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vmext_agent import (
    cgroups,
    clock,
    commands,
    endings,
    files,
    goal_state,
    leftovers,
    lifecycle,
    records,
    status,
    status_files,
    steps,
    transcript,
)
from vmext_agent.errors import CommandLostError, ManifestError, StatusError
from vmext_agent.goal_state import Limits
from vmext_agent.handler import PATH, Handler, settings_document
from vmext_agent.leftovers import Ending
from vmext_agent.lifecycle import Result
from vmext_agent.running import Exit, read_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.config import Config
    from vmext_agent.disk import Store
    from vmext_agent.goal_state import Entry
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.records import Move, Record
    from vmext_agent.running import Running
    from vmext_agent.setbacks import Setbacks
    from vmext_agent.steps import Step

_MAX_ATTEMPTS = 3
#: Time to enable again what the goal says nothing of any more.
_ENABLE_S = 20 * 60.0
#: How often the size of a running command's output is looked at: often while it grows fast, else seldom.
_TRIM_FAST_S, _TRIM_SLOW_S = 0.1, 2.0
_FAST_BYTES = 1 << 20
#: Where the kernel has no pidfd, a command's end is looked for this often.
_POLL_S = 0.1
_SWEEP_S = 60.0
_SETTINGS_LIMIT = 2 << 20


class Execution:
    """At most one command. ``step`` is what it carries out, None where none runs."""

    def __init__(self, config: Config, layout: Layout, store: Store, setbacks: Setbacks, log: Log) -> None:
        self._config = config
        self._layout = layout
        self._store = store
        self._setbacks = setbacks
        self._log = log
        self._boot = store.disk.boot
        self._running: Running | None = None
        self.step: Step | None = None
        #: How the command ended; it may take a while until there is room to record it.
        self._ended: Exit | None = None
        self._trim_at = 0.0
        self._trimmed_bytes = 0
        self._sweep_at = time.monotonic()
        self._cgroups = cgroups.decide(path=PATH)
        self._limited: dict[tuple[str, str, Limits], tuple[str, ...]] = {}
        #: What an uninstalled handler left running.
        self._ending: Ending | None = None

    def descriptor(self) -> int:
        """Return what is readable when the command may have ended; -1 for nothing."""
        return self._running.descriptor if self._running is not None else -1

    def limit(self, handler: str, version: str, limits: Limits) -> tuple[str, ...]:
        """Have the commands of a handler's version keep to limits; return what people should know of that."""
        key = (handler, version, limits)
        if key not in self._limited:
            self._forget_limits(handler, version)
            self._limited[key] = self._cgroups.limit(handler, version, limits)
        return self._limited[key]

    def _forget_limits(self, handler: str, version: str) -> None:
        self._limited = {one: notes for one, notes in self._limited.items() if one[:2] != (handler, version)}

    def is_at_work(self, handler: str, version: str, extension: str) -> bool:
        """Tell whether anything runs that a handler version's commands for an extension have started."""
        folder = self._store.disk.handlers.get(handler, {}).get(version)
        own = extension if folder is not None and folder.multi_config else ""
        members = self._cgroups.members(handler, version)
        return leftovers.is_at_work(self._layout.handler(handler, version), members, own)

    def wait_s(self) -> float | None:
        """Return how long nothing has to be done unless the descriptor says so; None for ever."""
        times = [self._sweep_at - time.monotonic()] if self._sweep_at else []
        running, step = self._running, self.step
        if running is not None and self._ending is not None:
            times.append(self._ending.wait_s())
        elif running is not None and step is not None and self._ended is not None:
            times.append(self._setbacks.wait_s(step.extension) or 0.0)
        elif running is not None:
            end = running.kill_at or running.deadline
            times += [end - clock.since_boot(), self._trim_at - time.monotonic()]
            if running.descriptor < 0:
                times.append(_POLL_S)
        return max(0.0, min(times)) if times else None

    def resume(self) -> None:
        """Pick up what an earlier agent had running, or had not recorded yet."""
        for name in sorted(os.listdir(self._layout.commands)):
            folder = self._layout.command(name)
            found = commands.find(folder)
            step = None if found is None else transcript.step_of(found.purpose)
            if found is None or step is None or step.extension != name or self._running is not None:
                continue
            try:
                self._running = commands.resume(folder, found, self._boot)
            except CommandLostError as error:
                self._log.warning("A command was cut off", extension=name, why=error, attempts=found.attempts)
                if found.boot == self._boot:
                    self._setbacks.delay(name)
            if self._running is not None:
                self.step = step
                self._log.info("Picked up a command", extension=name, command=found.line)
                if self._running.stopped_for:
                    # An earlier agent had it end, and did not live to make it.
                    self._running.stop(self._running.stopped_for, self._config.kill_after_s)

    # -- beginning

    def begin(self, step: Step, entry: Entry | None, record: Record) -> None:
        """Start the command of a step. Raises OSError."""
        folder = self._layout.command(step.extension)
        attempt, until = self._attempt(folder, step)
        if attempt > _MAX_ATTEMPTS:
            self._give_up(step, record, folder)
            return
        handler = Handler(self._layout, step.handler, step.version)
        try:
            command = handler.manifest().commands[step.kind]
        except (ManifestError, FileNotFoundError):
            # It was there when the plan was made. What is to be done now is another plan's to say.
            self._store.note_folder(step.handler, step.version)
            return
        now = clock.since_boot()
        timeout_s = self._timeout_s(step, entry)
        enable_s = float(entry.timeout_s) if entry is not None else _ENABLE_S
        # Time does not begin anew because the machine did; nor does it stand still, or run away, with its clock.
        until = min(until, now + enable_s) if until else now + enable_s
        if step.kind == steps.ENABLE:
            timeout_s = until - now
        if timeout_s <= 0:
            words = f"{step.kind} was begun {attempt - 1} times, and its time was over before it ended"
            self._conclude(step, record, Result(lifecycle.TIMED_OUT, words, "TimedOut"), until, "")
            self._discard(step.extension, folder)
            return
        several = self._store.disk.handlers[step.handler][step.version].multi_config
        digest = self._prepare(step, entry, handler, several=several)
        self._log.info(
            f"{step.kind.capitalize()} extension: [{command}]",
            handler.log_prefix,
            extension=step.extension,
            sequence_number=step.key.sequence_number,
            attempt=attempt,
        )
        if entry is not None:
            self.limit(step.handler, step.version, entry.limits)
        kills = self._cgroups.memory(step.handler, step.version).kills
        order = commands.Order(
            handler.command_line(command),
            handler.folder,
            handler.environment(step.key.sequence_number, step.variables, step.extension if several else ""),
            timeout_s,
            {**transcript.purpose_of(step, until=until, settings=digest), "memory_kills": kills},
            self._cgroups.place(step.handler, step.version),
        )
        self._keep_streams(step.extension, folder)
        self._running = commands.start(folder, order, attempt, self._boot, self._layout.shim)
        self.step, self._ended = step, None
        self._trim_at = time.monotonic() + _TRIM_FAST_S
        self._trimmed_bytes = 0
        if record.verdict is not None and not step.back:
            self._store.save(record._replace(verdict=None))

    def _timeout_s(self, step: Step, entry: Entry | None) -> float:
        if step.kind == steps.ENABLE:
            return float(entry.timeout_s) if entry is not None else _ENABLE_S
        return self._config.command_s[step.kind]

    def _prepare(self, step: Step, entry: Entry | None, handler: Handler, *, several: bool) -> str:
        """Write what a command finds in its folder; return the digest of the settings, if they are new ones."""
        handler.make()
        number, name = step.key.sequence_number, step.extension if several else ""
        kept = self._layout.kept_settings(step.extension, number)
        if step.back or entry is None or step.key != entry.key:
            if step.kind == steps.ENABLE and os.path.exists(kept):
                # What was enabled gets back what it was given: handlers change their settings files.
                handler.write_settings(number, files.read(kept, _SETTINGS_LIMIT), name)
            return ""
        if step.key.state != goal_state.ENABLED or step.key.version not in self._store.disk.handlers[step.handler]:
            return ""
        document = settings_document(entry.settings)
        target = Handler(self._layout, step.handler, step.key.version)
        target.make()
        if step.kind == steps.ENABLE:
            files.write(kept, document, 0o600)
        new = self._store.disk.handlers[step.handler][step.key.version]
        target.write_settings(number, document, step.extension if new.multi_config else "")
        return entry.settings.digest

    def _attempt(self, folder: str, step: Step) -> tuple[int, float]:
        """Return which attempt at a command comes next, and its deadline in seconds since boot, 0 for a new one.

        That of an earlier boot counts whether it left a start record or not: the power may have failed before that was
        on disk, by the command's own doing.
        """
        found = commands.find(folder)
        if found is None or transcript.step_of(found.purpose) != step:
            return 1, 0.0
        was_begun = found.boot != self._boot or read_start(folder) is not None
        return found.attempts + was_begun, self._until(found.purpose, found.boot, commands.last_seen(folder, found))

    def _until(self, purpose: Mapping[str, object], boot: str, at_s: float) -> float:
        """Return the deadline of what was begun in a boot and last seen there at that time, in seconds since this boot.

        The time that it had left there is what it has here.
        """
        until = transcript.until_of(purpose)
        return until if boot == self._boot else clock.since_boot() + max(0.0, until - at_s)

    def _give_up(self, step: Step, record: Record, folder: str) -> None:
        found = commands.find(folder)
        rebooted = found is not None and found.boot != self._boot
        reason = "InterruptedByReboot" if rebooted else "Interrupted"
        what = "the machine was restarted" if rebooted else "the shell that watches it was killed or stopped each time"
        message = f"{step.kind} was begun {_MAX_ATTEMPTS} times and never ended: {what}"
        self._log.error("A command is given up", extension=step.extension, reason=reason)
        self._conclude(step, record, Result(-1, message, reason), clock.since_boot(), "")
        self._discard(step.extension, folder)

    # -- while it runs

    def turn(self) -> None:
        """Do what can be done now; never blocks."""
        self._sweep()
        running, step = self._running, self.step
        if running is None or step is None or (self._ended is not None and self._setbacks.is_waiting(step.extension)):
            return
        try:
            if self._ended is None:
                self._ended = running.end()
            if self._ended is None:
                self._watch_time(running, step)
                return
            why = self._why(running, step, self._ended)
            if why == endings.INTERRUPTED and self._has_succeeded(step):
                # What it says of itself is its end; it was cut off in what came after.
                self._ended, why = Exit(0), ""
            if why == endings.INTERRUPTED:
                self._begin_again(step, f"it was stopped from outside, with exit code {self._ended.code}", running.boot)
                self._running = self.step = None
                return
            if step.kind == steps.UNINSTALL and self._ended.code == 0 and not self._has_ended_leftovers(step):
                return
            self._record(running, step, self._ended, why)
        except CommandLostError as error:
            self._begin_again(step, str(error), running.boot)
        except OSError as error:
            self._setbacks.put_off(step, error)
            if self._ended is not None:
                # The exit code is on disk; it is recorded when there is room.
                return
        self._running = self.step = None

    def _why(self, running: Running, step: Step, ended: Exit) -> str:
        before, now = running.purpose.get("memory_kills"), self._cgroups.memory(step.handler, step.version).kills
        is_of_this_boot = running.boot == self._boot
        # A group that was made anew meanwhile counts from 0 again.
        is_large = is_of_this_boot and isinstance(before, int) and now != before and now > 0
        return endings.reason(
            endings.Evidence(ended.code, ended.was_stopped, is_of_this_boot, running.stopped_for, is_large)
        )

    def _has_succeeded(self, step: Step) -> bool:
        """Tell whether an enable that was cut off had written that it succeeded, since it was begun."""
        record = self._store.disk.records.get(step.extension)
        attempt = record.attempt if record is not None else None
        if (
            step.kind != steps.ENABLE
            or attempt is None
            or attempt[:3] != (step.key.uid, step.key.version, step.key.sequence_number)
        ):
            return False
        several = step.extension if self._takes_several(step) else ""
        path = Handler(self._layout, step.handler, step.version).status_file(step.key.sequence_number, several)
        try:
            found = status.parse(files.read(path, status.MAX_BYTES))
        except (OSError, StatusError):
            return False
        is_new = attempt.before is None or attempt.before != status_files.identity(path)
        return is_new and found is not None and found.status == status.SUCCESS

    def _begin_again(self, step: Step, why: str, boot: str) -> None:
        """Have a command begun again that was cut off; in the same boot after a while: what did it may be at it still.

        Its folder stays: it says how often the command was begun.
        """
        wait_s = self._setbacks.delay(step.extension) if boot == self._boot else 0.0
        self._log.warning(
            "A command was cut off", extension=step.extension, command=step.kind, why=why, again_in_s=wait_s
        )

    def cancel(self) -> None:
        """Have the command end, because the goal no longer wants it."""
        if self._running is not None and self._ended is None and not self._running.stopped_for:
            self._log.info("Cancelling a command", command=self._running.line)
            self._running.stop("Cancelled", self._config.kill_after_s)

    def _watch_time(self, running: Running, step: Step) -> None:
        now = clock.since_boot()
        if running.kill_at and now >= running.kill_at:
            running.kill()
        elif not running.kill_at and now >= running.deadline:
            self._log.warning("A command takes too long; ending it", extension=step.extension, command=running.line)
            running.stop("TimedOut", self._config.kill_after_s)
        if time.monotonic() >= self._trim_at:
            running.note_time(now)
            size = transcript.trim(running)
            fast = size > self._trimmed_bytes + _FAST_BYTES
            self._trimmed_bytes = size
            self._trim_at = time.monotonic() + (_TRIM_FAST_S if fast else _TRIM_SLOW_S)

    # -- its end

    def _has_ended_leftovers(self, step: Step) -> bool:
        """Tell whether nothing of an uninstalled handler runs any more; see to it that it ends."""
        if self._ending is None:
            folder = self._layout.handler(step.handler, step.version)
            found = leftovers.find(folder, self._cgroups.members(step.handler, step.version))
            if found:
                self._log.info("Ending what the handler left", f"[{step.handler}-{step.version}]", processes=len(found))
            self._ending = Ending(found, self._config.kill_after_s)
        if not self._ending.is_over():
            return False
        self._ending = None
        self._cgroups.remove(step.handler, step.version)
        self._forget_limits(step.handler, step.version)
        return True

    def _record(self, running: Running, step: Step, ended: Exit, why: str) -> None:
        record = self._store.disk.records.get(step.extension)
        if record is None:
            # It was set aside as unreadable: what the command was about is in the command's own folder.
            record = records.Record(step.extension, step.handler, step.key, "", clock.rfc3339(time.time()))
        handler = Handler(self._layout, step.handler, step.version)
        code = ended.code
        limit = self._cgroups.memory(step.handler, step.version).limit
        result = transcript.result_of(running, code, handler, why, memory_limit=limit)
        retry = self._conclude(
            step,
            record,
            result,
            self._until(running.purpose, running.boot, ended.at_s),
            transcript.settings_of(running.purpose),
        )
        self._log.info(
            f"Command ended: {step.kind}",
            handler.log_prefix,
            extension=step.extension,
            exit_code=code,
            why=result.reason or "exit",
        )
        try:
            transcript.note(handler, running, code, step.extension if self._takes_several(step) else "")
        except OSError as error:
            self._log.warning("CommandExecution.log can't be written", handler.log_prefix, error=error)
        self._discard(step.extension, running.folder)
        if retry:
            self._setbacks.fail(step, retry, result.message, lifecycle.code_of(step, result), retry=True)

    def _takes_several(self, step: Step) -> bool:
        folder = self._store.disk.handlers.get(step.handler, {}).get(step.version)
        return folder is not None and folder.multi_config

    def _conclude(self, step: Step, record: Record, result: Result, until: float, settings: str) -> str:
        """Record what came of a command; done twice, it ends the same. Raises OSError.

        Returns:
            For which reason it is to be tried again; empty where it is not.
        """
        store, now = self._store, clock.since_boot()
        if record.verdict is not None and record.verdict.retry:
            record = record._replace(verdict=None)
        if settings:
            record = record._replace(settings=settings)
        concluded = lifecycle.conclude(
            record, step, result, store.disk, now=now, ended=clock.rfc3339(time.time()), until=until
        )
        handler = Handler(self._layout, step.handler, step.version)
        folder = store.disk.handlers.get(step.handler, {}).get(step.version)
        if folder is not None and os.path.isdir(handler.folder):
            handler.make()
            if concluded.state is not None:
                store.set_state(step.handler, step.version, concluded.state)
            enabled = concluded.record.enabled
            is_enabled = enabled is not None and enabled.version == step.version
            if folder.multi_config and (step.kind == steps.DISABLE or (step.kind == steps.ENABLE and is_enabled)):
                store.set_extension(step.handler, step.version, step.extension, enabled=is_enabled)
            if concluded.record.handler_status is not None:
                handler.write_status(concluded.record.handler_status, multi_config=folder.multi_config)
        else:
            # Some handlers remove their own folder.
            store.note_folder(step.handler, step.version)
        if concluded.move is not None:
            store.save_move(concluded.move)
        store.save(concluded.record)
        if step.kind == steps.ENABLE and concluded.record.enabled is not None:
            self._drop_old_settings(concluded.record, concluded.move)
            status_files.end(step, handler, step.extension if self._takes_several(step) else "")
        self._setbacks.clear(step.extension)
        return concluded.retry

    def _drop_old_settings(self, record: Record, move: Move | None) -> None:
        """Keep of an extension's settings only what it is enabled with, and would go back to. Raises OSError."""
        was = move.was.get(record.extension) if move is not None else None
        kept = {one.sequence_number for one in (record.enabled, was) if one is not None}
        self._store.drop_settings(record.extension, frozenset(kept))

    def _discard(self, extension: str, folder: str) -> None:
        try:
            self._keep_streams(extension, folder)
            files.remove(folder)
        except OSError as error:
            self._log.warning("A command's folder can't be removed", extension=extension, error=error)

    def _keep_streams(self, extension: str, folder: str) -> None:
        if transcript.keep_streams(folder, self._layout, extension):
            self._sweep_at = self._sweep_at or time.monotonic() + _SWEEP_S

    def _sweep(self) -> None:
        if self._sweep_at and time.monotonic() >= self._sweep_at:
            left = transcript.sweep(self._layout)
            self._sweep_at = time.monotonic() + _SWEEP_S if left else 0.0

"""How every extension stands: what the status is put together from, and what others wait for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import __version__, clock, guest, hold, lifecycle, plan, report, steps, undeclared
from vmext_agent.handler import Handler
from vmext_agent.hold import Held
from vmext_agent.pulse import Pulse

if TYPE_CHECKING:
    from vmext_agent.credential import Credential
    from vmext_agent.disk import Store
    from vmext_agent.executor import Executor
    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.layout import Layout
    from vmext_agent.observer import Observer, Said
    from vmext_agent.records import HandlerStatus, Record
    from vmext_agent.report import Document

#: Others are told of a command that has run for so long, and then at these lengths: not at every second.
_TOLD_MIN = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 720, 1440)


class Seen(NamedTuple):
    """All that a report of an extension depends on: the same again makes the same report."""

    record: Record
    said: Said
    operation: str
    outcome: str
    version: str | None
    handler_status: HandlerStatus | None
    notes: tuple[str, ...]
    held: Held | None
    entry: Entry


class View:
    """Puts the status together. ``refresh`` keeps the outcomes that ``plan`` looks at."""

    def __init__(
        self, layout: Layout, store: Store, observer: Observer, executor: Executor, credential: Credential
    ) -> None:
        self._layout = layout
        self._store = store
        self._observer = observer
        self._executor = executor
        self._credential = credential
        self._pulse = Pulse(layout)
        self._facts: Document = {"agentVersion": __version__, "guest": guest.facts(layout.root)}
        self._taken_at = ""
        self._followed: dict[str, Record] = {}
        self._deadline: float | None = None
        self._told_at: float | None = None
        #: What was looked at of the extensions that have ended.
        self._final: dict[str, tuple[Record, Said]] = {}
        self._made: dict[str, tuple[Seen, Document, int]] = {}

    def take_goal(self, goal: Goal) -> None:
        """Speak of this goal from now on."""
        self._taken_at = clock.rfc3339(time.time())
        names = {entry.name for entry in goal.entries}
        for known in (self._made, self._final):
            for name in [name for name in known if name not in names]:
                del known[name]

    def wait_s(self) -> float | None:
        """Return how long nothing changes by time alone; None for ever."""
        now = clock.since_boot()
        times = [at - now for at in (self._deadline, self._told_at) if at is not None]
        pulse = self._pulse.wait_s()
        if pulse is not None:
            times.append(pulse)
        return max(0.0, min(times)) if times else None

    def refresh(self) -> bool:
        """Look at how every extension stands; return whether one stands otherwise than before."""
        outcomes = self._store.outcomes
        self._deadline, changed = None, False
        for name, record in self._store.disk.records.items():
            said = self._observer.said(name)
            ended = self._final.get(name)
            if ended is not None and ended[0] is record and ended[1] is said:
                # Nothing has changed for it, and nothing changes by time.
                continue
            self._follow(record)
            said = self._observer.said(name)
            found = lifecycle.outcome(record, said.status, self._now(record), said.identity)
            if found != lifecycle.RUNNING:
                self._final[name] = (record, said)
            is_running = record.enabled is not None and found == lifecycle.RUNNING and record.is_enabled
            if is_running and record.enabled is not None and record.enabled.boot == self._store.disk.boot:
                self._deadline = min(self._deadline or record.enabled.until, record.enabled.until)
            if outcomes.get(name) != found:
                outcomes[name] = found
                changed = True
        return changed

    def _now(self, record: Record) -> float:
        """Return the time that an extension's deadline is compared with."""
        enabled = record.enabled
        return clock.since_boot() if enabled is not None and enabled.boot == self._store.disk.boot else 0.0

    def _follow(self, record: Record) -> None:
        """Follow the status file of what is enabled, or of what failed to be."""
        key, name = record.key, record.extension
        folder = self._store.disk.handlers.get(record.handler, {}).get(key.version)
        if key.state != "enabled" or folder is None:
            if self._followed.pop(name, None) is not None:
                self._observer.drop(name)
        elif (record.is_enabled or record.verdict is not None) and self._followed.get(name) is not record:
            before = self._followed.get(name)
            if before is not None and before.attempt != record.attempt:
                # What was read before an enable began is no answer of its.
                self._observer.drop(name)
            self._followed[name] = record
            handler = Handler(self._layout, record.handler, key.version)
            path = handler.status_file(key.sequence_number, name if folder.multi_config else "")
            self._observer.follow(name, handler, path)

    def document(self, goal: Goal) -> Document:
        """Return the status of the whole machine."""
        extensions: dict[str, tuple[Document, int]] = {}
        for refused in goal.refused:
            document = report.refused(refused, self._taken_at)
            extensions[refused.name] = (document, report.size(document))
        self._told_at = None
        busy, evaluation = self._busy(), hold.Evaluation(goal, self._store.disk)
        for entry in goal.entries:
            made = self._extension(entry, evaluation, busy)
            if made is not None:
                extensions[entry.name] = made
        facts: Document = {**self._facts, **self._credential.facts(), "observedGeneration": goal.generation}
        facts["highestSequenceNumber"] = self._store.disk.highest
        others = undeclared.find(goal, self._store.disk)
        if others:
            facts["undeclared"] = report.undeclared(others)
        return report.whole(facts, extensions)

    def _extension(self, entry: Entry, evaluation: hold.Evaluation, busy: Held | None) -> tuple[Document, int] | None:
        disk, name = self._store.disk, entry.name
        record = disk.records.get(name)
        known = self._made.get(name)
        if known is not None and record is not None and self._is_unchanged(entry, record, known[0], busy):
            return known[1], known[2]
        held = evaluation.why(entry) or self._executor.waits_for(name)
        if held is None and busy is not None and self._is_waiting(entry, record):
            held = busy
        if record is None:
            if held is None:
                return None
            document = report.waiting(entry.key, held)
            return document, report.size(document)
        step = self._executor.step
        seen = Seen(
            record,
            self._observer.said(name),
            _operation(step.kind) if step is not None and step.extension == name else "",
            self._store.outcomes.get(name, ""),
            disk.in_force(record.handler),
            self._heartbeat(record),
            self._notes(record, entry),
            held,
            entry,
        )
        if known is None or known[0] != seen:
            document = report.extension(
                record,
                operation=seen.operation,
                said=seen.said.status,
                ended=seen.said.written,
                now=self._now(record),
                identity=seen.said.identity,
                version=seen.version,
                handler_status=seen.handler_status,
                notes=seen.notes,
                held=held,
                key=entry.key if held is not None else None,
                over=clock.rfc3339(clock.wall(record.enabled.until)) if record.enabled is not None else "",
            )
            known = self._made[name] = (seen, document, report.size(document))
        return known[1], known[2]

    def _is_unchanged(self, entry: Entry, record: Record, seen: Seen, busy: Held | None) -> bool:
        """Tell, at little cost, that a report would be the same again: most are, most of the time."""
        disk, step = self._store.disk, self._executor.step
        return (
            seen.record is record
            and seen.entry is entry
            and seen.held is None
            and busy is None
            and record.key == entry.key
            and seen.outcome == self._store.outcomes.get(entry.name, "")
            and seen.said is self._observer.said(entry.name)
            and seen.handler_status is None
            and not seen.operation
            and (step is None or step.extension != entry.name)
            and not entry.depends_on
            and entry.name not in disk.forbidden
            and entry.name not in disk.unreadable
            and entry.handler not in disk.moves
            and seen.version == disk.in_force(entry.handler)
        )

    def _notes(self, record: Record, entry: Entry) -> tuple[str, ...]:
        move, notes = self._store.disk.moves.get(record.handler), self._executor.notes(entry)
        if move is not None and move.failure is not None:
            why = f"going back from {move.target} to {move.source}: {move.failure.message}"
            return (why, *notes)
        return notes

    def _heartbeat(self, record: Record) -> HandlerStatus | None:
        enabled = record.enabled
        if enabled is None:
            return None
        folder = self._store.disk.handlers.get(record.handler, {}).get(enabled.version)
        if folder is None or not folder.heartbeat:
            return None
        return self._pulse.status(Handler(self._layout, record.handler, enabled.version))

    def _is_waiting(self, entry: Entry, record: Record | None) -> bool:
        """Tell whether an entry has work left that another extension's command keeps from being begun."""
        step = self._executor.step
        if step is None or step.extension == entry.name or plan.is_settled(entry, self._store.disk):
            return False
        return record is None or record.key != entry.key or not (record.is_enabled or record.verdict is not None)

    def _busy(self) -> Held | None:
        """Return what others are told of the step that takes time now, once it has taken some."""
        step = self._executor.step
        if step is None:
            return None
        told, following_s = running_for(self._executor.running_s)
        if following_s is not None:
            self._told_at = clock.since_boot() + following_s
        if told is None:
            return None
        return Held("WaitingForExtension", f"waiting for {step.extension}, running {step.kind} for {told} min")


def running_for(seconds: float) -> tuple[int | None, float | None]:
    """Return for how many minutes others are told that a command runs (None: of nothing yet), and for how long."""
    minutes = seconds / 60
    told = max((bound for bound in _TOLD_MIN if bound <= minutes), default=None)
    following = next((bound for bound in _TOLD_MIN if bound > minutes), None)
    return told, None if following is None else (following - minutes) * 60


def _operation(kind: str) -> str:
    """Return the name of what is being done in a status; a step that takes no time has none."""
    return kind.capitalize() if kind in (*steps.COMMANDS, steps.DOWNLOAD) else ""

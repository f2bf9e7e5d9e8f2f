"""A machine made of values: it carries out plans as the executor does, and fails, crashes and reboots where told to."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from unit.agent import goals
from vmext_agent import hold, lifecycle, plan, records, steps
from vmext_agent.goal_state import Entry, Goal
from vmext_agent.lifecycle import Result
from vmext_agent.records import Disk, Folder, Move, Record
from vmext_agent.steps import Step

NEVER = 1e12


class Ran(NamedTuple):
    """A command that ran to its end."""

    boot: str
    goal: int
    step: Step
    code: int
    changes: int


@dataclass
class Machine:
    """The machine; `manifests` are by version, and what a command exits with is by ``<kind> <version>``."""

    manifests: Mapping[str, Folder] = field(default_factory=dict)
    fails: Mapping[str, int] = field(default_factory=dict)
    #: What the extensions say by their status files, by ``<version>``: success where nothing is given.
    says: Mapping[str, str] = field(default_factory=dict)
    draw: random.Random | None = None
    records: dict[str, Record] = field(default_factory=dict)
    handlers: dict[str, dict[str, Folder]] = field(default_factory=dict)
    aside: dict[str, dict[str, Folder]] = field(default_factory=dict)
    moves: dict[str, Move] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    boot: str = goals.BOOT
    highest: int = 0
    incarnation: tuple[str, int] = ("", 0)
    goal: Goal = field(default_factory=goals.goal)
    goals: int = 0
    changes: int = 0
    trace: list[Ran] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    retried: set[str] = field(default_factory=set)
    running: Step | None = None

    @property
    def disk(self) -> Disk:
        aside = {handler: frozenset(versions) for handler, versions in self.aside.items() if versions}
        return Disk(
            self.records, self.handlers, self.boot, aside, self.moves, self.outcomes, {}, self.highest, self.incarnation
        )

    def take(self, goal: Goal) -> None:
        """Work towards a goal from now on; a command that runs and is not wanted any more is cancelled."""
        running, self.running = self.running, None
        if running is not None:
            self.run(running, is_cancelled=plan.is_unwanted(running, goal, self.disk))
        self.goal = goal
        self.goals += 1
        self.retried.clear()
        if goal.last_sequence_number >= self.highest:
            self.highest, self.incarnation = goal.last_sequence_number, (goal.uid, goal.generation)

    def reboot(self) -> None:
        """Begin a new boot; a command that ran has not ended."""
        self.running = None
        self.boot = f"boot-{len(self.trace)}-{self.boot[:20]}"

    def rest(self, limit: int = 80) -> list[str]:
        """Carry out steps until none is left; return what they were."""
        self.done = []
        while self.step():
            assert len(self.done) < limit, f"it does not come to rest: {self.done}"
        return self.done

    def step(self, *, lasts: bool = False) -> bool:
        """Carry out the first step that does not wait; return whether there was one.

        A command that `lasts` is begun only: it ends with the next goal, or is lost with the next boot.
        """
        disk = self.disk
        step = next((one for one in plan.plan(self.goal, disk) if one.extension not in self.retried), None)
        if step is None:
            return False
        entry = self.goal.entry(step.extension)
        record = self.records.get(step.extension)
        is_own = entry is not None and step.key == entry.key and not step.back
        if entry is not None and is_own and (record is None or record.key != entry.key):
            record = self.records[step.extension] = records.begin(record, entry, goals.NOW)
        self.done.append(f"{step.kind} {step.version}")
        if record is not None and step.kind in steps.COMMANDS and not step.back:
            self.records[step.extension] = record._replace(verdict=None)
        if step.kind in steps.COMMANDS and lasts:
            self.running = step
        elif step.kind in steps.COMMANDS:
            self.run(step)
        else:
            assert entry is not None
            self.do(step, entry)
        return True

    def run(self, step: Step, *, is_cancelled: bool = False) -> None:
        """Run a command to its end, and record it, perhaps with a crash of the agent on the way."""
        assert step.version in self.handlers[step.handler], f"{step} runs in a folder that is not there"
        record = self.records.get(step.extension) or Record(step.extension, step.handler, step.key, "", goals.NOW)
        code = -15 if is_cancelled else self.fails.get(f"{step.kind} {step.version}", 0)
        self.trace.append(Ran(self.boot, self.goals, step, code, self.changes))
        reason = lifecycle.CANCELLED if is_cancelled else (lifecycle.BUSY if code == 56 else "")
        for crash in (*self._crashes(), None):
            concluded = lifecycle.conclude(
                record, step, Result(code, "said so", reason), self.disk, now=0.0, ended=goals.NOW, until=1.0
            )
            self._write(step, concluded, crash)
            record = self.records.get(step.extension, record)
        if concluded.retry:
            self.retried.add(step.extension)
        if step.kind == steps.ENABLE and code == 0:
            self.outcomes[step.extension] = self.says.get(step.version, lifecycle.SUCCEEDED)
            self.records[step.extension] = self.records[step.extension]._replace(
                settings=self._settings(step) or self.records[step.extension].settings
            )

    def _settings(self, step: Step) -> str:
        entry = self.goal.entry(step.extension)
        return entry.settings.digest if entry is not None and entry.key == step.key else ""

    def _crashes(self) -> list[int]:
        return [self.draw.randrange(4)] if self.draw is not None and self.draw.random() < 0.3 else []

    def _write(self, step: Step, concluded: lifecycle.Conclusion, crash: int | None) -> None:
        """Write what was concluded; a crash leaves out what comes after its number of writes."""
        folders = self.handlers[step.handler]
        for number, what in enumerate(("state", "extension", "move", "record")):
            if number == crash:
                return
            if what == "state" and concluded.state is not None:
                folders[step.version] = folders[step.version]._replace(state=concluded.state)
            elif what == "extension" and folders[step.version].multi_config:
                enabled = concluded.record.enabled
                is_enabled = enabled is not None and enabled.version == step.version
                names = folders[step.version].enabled
                if step.kind == steps.DISABLE or (step.kind == steps.ENABLE and is_enabled):
                    names = names | {step.extension} if is_enabled else names - {step.extension}
                folders[step.version] = folders[step.version]._replace(enabled=names)
            elif what == "move" and concluded.move is not None:
                self.moves[step.handler] = concluded.move
            elif what == "record":
                self.records[step.extension] = concluded.record

    def do(self, step: Step, entry: Entry) -> None:
        """Carry out a step that takes no time."""
        folders, aside = self.handlers.setdefault(step.handler, {}), self.aside.setdefault(step.handler, {})
        record = self.records[step.extension]
        match step.kind:
            case steps.DOWNLOAD:
                made = self.manifests.get(step.version, Folder(records.NOT_INSTALLED))
                folders[step.version] = made._replace(state=records.NOT_INSTALLED, sha256=entry.package.sha256)
            case steps.BEGIN:
                self.moves[step.handler] = lifecycle.begun(step, entry, self.disk)
                self.changes += 1
            case steps.CARRY:
                self.moves[step.handler] = lifecycle.carried(step, self.moves[step.handler])
            case steps.ASIDE:
                target = self.moves[step.handler].target
                state = lifecycle.after_aside(folders.get(target))
                if state is not None:
                    folders[target] = folders[target]._replace(state=state)
                aside[step.version] = folders.pop(step.version)
            case steps.TAKE_BACK:
                self.moves[step.handler] = lifecycle.taken_back(self.moves[step.handler], entry.version)
            case steps.RESTORE:
                folders[step.version] = aside.pop(step.version)
            case steps.RETURN:
                self._return(step)
            case steps.SETTLE:
                self.moves.pop(step.handler, None)
                aside.clear()
            case steps.REMOVE:
                self.records[step.extension] = lifecycle.discarded(record, folders.pop(step.version, None))
            case steps.REWRITE:
                self.records[step.extension] = record._replace(settings=entry.settings.digest)
            case steps.FORGET:
                kept_by = plan.kept_by(entry, self.goal, self.disk) if entry.key.state == "uninstall" else ""
                self.records[step.extension] = lifecycle.forgotten(record, goals.NOW, kept_by)
            case steps.ACCEPT:
                self.records[step.extension] = record._replace(verdict=None)

    def _return(self, step: Step) -> None:
        move = self.moves[step.handler]
        folders = self.handlers[step.handler]
        for entry in lifecycle.concerned(move, self.goal, self.disk):
            record = self.records.get(entry.name)
            if record is None or record.key != entry.key:
                record = records.begin(record, entry, goals.NOW)
            self.records[entry.name] = lifecycle.returned(record, move, self.disk, goals.NOW)
        if move.target in folders and (move.failure is not None and move.failure.kind):
            folders[move.target] = folders[move.target]._replace(state=records.FAILED_UPGRADE)
        del self.moves[step.handler]

    def held(self, name: str) -> hold.Held | None:
        """Return why an extension is held."""
        entry = self.goal.entry(name)
        assert entry is not None
        return hold.why(entry, self.goal, self.disk)

"""Why an entry is not begun yet, or not at all: pure. What is held changes by what others do, never by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import goal_state
from vmext_agent.records import ENABLED

if TYPE_CHECKING:
    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.records import Disk

_SUCCEEDED, _FAILED, _RUNNING = "Succeeded", "Failed", "Running"


class Held(NamedTuple):
    """Why: ``failed`` where waiting does not help."""

    reason: str
    message: str
    failed: bool = False


class Evaluation:
    """One look at a goal and a disk as they are now: why each entry is held is found once, and remembered.

    Without that memory an extension that depends on all before it costs twice what the one before it does. Entries are
    looked at by level, as the goal has them: what one depends on is known by then, and a long chain costs no stack.
    """

    __slots__ = ("_disk", "_entries", "_found", "_goal", "_refused", "_rest")

    def __init__(self, goal: Goal, disk: Disk) -> None:
        self._goal = goal
        self._disk = disk
        self._entries = {entry.name: entry for entry in goal.entries}
        self._refused = {one.name for one in goal.refused}
        self._rest = iter(goal.entries)
        self._found: dict[str, Held | None] = {}

    def why(self, entry: Entry) -> Held | None:
        """Return why an entry of the goal is held, None where it may be carried out."""
        while entry.name not in self._found:
            following = next(self._rest)
            self._found[following.name] = self._why(following)
        return self._found[entry.name]

    def _why(self, entry: Entry) -> Held | None:
        disk = self._disk
        if is_behind(entry, self._goal, disk):
            message = (
                f"sequence number {entry.key.sequence_number} is not above {disk.highest}, which this machine has taken"
                " already; nothing runs until there is a higher one"
            )
            return Held("SequenceBehind", message)
        if entry.name in disk.forbidden and _runs_code(entry, disk):
            return Held(*disk.forbidden[entry.name], failed=True)
        if entry.key.state != goal_state.ENABLED:
            return None
        if entry.name in disk.unreadable:
            return Held(*disk.unreadable[entry.name], failed=True)
        record = disk.records.get(entry.name)
        if record is not None and record.key == entry.key:
            # It was begun when what it depends on had succeeded; in a new boot of the machine that comes first again.
            if record.enabled is None or record.enabled.boot == disk.boot:
                return None
            return self.waits_for_boot(entry)
        return self._depend(entry)

    def _depend(self, entry: Entry) -> Held | None:
        waits: Held | None = None
        for name in entry.depends_on:
            other = self._entries.get(name)
            if name in self._refused:
                return _failed(name, "can't be carried out as it is written")
            if other is None or other.key.state != goal_state.ENABLED:
                waits = waits or Held("WaitingForDependency", f"waiting for {name}, which this machine does not have")
                continue
            outcome = self._outcome(other)
            if outcome == _FAILED and not other.suppress_failures:
                return _failed(name, "failed")
            if outcome == _RUNNING:
                waits = waits or Held("WaitingForDependency", f"waiting for {name}, on which it depends")
        return waits

    def _outcome(self, entry: Entry) -> str:
        """Return how an entry that others depend on stands."""
        disk = self._disk
        record = disk.records.get(entry.name)
        if record is None or record.key != entry.key:
            held = self.why(entry)
            return _FAILED if held is not None and held.failed else _RUNNING
        if record.verdict is not None:
            return _RUNNING if record.verdict.retry else _FAILED
        if record.is_enabled and record.enabled is not None and record.enabled.boot == disk.boot:
            return disk.outcomes.get(entry.name, _RUNNING)
        return _RUNNING

    def waits_for_boot(self, entry: Entry) -> Held | None:
        """Return which dependency is still to be enabled in this boot, or has not ended since; None for none."""
        disk = self._disk
        for name in entry.depends_on:
            other, record = self._entries.get(name), disk.records.get(name)
            if other is None or other.key.state != goal_state.ENABLED or record is None:
                continue
            is_running = record.is_enabled and disk.outcomes.get(name, _RUNNING) == _RUNNING
            if is_to_be_enabled_again(name, disk) or (is_running and record.verdict is None):
                return Held("WaitingForDependency", f"waiting for {name}, which the machine's new boot enables first")
        return None


def why(entry: Entry, goal: Goal, disk: Disk) -> Held | None:
    """Return why one entry is held, None where it may be carried out; of many, ask one ``Evaluation``."""
    return Evaluation(goal, disk).why(entry)


def is_behind(entry: Entry, goal: Goal, disk: Disk) -> bool:
    """Tell whether an entry is from the past: its number was given before one that the machine has taken.

    A goal state that was deleted or restored from a backup says so by its highest number, or by its generation.
    """
    key, record = entry.key, disk.records.get(entry.name)
    if record is not None and key == record.key:
        return False
    if record is not None and key.sequence_number < record.key.sequence_number:
        return True
    uid, generation = disk.incarnation
    is_older = goal.uid == uid and goal.generation < generation and goal.last_sequence_number <= disk.highest
    return key.sequence_number <= disk.highest and (goal.last_sequence_number < disk.highest or is_older)


def _runs_code(entry: Entry, disk: Disk) -> bool:
    """Tell whether code of the handler would run: what was never installed can be removed under any policy."""
    return entry.key.state != goal_state.ORPHAN and (
        entry.key.state == goal_state.ENABLED or disk.in_force(entry.handler) is not None
    )


def _failed(name: str, what: str) -> Held:
    message = f"{name}, on which it depends, {what}; it is begun as soon as that has succeeded"
    return Held("DependencyFailed", message, failed=True)


def is_to_be_enabled_again(name: str, disk: Disk) -> bool:
    """Tell whether a new boot of the machine asks for an extension's enable, of whatever was enabled of it."""
    record = disk.records.get(name)
    enabled = record.enabled if record is not None else None
    if record is None or enabled is None or enabled.boot == disk.boot or name in disk.forbidden:
        return False
    folder = disk.handlers.get(record.handler, {}).get(enabled.version)
    return folder is not None and folder.state == ENABLED and disk.in_force(record.handler) == enabled.version

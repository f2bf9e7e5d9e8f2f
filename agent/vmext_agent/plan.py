"""Decide what to do: ``plan(goal, disk)`` is pure, and is asked again after every step that was carried out.

A crash anywhere is therefore no special case: what is on disk says what is left. The order of commands is the guest
contract's (sections A4 and 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import goal_state, records
from vmext_agent.records import NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.records import Disk, Folder, Record

#: Kinds of steps that are a command of the handler.
INSTALL, ENABLE, DISABLE, UPDATE, UNINSTALL = "install", "enable", "disable", "update", "uninstall"
COMMANDS = (INSTALL, ENABLE, DISABLE, UPDATE, UNINSTALL)
#: Get and unpack a package.
DOWNLOAD = "download"
#: Copy ``mrseq`` and the status files to the new version.
CARRY = "carry"
#: Remove the folder of a version.
REMOVE = "remove"
#: End with an extension: nothing of it is left to do.
FORGET = "forget"
#: Take note of an entry for which nothing is to be done.
ACCEPT = "accept"

_UNINSTALL_CODE = "AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"
_DISABLE_CODE = "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"
_UPDATING_FROM = "AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"


class Step(NamedTuple):
    """One thing to do.

    Attributes:
        kind: one of the constants of this module.
        extension: whose step it is.
        handler: ``<publisher>.<type>``.
        version: whose folder it is about; commands run there.
        key: the entry's key.
        variables: environment of a command, on top of what every command gets.
        source: of CARRY: the version to copy from.
    """

    kind: str
    extension: str
    handler: str
    version: str
    key: goal_state.Key
    variables: Mapping[str, str] = {}
    source: str = ""


def plan(goal: Goal, disk: Disk) -> list[Step]:
    """Return the steps left from what is on disk to the goal: removals first, each extension's together, by name.

    What is on the machine and not in the goal is left alone.
    """
    steps: list[Step] = []
    for state, make in ((goal_state.UNINSTALL, _remove), (goal_state.ORPHAN, _orphan), (goal_state.ENABLED, _have)):
        for entry in goal.entries:
            record = disk.records.get(entry.name)
            if entry.key.state != state or is_settled(record, entry):
                continue
            own = list(make(entry, record, disk))
            if not own and (record is None or record.key != entry.key):
                own = [_step(ACCEPT, entry, entry.version)]
            steps += own
    return steps


def is_settled(record: Record | None, entry: Entry) -> bool:
    """Tell whether an entry has ended, well or badly, in a way that only another entry changes."""
    if record is None or record.verdict is None or record.verdict.retry or record.key != entry.key:
        return False
    return entry.key.state != goal_state.ENABLED or record.package == records.package_id(entry)


def _step(kind: str, entry: Entry, version: str, variables: Mapping[str, str] | None = None, source: str = "") -> Step:
    return Step(kind, entry.name, entry.handler, version, entry.key, variables or {}, source)


def _have(entry: Entry, record: Record | None, disk: Disk) -> Iterator[Step]:
    folders, wanted = disk.handlers.get(entry.handler, {}), entry.version
    current = disk.in_force(entry.handler)
    move = record.move if record is not None else None
    if move is not None and move.target != wanted:
        move = None
    uninstall_code = move.done.get(UNINSTALL, NOT_RUN) if move is not None else NOT_RUN
    if current == wanted and (move is None or move.source not in folders):
        if folders[wanted].state != records.ENABLED or not _is_enabled_now(entry, record, disk.boot):
            yield _step(ENABLE, entry, wanted, {_UNINSTALL_CODE: uninstall_code})
        return
    if wanted not in folders or folders[wanted].state == records.UNUSABLE:
        yield _step(DOWNLOAD, entry, wanted)
    if move is not None or current is not None:
        source = move.source if move is not None else current or ""
        yield from _change(entry, source, move.done if move is not None else {}, folders)
        if UNINSTALL not in (move.done if move is not None else {}):
            # What it will be is known once it has run: this is the plan as far as it can be told.
            uninstall_code = "0"
    if wanted not in folders or folders[wanted].update_with_install or (move is None and current is None):
        yield _step(INSTALL, entry, wanted, {_UNINSTALL_CODE: uninstall_code})
    yield _step(ENABLE, entry, wanted, {_UNINSTALL_CODE: uninstall_code})


def _is_enabled_now(entry: Entry, record: Record | None, boot: str) -> bool:
    enabled = record.enabled if record is not None else None
    if enabled is None:
        return False
    key = entry.key
    return enabled[:4] == (key.uid, key.version, key.sequence_number, boot)


def _change(entry: Entry, source: str, done: Mapping[str, str], folders: Mapping[str, Folder]) -> Iterator[Step]:
    """Yield what is left of the change from version `source`, up to its removal."""
    wanted = entry.version
    old = folders.get(source)
    if old is not None and old.state == records.ENABLED:
        yield _step(DISABLE, entry, source)
    if old is not None and CARRY not in done:
        yield _step(CARRY, entry, wanted, source=source)
    if UPDATE not in done:
        disable_code = done.get(DISABLE, "0" if old is not None and old.state == records.ENABLED else NOT_RUN)
        downgrade = records.version_key(wanted) < records.version_key(source)
        # Azure's agent runs a downgrade's update in the old folder, and names the target both times.
        variables = {
            "VERSION": wanted,
            _UPDATING_FROM: wanted if downgrade else source,
            _DISABLE_CODE: disable_code,
        }
        yield _step(UPDATE, entry, source if downgrade and old is not None else wanted, variables)
    if old is not None and UNINSTALL not in done:
        yield _step(UNINSTALL, entry, source)
    if old is not None:
        yield _step(REMOVE, entry, source)


def _remove(entry: Entry, record: Record | None, disk: Disk) -> Iterator[Step]:
    # Another extension may have the handler by now; it is not ours to remove then.
    others = any(
        other.handler == entry.handler and other.enabled is not None and name != entry.name
        for name, other in disk.records.items()
    )
    if not others or (record is not None and record.enabled is not None):
        folders = disk.handlers.get(entry.handler, {})
        current = disk.in_force(entry.handler)
        if current is not None:
            if folders[current].state == records.ENABLED:
                yield _step(DISABLE, entry, current)
            yield _step(UNINSTALL, entry, current)
        for version in sorted(folders, key=records.version_key):
            yield _step(REMOVE, entry, version)
    yield _step(FORGET, entry, entry.version)


def _orphan(entry: Entry, _record: Record | None, _disk: Disk) -> Iterator[Step]:
    yield _step(FORGET, entry, entry.version)

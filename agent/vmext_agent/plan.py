"""Decide what to do: ``plan(goal, disk)`` is pure, and is asked again after every step that was carried out.

A crash anywhere is therefore no special case: what is on disk says what is left. The order of commands is the guest
contract's (sections A4 and 4). ``change`` has the steps from one version to another and back, ``hold`` what is not
begun yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmext_agent import change, goal_state, hold, records
from vmext_agent.steps import (
    ACCEPT,
    DISABLE,
    DOWNLOAD,
    ENABLE,
    FORGET,
    INSTALL,
    REMOVE,
    REWRITE,
    SETTLE,
    UNINSTALL,
    UPDATE,
    Step,
    step,
    uninstall_code,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.hold import Evaluation
    from vmext_agent.records import Disk, Record


def plan(goal: Goal, disk: Disk) -> Iterator[Step]:
    """Yield the steps left from what is on disk to the goal: removals first, each extension's together, by level.

    What is on the machine and not in the goal is left alone. Whoever wants the first step pays for no more.
    """
    evaluation = hold.Evaluation(goal, disk)
    # Those that depend on others leave before them.
    for entry in reversed(goal.entries):
        if entry.key.state == goal_state.UNINSTALL and _is_open(entry, disk, evaluation):
            yield from _remove(entry, goal, disk)
    for entry in goal.entries:
        if entry.key.state == goal_state.ORPHAN and _is_open(entry, disk, evaluation):
            yield step(FORGET, entry, entry.version)
    led: set[str] = set()
    for entry in goal.entries:
        if entry.key.state == goal_state.ENABLED:
            own = list(_have(entry, goal, disk, evaluation, leads=entry.handler not in led))
            led.update(one.handler for one in own if one.kind != REWRITE)
            yield from own


def is_settled(entry: Entry, disk: Disk) -> bool:
    """Tell whether an entry has ended, well or badly, in a way that only another entry changes."""
    record = disk.records.get(entry.name)
    if record is None or record.verdict is None or record.verdict.retry or record.key != entry.key:
        return False
    if entry.key.state != goal_state.ENABLED:
        return True
    # A version that failed with one extension of its handler and was got with another one is there for all of them.
    failed = record.verdict.failed_version
    if failed and disk.in_force(entry.handler) == failed:
        return False
    return record.package == records.package_id(entry)


def is_unwanted(running: Step, goal: Goal, disk: Disk) -> bool:
    """Tell whether a goal no longer wants what a command is at; what is missing from it is left alone.

    What takes something away, or puts it back, is seen through: in its middle there is nothing to be left with.
    """
    entry, enables = goal.entry(running.extension), running.kind == ENABLE
    if entry is None or running.key.state != goal_state.ENABLED or entry.key.state == goal_state.ORPHAN:
        return False
    if running.back:
        # Nothing has to be back of what leaves.
        return enables and entry.key.state == goal_state.UNINSTALL
    if entry.key == running.key:
        return False
    if enables:
        return not _comes_before(running, entry, disk)
    if running.kind not in (INSTALL, UPDATE):
        return False
    wanted = [one for one in goal.entries if one.handler == running.handler and one.key.state == goal_state.ENABLED]
    return not any(one.version == running.key.version for one in wanted)


def _comes_before(running: Step, entry: Entry, disk: Disk) -> bool:
    """Tell whether an enable is the one that a new boot asks for before another version: it would only begin anew."""
    record = disk.records.get(entry.name)
    enabled = record.enabled if record is not None else None
    if enabled is None or entry.key.state != goal_state.ENABLED or entry.version == running.version:
        return False
    is_again = enabled[:3] == (running.key.uid, running.key.version, running.key.sequence_number)
    return is_again and hold.is_to_be_enabled_again(entry.name, disk)


def _is_open(entry: Entry, disk: Disk, evaluation: Evaluation) -> bool:
    return not is_settled(entry, disk) and evaluation.why(entry) is None


def _have(entry: Entry, goal: Goal, disk: Disk, evaluation: Evaluation, *, leads: bool) -> Iterator[Step]:
    """Yield the steps of an extension that is wanted; one extension of a handler leads when its version changes."""
    move = disk.moves.get(entry.handler)
    if move is None and _is_quiet(entry, disk):
        return
    if move is not None and not change.has_arrived(entry, move, goal, disk):
        # A change that has begun is carried through, or taken back, whatever else waits.
        if leads:
            yield from change.go_on(entry, move, goal, disk)
        return
    if not _is_open(entry, disk, evaluation):
        yield from _enable_again(entry, disk, evaluation)
        return
    own = list(_towards(entry, goal, disk, leads=leads))
    if not own or own[0].kind != ENABLE:
        # What was enabled is first of all enabled in this boot, however long the rest may take.
        own = list(_enable_again(entry, disk, evaluation)) or own
    record = disk.records.get(entry.name)
    is_noted = record is not None and record.key == entry.key and record.verdict is None
    if not own and not is_noted and disk.in_force(entry.handler) == entry.version:
        own = [step(ACCEPT, entry, entry.version)]
    yield from own


def _is_quiet(entry: Entry, disk: Disk) -> bool:
    """Tell, at little cost, whether an extension is all that is wanted of it: most are, most of the time."""
    record = disk.records.get(entry.name)
    return (
        record is not None
        and record.verdict is None
        and record.key == entry.key
        and record.settings == entry.settings.digest
        and len(disk.handlers.get(entry.handler, ())) == 1
        and _is_enabled_now(entry, record, disk)
    )


def _towards(entry: Entry, goal: Goal, disk: Disk, *, leads: bool) -> Iterator[Step]:
    folders, wanted = disk.handlers.get(entry.handler, {}), entry.version
    move, current = disk.moves.get(entry.handler), disk.in_force(entry.handler)
    record = disk.records.get(entry.name)
    if current == wanted:
        if not _is_enabled_now(entry, record, disk):
            yield step(ENABLE, entry, wanted, uninstall_code(move))
            return
        if record is not None and record.settings != entry.settings.digest:
            yield step(REWRITE, entry, wanted)
        if leads:
            yield from _tidy(entry, goal, disk)
        return
    if not leads:
        # Another extension of this handler brings the version; then this one has only to be enabled.
        return
    if move is not None:
        # The change before this one has come to its end, all but for its traces.
        yield step(SETTLE, entry, move.target)
    folder = folders.get(wanted)
    other_package = folder is not None and folder.sha256 not in ("", entry.package.sha256)
    unfit = folder is None or folder.state in (records.UNUSABLE, records.FAILED_UPGRADE)
    if unfit or (other_package and folder is not None and folder.state == records.NOT_INSTALLED):
        yield step(DOWNLOAD, entry, wanted)
    if current is not None:
        yield from change.begin(entry, current, goal, disk)
        return
    yield step(INSTALL, entry, wanted, uninstall_code(None))
    yield step(ENABLE, entry, wanted, uninstall_code(None))


def _tidy(entry: Entry, goal: Goal, disk: Disk) -> Iterator[Step]:
    """Yield what ends a change whose extensions are all at rest: until then the old version is kept."""
    move = disk.moves.get(entry.handler)
    if move is not None:
        if change.is_at_rest(move, goal, disk):
            yield step(SETTLE, entry, move.target)
        return
    for version in sorted(disk.handlers.get(entry.handler, {}), key=records.version_key):
        if disk.handlers[entry.handler][version].state not in records.IN_FORCE:
            yield step(REMOVE, entry, version)


def _is_enabled_now(entry: Entry, record: Record | None, disk: Disk) -> bool:
    folder = disk.handlers.get(entry.handler, {}).get(entry.version)
    enabled = record.enabled if record is not None else None
    if enabled is None or folder is None or folder.state != records.ENABLED:
        return False
    if folder.multi_config and entry.name not in folder.enabled:
        return False
    key = entry.key
    return enabled[:4] == (key.uid, key.version, key.sequence_number, disk.boot)


def _enable_again(entry: Entry, disk: Disk, evaluation: Evaluation) -> Iterator[Step]:
    """Yield the enable that a new boot of the machine asks for: of what was enabled, which may not be what is wanted.

    It is not held back by what failed since: it has been enabled before, with what it depends on.
    """
    record = disk.records.get(entry.name)
    if record is None or record.enabled is None or record.handler != entry.handler:
        return
    if hold.is_to_be_enabled_again(entry.name, disk) and evaluation.waits_for_boot(entry) is None:
        was = record.enabled
        key = entry.key._replace(uid=was.uid, version=was.version, sequence_number=was.sequence_number)
        yield step(ENABLE, entry, was.version, uninstall_code(None), key=key, back=True)


def _remove(entry: Entry, goal: Goal, disk: Disk) -> Iterator[Step]:
    folders = disk.handlers.get(entry.handler, {})
    move, current = disk.moves.get(entry.handler), disk.in_force(entry.handler)
    versions = sorted(folders, key=records.version_key)
    for version in versions:
        if folders[version].multi_config and entry.name in folders[version].enabled:
            yield step(DISABLE, entry, version)
    if not kept_by(entry, goal, disk):
        for version in versions:
            folder = folders[version]
            if folder.state == records.ENABLED and not folder.multi_config:
                yield step(DISABLE, entry, version)
            touched = move is not None and version == move.target and "update" in move.done
            if folder.state != records.UNUSABLE and (folder.state in records.IN_FORCE or touched):
                wanted = step(UNINSTALL, entry, version)
                if move is None or version == current or wanted.gone_mark not in move.done:
                    yield wanted
        for version in versions:
            yield step(REMOVE, entry, version)
        if move is not None or disk.aside.get(entry.handler):
            yield step(SETTLE, entry, entry.version)
    yield step(FORGET, entry, entry.version)


def kept_by(entry: Entry, goal: Goal, disk: Disk) -> str:
    """Return an extension that keeps a handler from going with another one, empty for none.

    Of a handler that takes several it is any that is wanted or enabled. One that takes a single extension is that of
    the last that was declared for it: what is on the machine and declared nowhere has been taken over.
    """
    folders, own = disk.handlers.get(entry.handler, {}), disk.records.get(entry.name)
    if not folders:
        return ""
    if any(folder.multi_config for folder in folders.values()):
        wanted = {one.name for one in goal.entries if one.handler == entry.handler and one.key.state == "enabled"}
        return min((wanted.union(*(folder.enabled for folder in folders.values()))) - {entry.name}, default="")
    if own is not None and own.enabled is not None:
        return ""
    named = {one.name for one in goal.entries if one.key.state != goal_state.UNINSTALL}
    named |= {one.name for one in goal.refused}
    others = (disk.records.get(name) for name in named - {entry.name})
    having = (one for one in others if one is not None and one.handler == entry.handler and one.enabled is not None)
    return min((one.extension for one in having), default="")

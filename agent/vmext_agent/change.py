"""The steps from one version of a handler to another, and back where the new one fails: pure.

Forward it is the contract's order (A4), except that the old folder is set aside where the contract deletes it. Back
there are three ways, by how far it got: the old version was only disabled (enable it), its uninstall was tried (install
and enable it), or the new one was installed (disable and uninstall that, put the old folder back, install and enable
it). What goes back runs as best it can: the way back does not stop at a command that fails.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vmext_agent import goal_state, records
from vmext_agent.records import NOT_RUN
from vmext_agent.steps import (
    ASIDE,
    BEGIN,
    CARRY,
    DISABLE,
    DOWNLOAD,
    ENABLE,
    INSTALL,
    RESTORE,
    RETURN,
    TAKE_BACK,
    UNINSTALL,
    UPDATE,
    Step,
    step,
    uninstall_code,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.records import Disk, Enabled, Folder, Move

_DISABLE_CODE = "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"
_DISABLE_CODES = "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODES_MULTIPLE_EXTENSIONS"
_UPDATING_FROM = "AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"


def begin(entry: Entry, source: str, goal: Goal, disk: Disk) -> Iterator[Step]:
    """Yield the steps of a change that has not begun: the plan as far as it can be told before any code is known."""
    yield step(BEGIN, entry, entry.version, source=source)
    yield from _forward(entry, new_move(entry, source, disk), goal, disk)


def new_move(entry: Entry, source: str, disk: Disk) -> records.Move:
    """Return a change that begins now. What is enabled of the old version is noted: a way back enables it again."""
    was: dict[str, Enabled] = {}
    for name, record in disk.records.items():
        if record.handler == entry.handler and record.enabled is not None and record.enabled.version == source:
            was[name] = record.enabled
    folder, known = disk.handlers[entry.handler][source], disk.records.get(entry.name)
    if len(was) > 1 and not folder.multi_config:
        # What is declared nowhere was taken over by the one that was enabled last.
        last = max(was, key=lambda name: was[name].sequence_number)
        was = {last: was[last]}
    is_known = known is not None and known.handler_status is not None
    if not was and not is_known and folder.state == records.ENABLED and not folder.multi_config:
        # Nothing is known of who enabled it: its newest settings file says with which number.
        was[entry.name] = records.Enabled("", source, folder.number, "", 0.0)
    return records.Move(entry.handler, source, entry.version, was)


def has_arrived(entry: Entry, move: Move, goal: Goal, disk: Disk) -> bool:
    """Tell whether a change has got as far as the new version's enable, and is still wanted or all enabled."""
    folders = disk.handlers.get(move.handler, {})
    if move.failure is not None or disk.in_force(move.handler) != move.target or move.source in folders:
        return False
    return entry.version == move.target or _is_enabled(move, goal, disk)


def _is_enabled(move: Move, goal: Goal, disk: Disk) -> bool:
    """Tell whether all that was enabled of the old version is enabled of the new one."""
    for name in move.was:
        entry, record = goal.entry(name), disk.records.get(name)
        if entry is None or entry.key.state != goal_state.ENABLED or entry.handler != move.handler:
            continue
        if record is None or record.enabled is None or record.enabled.version != move.target:
            return False
    return disk.handlers[move.handler][move.target].state == records.ENABLED


def is_at_rest(move: Move, goal: Goal, disk: Disk) -> bool:
    """Tell whether nothing more is to come from the new version: only then the old one is let go."""
    for entry in goal.entries:
        if entry.handler != move.handler or entry.key.state != goal_state.ENABLED:
            continue
        record = disk.records.get(entry.name)
        if record is None or record.key != entry.key:
            return False
        if record.verdict is not None and not record.verdict.retry:
            continue
        if not record.is_enabled or disk.outcomes.get(entry.name, "Running") == "Running":
            return False
    return True


def go_on(entry: Entry, move: Move, goal: Goal, disk: Disk) -> Iterator[Step]:
    """Yield what is left of a change that has not arrived; `entry` is the one of its handler's that leads."""
    if move.failure is not None:
        yield from _back(entry, move, goal, disk)
    elif entry.version != move.target:
        yield step(TAKE_BACK, entry, move.target, source=move.source)
    else:
        yield from _forward(entry, move, goal, disk)


def _forward(entry: Entry, move: Move, goal: Goal, disk: Disk) -> Iterator[Step]:
    folders, done = disk.handlers.get(move.handler, {}), move.done
    old, new = folders.get(move.source), folders.get(move.target)
    if done and (new is None or new.state == records.UNUSABLE):
        yield step(DOWNLOAD, entry, move.target)
    runs_old = old is not None and old.state != records.UNUSABLE
    if runs_old and old is not None:
        yield from (one for one in _disables(entry, old, move.source, goal) if one.mark not in done)
    if old is not None and CARRY not in done:
        yield step(CARRY, entry, move.target, source=move.source)
    if UPDATE not in done:
        downgrade = records.version_key(move.target) < records.version_key(move.source)
        # Azure's agent runs a downgrade's update in the old folder, and names the target both times.
        in_old = downgrade and runs_old
        variables = {"VERSION": move.target, _UPDATING_FROM: move.target if downgrade else move.source}
        variables |= _disable_codes(entry, move, old, new, goal)
        yield step(UPDATE, entry, move.source if in_old else move.target, variables, source=move.source)
    if runs_old and UNINSTALL not in done:
        yield step(UNINSTALL, entry, move.source)
    if old is not None:
        yield step(ASIDE, entry, move.source)
    code = uninstall_code(move) if old is None or UNINSTALL in done else {**uninstall_code(None), **_FORETOLD}
    is_installed = new is not None and new.state in records.IN_FORCE
    if not is_installed and (new is None or new.update_with_install or old is None):
        yield step(INSTALL, entry, move.target, code)
    yield step(ENABLE, entry, move.target, code)


#: What an uninstall's code will be is known once it has run: this is the plan as far as it can be told.
_FORETOLD = {"AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE": "0"}


def _disables(entry: Entry, folder: Folder, version: str, goal: Goal, *, back: bool = False) -> Iterator[Step]:
    """Yield a disable for each extension that is enabled in a folder."""
    if not folder.multi_config:
        if folder.state == records.ENABLED:
            yield step(DISABLE, entry, version, back=back)
        return
    for name in sorted(folder.enabled):
        other = goal.entry(name)
        key = other.key if other is not None and other.handler == entry.handler else entry.key
        if name != entry.name:
            # It is this change's step, and no beginning of what the goal wants of the other one.
            key = key._replace(state=goal_state.ENABLED, version=version)
        yield Step(DISABLE, name, entry.handler, version, key, back=back)


def _disable_codes(entry: Entry, move: Move, old: Folder | None, new: Folder | None, goal: Goal) -> dict[str, str]:
    codes = {mark.partition(" ")[2]: code for mark, code in move.done.items() if mark.startswith(f"{DISABLE} ")}
    if old is not None:
        codes = {one.extension: "0" for one in _disables(entry, old, move.source, goal)} | codes
    if new is None or not new.multi_config:
        return {_DISABLE_CODE: codes.get(entry.name, NOT_RUN)}
    names = sorted(set(codes) | {one.name for one in goal.entries if one.handler == entry.handler})
    told = [{"extensionName": name, "exitCode": codes.get(name, NOT_RUN)} for name in names]
    return {_DISABLE_CODES: json.dumps(told)}


def _back(entry: Entry, move: Move, goal: Goal, disk: Disk) -> Iterator[Step]:
    folders, done, failure = disk.handlers.get(move.handler, {}), move.done, move.failure
    assert failure is not None, "only a change that failed goes back"
    new, is_aside = folders.get(move.target), move.source in disk.aside.get(move.handler, ())
    reached_new = INSTALL in done or (new is not None and new.state in records.IN_FORCE)
    if reached_new and new is not None and new.state != records.UNUSABLE and f"back {UNINSTALL}" not in done:
        yield from _disables(entry, new, move.target, goal, back=True)
        yield step(UNINSTALL, entry, move.target, back=True)
    if is_aside:
        yield step(RESTORE, entry, move.source)
    if is_aside or (move.source in folders and folders[move.source].state != records.UNUSABLE):
        yield from _put_back(entry, move, goal, folders.get(move.source))
    yield step(RETURN, entry, move.target, source=move.source)


def _put_back(entry: Entry, move: Move, goal: Goal, old: Folder | None) -> Iterator[Step]:
    """Yield the old version's own commands: how much of it was taken away says which.

    Where none of it was enabled it is installed with the number of its newest settings file, and not enabled.
    """
    done, failure = move.done, move.failure
    first = min(move.was, default=entry.name)
    newest = old.number if old is not None and old.number else entry.key.sequence_number
    number = move.was[first].sequence_number if move.was else newest
    key = entry.key._replace(version=move.source, sequence_number=number)
    tried_uninstall = UNINSTALL in done or (failure is not None and failure.kind == UNINSTALL)
    if tried_uninstall and f"back {INSTALL}" not in done:
        variables = uninstall_code(move, back=True)
        yield step(INSTALL, entry, move.source, variables, key=key, back=True)
    if done.get(f"back {INSTALL}", "0") != "0":
        return
    for name in sorted(move.was):
        other = goal.entry(name)
        if other is not None and other.key.state == goal_state.UNINSTALL:
            continue
        was = move.was[name]
        own = goal_state.Key(was.uid, goal_state.ENABLED, was.sequence_number, move.source)
        made = Step(ENABLE, name, entry.handler, move.source, own, uninstall_code(move, back=True), back=True)
        if made.mark not in done:
            yield made

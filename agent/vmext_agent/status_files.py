"""Status files in a handler's folder, and what of them counts: nothing that was there before an enable first began.

Commands other than enable are given the new sequence number too, and many handlers write a status under it. What an
extension was told to be before a change of version counts on for the same number: the new version's handler finds it in
mrseq and runs nothing. So it is kept beside the status files while the change goes on (``docs/decisions/0025``).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from vmext_agent import files, lifecycle, records, status, steps
from vmext_agent.handler import Handler
from vmext_agent.records import Attempt

if TYPE_CHECKING:
    from collections.abc import Collection

    from vmext_agent.goal_state import Goal
    from vmext_agent.layout import Layout
    from vmext_agent.records import Disk, Folder, Move, Record
    from vmext_agent.steps import Step

_NAME = re.compile(r"(?:[a-z0-9.-]{1,80}\.)?[0-9]{1,19}\.status")
#: In an install folder: status files as they were before a change of version began; an empty one stands for none.
_KEPT = ".vmext-status"


def identity(path: str) -> str:
    """Return what tells one writing of a file from another, empty where there is none.

    It is compared with what was noted in the same boot, never with a clock.
    """
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def begin(record: Record, step: Step, disk: Disk, layout: Layout) -> Record:
    """Return the record of an extension whose command is about to begin; nothing old is in its status file then.

    Done again before the record is saved, it does the same. Raises OSError.
    """
    if step.kind != steps.ENABLE:
        # What it writes under this number is no answer of the enable that may follow.
        return record if record.attempt is None else record._replace(attempt=None)
    key, folder = step.key, disk.handlers[step.handler][step.version]
    handler, name = Handler(layout, step.handler, step.version), step.extension if folder.multi_config else ""
    path, kept = handler.status_file(key.sequence_number, name), _kept(handler, key.sequence_number, name)
    attempt = Attempt(key.uid, key.version, key.sequence_number)
    if record.attempt is not None and record.attempt[:3] == attempt[:3]:
        attempt = attempt._replace(before=identity(path))
    elif os.path.exists(kept):
        _put_back(kept, path)
    elif lifecycle.is_first_attempt(record, step, is_known=_is_known(handler, folder, step, name)):
        _remove(path)
    else:
        attempt = attempt._replace(before=identity(path))
    return record._replace(attempt=attempt)


def end(step: Step, handler: Handler, name: str) -> None:
    """Forget what was kept for an enable that has ended well. Raises OSError."""
    files.remove(_kept(handler, step.key.sequence_number, name))


def keep(move: Move, disk: Disk, layout: Layout) -> None:
    """Keep what the extensions of a version say before its change begins. Raises OSError."""
    handler = Handler(layout, move.handler, move.source)
    several = disk.handlers[move.handler][move.source].multi_config
    numbers = {(name, was.sequence_number) for name, was in move.was.items()}
    for name, record in disk.records.items():
        if record.handler == move.handler and record.attempt is not None and record.attempt.version == move.source:
            numbers.add((name, record.attempt.sequence_number))
    files.remove(f"{handler.folder}/{_KEPT}")
    for name, number in sorted(numbers):
        own = name if several else ""
        _keep(handler, number, own, _content(handler.status_file(number, own)))


def carry(move: Move, goal: Goal, disk: Disk, layout: Layout) -> None:
    """Copy the old version's status files to the new one, but for those of numbers that are new. Raises OSError."""
    old, new = (Handler(layout, move.handler, version) for version in (move.source, move.target))
    folders = disk.handlers[move.handler]
    without: set[str] = set()
    for entry in goal.entries:
        if entry.handler != move.handler:
            continue
        number = entry.key.sequence_number
        own_old, own_new = (entry.name if folders[one].multi_config else "" for one in (move.source, move.target))
        if os.path.exists(_kept(old, number, own_old)):
            _keep(new, number, own_new, _content(_kept(old, number, own_old)))
        else:
            paths = (old.status_file(number, own_old), new.status_file(number, own_new))
            without.update(os.path.basename(path) for path in paths)
    _copy_all(old.status_folder, new.status_folder, without)


def _copy_all(source: str, target: str, without: Collection[str]) -> None:
    try:
        names = os.listdir(source)
    except FileNotFoundError:
        return
    for name in names:
        content = _content(f"{source}/{name}") if _NAME.fullmatch(name) and name not in without else b""
        if content:
            files.write(f"{target}/{name}", content, 0o600)


def _kept(handler: Handler, number: int, name: str) -> str:
    return f"{handler.folder}/{_KEPT}/{os.path.basename(handler.status_file(number, name))}"


def _keep(handler: Handler, number: int, name: str, content: bytes) -> None:
    files.make_folder(f"{handler.folder}/{_KEPT}", 0o700)
    files.write(_kept(handler, number, name), content, 0o600)


def _content(path: str) -> bytes:
    """Return what is in a status file; what can't be read as one says nothing."""
    try:
        return files.read(path, status.MAX_BYTES)
    except OSError:
        return b""


def _put_back(kept: str, path: str) -> None:
    content = _content(kept)
    if content:
        files.write(path, content, 0o600)
    else:
        _remove(path)


def _remove(path: str) -> None:
    if os.path.lexists(path):
        files.remove(path)
        # Else it could be there again after a loss of power, and the attempt noted.
        files.sync_folder(os.path.dirname(path))


def _is_known(handler: Handler, folder: Folder, step: Step, name: str) -> bool:
    """Tell, by its folder alone, whether a handler has enabled an extension with this number."""
    is_enabled = folder.state == records.ENABLED and (not name or name in folder.enabled)
    return is_enabled and os.path.exists(handler.settings_file(step.key.sequence_number, name))

"""What is on the machine and declared nowhere in its goal: pure. It is reported and left alone.

It comes with an image or an old snapshot, stays behind on purpose (an orphan), or was there before the agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import goal_state, records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.goal_state import Goal
    from vmext_agent.records import Disk, Folder

#: As many are reported at most (``crds/goalstates.yaml``).
MOST = 32


class Undeclared(NamedTuple):
    """A handler, or one extension of a handler that takes several.

    Attributes:
        handler: ``<publisher>.<type>``.
        version: of it on the machine.
        extension: whose it is, as far as is known; empty for nobody's.
        several: the handler takes several extensions, and it is this one alone that is declared nowhere.
    """

    handler: str
    version: str
    extension: str = ""
    several: bool = False


def find(goal: Goal, disk: Disk) -> tuple[Undeclared, ...]:
    """Return what is on the machine and not in a goal, in a fixed order and no more than ``MOST``."""
    names = {one.name for one in goal.entries} | {one.name for one in goal.refused}
    handlers = {one.handler for one in goal.entries}
    # What an entry that can't be read is about is known from before.
    handlers |= {disk.records[one.name].handler for one in goal.refused if one.name in disk.records}
    found: list[Undeclared] = []
    for handler in sorted(disk.handlers.keys() | disk.aside.keys()):
        folders = disk.handlers.get(handler, {})
        version = _version(handler, folders, disk)
        if version is None or not goal_state.is_handler(handler, version):
            continue
        enabled = frozenset[str]().union(*(folder.enabled for folder in folders.values() if folder.multi_config))
        if enabled:
            others = sorted(name for name in enabled - names if goal_state.is_extension(name))
            found += [Undeclared(handler, version, name, several=True) for name in others]
        elif handler not in handlers:
            found.append(Undeclared(handler, version, _owner(handler, disk, names)))
    return tuple(found[:MOST])


def _version(handler: str, folders: Mapping[str, Folder], disk: Disk) -> str | None:
    """Return the version that counts as being there: one that was only downloaded, or taken back, is not."""
    unusable = [version for version, folder in folders.items() if folder.state == records.UNUSABLE]
    return disk.in_force(handler) or max(
        (*unusable, *disk.aside.get(handler, ())), key=records.version_key, default=None
    )


def _owner(handler: str, disk: Disk, names: set[str]) -> str:
    """Return the extension that had a handler last, as far as records tell."""
    known = [one for one in disk.records.values() if one.handler == handler and one.extension not in names]
    known = [one for one in known if goal_state.is_extension(one.extension)]
    last = max(known, key=lambda one: (one.enabled is not None, one.key.sequence_number), default=None)
    return "" if last is None else last.extension

"""What is on the machine, read once at start and kept in step with every change: the ``on_disk`` of ``plan``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from vmext_agent import files, records
from vmext_agent.errors import ManifestError
from vmext_agent.handler import Handler
from vmext_agent.records import Disk, Failure, Folder, Move

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmext_agent.goal_state import Goal
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.records import Record

_NAME = r"([A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*)-([0-9]+(?:\.[0-9]+)*)"
_FOLDER = re.compile(_NAME)
_ASIDE = re.compile(r"\.aside-" + _NAME)
#: What a download, an unpacking or a removal leaves behind that was cut short.
_SCRAP = re.compile(r"\.(?:unpacking|removed)-.+|.+__[0-9.]+\.zip")
_RECORD_LIMIT = 1 << 20


class Store:
    """The agent's records and the handlers' folders."""

    def __init__(self, layout: Layout, boot: str, log: Log) -> None:
        self._layout = layout
        self._log = log
        self._records: dict[str, Record] = {}
        self._handlers: dict[str, dict[str, Folder]] = {}
        self._aside: dict[str, frozenset[str]] = {}
        self._moves: dict[str, Move] = {}
        #: Extensions of which memory knows more than the disk.
        self._unsaved: set[str] = set()
        #: How extensions stand by their status files, and what policy says of them: kept by whoever knows.
        self.outcomes: dict[str, str] = {}
        self.forbidden: dict[str, tuple[str, str]] = {}
        self.unreadable: dict[str, tuple[str, str]] = {}
        self.disk = Disk(self._records, self._handlers, boot, self._aside, self._moves, self.outcomes, self.forbidden)
        self.disk = self.disk._replace(unreadable=self.unreadable)

    def load(self) -> None:
        """Read everything. What can't be read is set aside; then the handlers' folders tell what is installed."""
        layout = self._layout
        for folder in (layout.handlers, layout.own):
            files.make_folder(folder, 0o700)
        for folder in (layout.extensions, layout.moves, layout.settings, layout.commands, layout.output):
            files.make_folder(folder, 0o700)
        for name in sorted(os.listdir(layout.handlers)):
            if _SCRAP.fullmatch(name):
                files.remove(f"{layout.handlers}/{name}")
            found, aside = _FOLDER.fullmatch(name), _ASIDE.fullmatch(name)
            if found is not None:
                self.note_folder(found[1], found[2])
            if aside is not None:
                self._aside[aside[1]] = self._aside.get(aside[1], frozenset()) | {aside[2]}
        for record in self._load(layout.extensions, records.load):
            self._records[record.extension] = record
        for move in self._load(layout.moves, records.load_move):
            self._moves[move.handler] = move
        self._find_lost_moves()
        self._remember_highest()

    def _load(self, folder: str, parse: Callable[[bytes, str], T]) -> list[T]:
        found: list[T] = []
        for name in sorted(os.listdir(folder)):
            path = f"{folder}/{name}"
            if not name.endswith(".json"):
                continue
            try:
                found.append(parse(files.read(path, _RECORD_LIMIT), name[: -len(".json")]))
            except (OSError, ValueError) as error:
                self._log.error(
                    "A record can't be read; what is installed is taken from the handlers' folders",
                    file=path,
                    error=error,
                    kept=_set_aside(path),
                )
        return found

    def _find_lost_moves(self) -> None:
        """Take up the changes of version of which only the folder that was set aside is left: they go back."""
        for handler, versions in self._aside.items():
            if handler in self._moves or not versions:
                continue
            source = max(versions, key=records.version_key)
            target = self.disk.in_force(handler) or max(
                self._handlers.get(handler, {}), key=records.version_key, default=source
            )
            self._log.warning(
                "The record of a change of version is lost; the old version is put back",
                handler=handler,
                version=source,
            )
            failure = Failure("", "", "StateLost", 0, "its record was lost")
            self._moves[handler] = Move(handler, source, target, {}, {}, failure)

    def _remember_highest(self) -> None:
        numbers = [record.key.sequence_number for record in self._records.values()]
        numbers += [folder.number for folders in self._handlers.values() for folder in folders.values()]
        self.disk = self.disk._replace(highest=max(numbers, default=0))

    def take_goal(self, goal: Goal) -> bool:
        """Take note of a goal's numbers; return False where it is from the past, and nothing new may come of it."""
        uid, generation = self.disk.incarnation
        is_older = goal.uid == uid and goal.generation < generation
        if goal.last_sequence_number < self.disk.highest or (
            is_older and goal.last_sequence_number == self.disk.highest
        ):
            return False
        self.disk = self.disk._replace(highest=goal.last_sequence_number, incarnation=(goal.uid, goal.generation))
        return True

    def is_newest(self, goal: Goal) -> bool:
        """Tell whether a goal is the newest that was taken."""
        return self.disk.incarnation == (goal.uid, goal.generation)

    def note_folder(self, handler: str, version: str) -> None:
        """Take in a handler's folder as it is now, also that it is gone or can't be used any more."""
        found = Handler(self._layout, handler, version)
        if not os.path.isdir(found.folder):
            self._handlers.get(handler, {}).pop(version, None)
            return
        try:
            manifest = found.manifest()
        except (ManifestError, OSError) as error:
            self._log.warning("A handler's folder can't be used", found.log_prefix, error=error)
            self._handlers.setdefault(handler, {})[version] = Folder(records.UNUSABLE)
            return
        self._handlers.setdefault(handler, {})[version] = Folder(
            found.state(),
            manifest.update_with_install,
            manifest.continue_on_update_failure,
            manifest.multi_config,
            found.enabled_extensions() if manifest.multi_config else frozenset(),
            found.package(),
            found.highest_number(),
            manifest.reports_heartbeat,
        )

    def set_state(self, handler: str, version: str, state: str) -> None:
        """Record a handler's state. Raises OSError."""
        folder = self._handlers[handler][version]
        if folder.state != state:
            Handler(self._layout, handler, version).write_state(state)
            self._handlers[handler][version] = folder._replace(state=state)

    def set_extension(self, handler: str, version: str, extension: str, *, enabled: bool) -> None:
        """Record whether an extension of a handler that takes several is enabled. Raises OSError."""
        folder = self._handlers[handler][version]
        Handler(self._layout, handler, version).write_extension_state(extension, enabled=enabled)
        names = folder.enabled | {extension} if enabled else folder.enabled - {extension}
        self._handlers[handler][version] = folder._replace(enabled=names)

    def set_aside(self, handler: str, version: str) -> None:
        """Put a version's folder out of the way. Raises OSError."""
        Handler(self._layout, handler, version).set_aside()
        self._handlers.get(handler, {}).pop(version, None)
        self._aside[handler] = self._aside.get(handler, frozenset()) | {version}

    def restore(self, handler: str, version: str) -> None:
        """Put a version's folder back to its place. Raises OSError."""
        Handler(self._layout, handler, version).restore()
        self._aside[handler] = self._aside.get(handler, frozenset()) - {version}
        self.note_folder(handler, version)

    def drop_folder(self, handler: str, version: str) -> None:
        """Remove a version of a handler. Raises OSError."""
        Handler(self._layout, handler, version).remove()
        self._handlers.get(handler, {}).pop(version, None)

    def drop_aside(self, handler: str) -> None:
        """Remove what was set aside of a handler. Raises OSError."""
        for version in sorted(self._aside.pop(handler, frozenset())):
            Handler(self._layout, handler, version).remove(aside=True)

    def save_move(self, move: Move) -> None:
        """Record a change of version. Raises OSError."""
        if self._moves.get(move.handler) != move:
            files.write(self._layout.move(move.handler), records.dump(move), 0o600)
            self._moves[move.handler] = move

    def drop_move(self, handler: str) -> None:
        """Forget a change of version: it has come to its end. Raises OSError."""
        files.remove(self._layout.move(handler))
        files.sync_folder(self._layout.moves)
        self._moves.pop(handler, None)

    def save(self, record: Record) -> None:
        """Record what is known of an extension. Raises OSError; it is remembered until the agent ends even then."""
        if self._records.get(record.extension) == record and record.extension not in self._unsaved:
            return
        self.remember(record)
        files.write(self._layout.record(record.extension), records.dump(record), 0o600)
        self._unsaved.discard(record.extension)

    def remember(self, record: Record) -> None:
        """Know of an extension for as long as the agent runs."""
        self._records[record.extension] = record
        self._unsaved.add(record.extension)

    def drop_record(self, extension: str) -> None:
        """Forget an extension."""
        self._records.pop(extension, None)
        self._unsaved.discard(extension)
        self.outcomes.pop(extension, None)
        try:
            files.remove(self._layout.record(extension))
            self.drop_settings(extension)
        except OSError as error:
            self._log.warning("A record can't be removed", extension=extension, error=error)

    def drop_settings(self, extension: str, keep: frozenset[int] = frozenset()) -> None:
        """Remove the settings kept of an extension, but for those of these sequence numbers. Raises OSError."""
        for name in os.listdir(self._layout.settings):
            own, _, number = name.rpartition(".")
            if own == extension and not (number.isdecimal() and int(number) in keep):
                files.remove(f"{self._layout.settings}/{name}")


def _set_aside(path: str) -> str:
    number = 1
    while os.path.exists(f"{path}.corrupt-{number}"):
        number += 1
    aside = f"{path}.corrupt-{number}"
    os.rename(path, aside)
    return aside


if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

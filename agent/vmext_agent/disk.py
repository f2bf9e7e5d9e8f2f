"""What is on the machine, read once at start and kept in step with every change: the ``on_disk`` of ``plan``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from vmext_agent import files, records
from vmext_agent.errors import ManifestError
from vmext_agent.handler import Handler
from vmext_agent.records import Disk, Folder

if TYPE_CHECKING:
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.records import Record

_FOLDER = re.compile(r"([A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*)-([0-9]+(?:\.[0-9]+)*)")
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
        #: Extensions of which memory knows more than the disk.
        self._unsaved: set[str] = set()
        self.disk = Disk(self._records, self._handlers, boot)

    def load(self) -> None:
        """Read everything. What can't be read is set aside; then the handlers' folders tell what is installed."""
        for folder in (self._layout.handlers, self._layout.own):
            files.make_folder(folder, 0o700)
        for folder in (self._layout.extensions, self._layout.commands, self._layout.output):
            files.make_folder(folder, 0o700)
        for name in sorted(os.listdir(self._layout.handlers)):
            if _SCRAP.fullmatch(name):
                files.remove(f"{self._layout.handlers}/{name}")
            found = _FOLDER.fullmatch(name)
            if found is not None:
                self.note_folder(found[1], found[2])
        for name in sorted(os.listdir(self._layout.extensions)):
            if name.endswith(".json"):
                self._load_record(f"{self._layout.extensions}/{name}")

    def _load_record(self, path: str) -> None:
        try:
            record = records.load(files.read(path, _RECORD_LIMIT), os.path.basename(path)[: -len(".json")])
        except ValueError as error:
            aside = _set_aside(path)
            self._log.error(
                "A record can't be read; what is installed is taken from the handlers' folders",
                file=path,
                error=error,
                kept=aside,
            )
            return
        self._records[record.extension] = record

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
        folder = Folder(found.state(), manifest.update_with_install, manifest.continue_on_update_failure)
        self._handlers.setdefault(handler, {})[version] = folder

    def set_state(self, handler: str, version: str, state: str) -> None:
        """Record a handler's state. Raises OSError."""
        folder = self._handlers[handler][version]
        Handler(self._layout, handler, version).write_state(state)
        self._handlers[handler][version] = folder._replace(state=state)

    def drop_folder(self, handler: str, version: str) -> None:
        """Remove a version of a handler. Raises OSError."""
        Handler(self._layout, handler, version).remove()
        self._handlers.get(handler, {}).pop(version, None)

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
        try:
            files.remove(self._layout.record(extension))
        except OSError as error:
            self._log.warning("A record can't be removed", extension=extension, error=error)


def _set_aside(path: str) -> str:
    number = 1
    while os.path.exists(f"{path}.corrupt-{number}"):
        number += 1
    aside = f"{path}.corrupt-{number}"
    os.rename(path, aside)
    return aside

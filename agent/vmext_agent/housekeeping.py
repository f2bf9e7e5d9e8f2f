"""What would grow for ever on a machine is capped: hourly, whatever handlers leave behind and nobody collects."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from vmext_agent import files, rotation
from vmext_agent.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.records import Disk, Folder

_EVERY_S = 3600.0
#: Telemetry that handlers write for Azure: so many files of each handler are kept, the newest.
_EVENTS = 100
#: Settings and status files of each extension: so many are kept, those with the highest numbers.
_NUMBERED = 32
#: What could not be read, of each file.
_CORRUPT = 3
_NAME = re.compile(r"(?P<whose>(?:[a-z0-9.-]{1,80}\.)?)(?P<number>[0-9]{1,18})\.(?P<kind>settings|status)")


class Housekeeping:
    """Tidies up once an hour, and at the start."""

    def __init__(self, layout: Layout, log: Log) -> None:
        self._layout = layout
        self._log = log
        self._next = 0.0

    def wait_s(self) -> float:
        """Return how long until the next time."""
        return max(0.0, self._next - time.monotonic())

    def turn(self, disk: Disk, *, is_idle: bool) -> None:
        """Tidy up, if it is time. Nothing of it is worth a failure.

        Args:
            disk: what is on the machine.
            is_idle: no command runs: one may be about to use the key that its settings name.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        removed = sum(self._remove(path) for path in self._too_much(disk.handlers))
        if is_idle:
            removed += self._remove_keys(disk)
        if removed:
            self._log.info("Tidied up", removed=removed)

    def _remove_keys(self, disk: Disk) -> int:
        try:
            paths = list(rotation.outlived(self._layout, disk, time.time()))
        except (IdentityError, OSError) as error:
            self._log.warning("Earlier keys can't be looked at", error=error)
            return 0
        return sum(self._remove(path) for path in paths)

    def _remove(self, path: str) -> bool:
        try:
            files.remove(path)
        except OSError as error:
            self._log.warning("A file can't be removed", file=path, error=error)
            return False
        return True

    def _too_much(self, handlers: Mapping[str, Mapping[str, Folder]]) -> Iterator[str]:
        for handler, versions in handlers.items():
            yield from _oldest(f"{self._layout.handler_log(handler)}/events", _EVENTS)
            for version in versions:
                for folder in ("config", "status"):
                    yield from _lowest(f"{self._layout.handler(handler, version)}/{folder}")
        for folder in (self._layout.extensions, self._layout.moves):
            yield from _corrupt(folder)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _oldest(folder: str, kept: int) -> list[str]:
    """Return all but the newest files of a folder."""
    paths = [f"{folder}/{name}" for name in _names(folder)]
    if len(paths) <= kept:
        return []
    return sorted(paths, key=_age)[:-kept]


def _age(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _lowest(folder: str) -> Iterator[str]:
    """Yield all but the highest numbers of each extension's files in a folder."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in _names(folder):
        match = _NAME.fullmatch(name)
        if match is not None:
            found.setdefault((match["whose"], match["kind"]), []).append((int(match["number"]), name))
    for numbered in found.values():
        for _, name in sorted(numbered)[:-_NUMBERED]:
            yield f"{folder}/{name}"


def _corrupt(folder: str) -> Iterator[str]:
    """Yield all but the newest copies of each file that could not be read."""
    found: dict[str, list[str]] = {}
    for name in _names(folder):
        original, mark, _ = name.partition(".corrupt-")
        if mark:
            found.setdefault(original, []).append(f"{folder}/{name}")
    for paths in found.values():
        yield from sorted(paths, key=_age)[:-_CORRUPT]

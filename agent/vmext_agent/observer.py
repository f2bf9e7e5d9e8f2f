"""What extensions say of themselves: their status files, read the moment they are written."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import clock, files, status, status_files
from vmext_agent.errors import StatusError
from vmext_agent.inotify import Inotify

if TYPE_CHECKING:
    from vmext_agent.handler import Handler
    from vmext_agent.log import Log
    from vmext_agent.status import ExtensionStatus

#: A file found malformed is looked at again after this long: it may be being written.
_SECOND_LOOK_S = 1.0
#: How often files are looked at where the kernel has no inotify to give.
_LOOK_S = 1.0
_MALFORMED = 1012


class Said(NamedTuple):
    """A status, None for none yet, when its file was written (RFC 3339), and which writing of it that is."""

    status: ExtensionStatus | None
    written: str
    identity: str = ""


_NOTHING = Said(None, "")


class Observer:
    """Follows one status file for each extension. ``descriptor`` is readable when one of them may have changed."""

    def __init__(self, log: Log) -> None:
        self._inotify = Inotify()
        self.descriptor = self._inotify.descriptor
        self._log = log
        self._paths: dict[str, str] = {}
        self._said: dict[str, Said] = {}
        self._malformed: dict[str, float] = {}
        self._unwatched: set[str] = set()
        self._next_look = 0.0
        if self.descriptor < 0:
            log.warning("The kernel has no inotify instance left; status files are looked at every second")

    def said(self, extension: str) -> Said:
        """Return what an extension says, by the file that is followed."""
        return self._said.get(extension, _NOTHING)

    def follow(self, extension: str, handler: Handler, path: str) -> None:
        """Follow a status file of a handler's from now on, and read it."""
        old = self._paths.get(extension)
        if old != path:
            self.drop(extension)
            self._paths[extension] = path
            if not self._watch(extension):
                self._unwatched.add(extension)
        elif not os.path.exists(handler.status_folder):
            self._said.pop(extension, None)
            return
        self._read(extension)

    def drop(self, extension: str) -> None:
        """Follow no file of an extension any more."""
        path = self._paths.pop(extension, None)
        self._said.pop(extension, None)
        self._malformed.pop(extension, None)
        self._unwatched.discard(extension)
        if path is not None:
            folder = os.path.dirname(path)
            if all(os.path.dirname(other) != folder for other in self._paths.values()):
                self._inotify.forget(folder)

    def look(self) -> None:
        """Read what has changed. Called whenever the descriptor is readable or ``wait_s`` is over."""
        now = time.monotonic()
        due = {extension for extension, at in self._malformed.items() if at <= now}
        if self._unwatched and self._next_look <= now:
            due |= self._unwatched
            self._next_look = now + _LOOK_S
            self._unwatched = {one for one in self._unwatched if not self._watch(one)}
        if self.descriptor >= 0:
            changed = self._inotify.changed()
            for extension, path in self._paths.items():
                if changed is None or os.path.split(path) in changed:
                    due.add(extension)
                if extension not in self._unwatched and not self._inotify.is_watched(os.path.dirname(path)):
                    # Some handlers make their folder anew.
                    due.add(extension)
                    if not self._watch(extension):
                        self._unwatched.add(extension)
        for extension in due:
            self._read(extension)

    def wait_s(self) -> float | None:
        """Return how long nothing has to be looked at unless the descriptor says so; None for ever."""
        times = list(self._malformed.values())
        if self._unwatched:
            times.append(self._next_look)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _watch(self, extension: str) -> bool:
        return self._inotify.watch(os.path.dirname(self._paths[extension]))

    def _read(self, extension: str) -> None:
        path = self._paths[extension]
        try:
            # Before it is read: what is written meanwhile is looked at again.
            identity = status_files.identity(path)
            data = files.read(path, status.MAX_BYTES)
            written = clock.rfc3339(os.stat(path).st_mtime)
            found, before = status.parse(data), self.said(extension)
            if found is not None and found.is_final and found != before.status:
                # It may run only once: what others are told of it must outlive a loss of power.
                files.sync(path)
            if (
                found is not None
                and before.status is not None
                and found._replace(time=before.status.time) == before.status
            ):
                # It ended when it was first told, however often it is written anew.
                written = before.written
        except FileNotFoundError:
            # One that was removed does not take back what it said.
            self._malformed.pop(extension, None)
            return
        except (StatusError, OSError) as error:
            self._take_malformed(extension, path, str(error))
            return
        self._malformed.pop(extension, None)
        self._said[extension] = Said(found, written, identity)

    def _take_malformed(self, extension: str, path: str, why: str) -> None:
        now = time.monotonic()
        first = self._malformed.setdefault(extension, now + _SECOND_LOOK_S)
        if now < first:
            return
        del self._malformed[extension]
        message = f"[ExtensionStatusError] Failed to read the status file {path} (code {_MALFORMED}): {why}"
        try:
            written = clock.rfc3339(os.lstat(path).st_mtime)
        except OSError:
            return
        found = status.ExtensionStatus(status.ERROR, code=_MALFORMED, message=message)
        said = Said(found, written, status_files.identity(path))
        if self.said(extension).status != said.status:
            self._log.warning("A status file is malformed", extension=extension, file=path, error=why)
            self._said[extension] = said

"""Folders watched by the kernel (inotify through ctypes: the standard library has no other way)."""

from __future__ import annotations

import ctypes
import os
import struct

_CLOSE_WRITE = 0x8
_MOVED_TO = 0x80
_OVERFLOW = 0x4000
#: The folder is gone, and the watch with it.
_IGNORED = 0x8000
_MOST_READS = 64
_EVENT = struct.Struct("iIII")


class Inotify:
    """One inotify instance. ``descriptor`` is readable when something happened; -1 where the kernel gives none."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: dict[int, str] = {}

    def watch(self, folder: str) -> bool:
        """Watch a folder for files written or put there; return False where that can't be had."""
        if self.descriptor < 0:
            return False
        if folder in self._folders.values():
            return True
        number: int = self._libc.inotify_add_watch(self.descriptor, os.fsencode(folder), _CLOSE_WRITE | _MOVED_TO)
        if number >= 0:
            self._folders[number] = folder
        return number >= 0

    def is_watched(self, folder: str) -> bool:
        """Tell whether a folder is watched: one that is removed is so no longer, also when it is made again."""
        return folder in self._folders.values()

    def forget(self, folder: str) -> None:
        """Watch a folder no longer."""
        for number in [number for number, watched in self._folders.items() if watched == folder]:
            self._libc.inotify_rm_watch(self.descriptor, number)
            del self._folders[number]

    def changed(self) -> set[tuple[str, str]] | None:
        """Return (folder, file name) of what changed; None where the kernel lost count, and anything may have."""
        found: set[tuple[str, str]] = set()
        complete = True
        # Somebody who writes all the time is not to keep the agent here.
        for _ in range(_MOST_READS):
            try:
                data = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                break
            offset = 0
            while offset < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = data[offset : offset + length].rstrip(b"\0")
                offset += length
                if mask & _OVERFLOW:
                    complete = False
                elif mask & _IGNORED:
                    self._folders.pop(number, None)
                elif number in self._folders:
                    found.add((self._folders[number], os.fsdecode(name)))
        return found if complete else None

    def close(self) -> None:
        """Give it back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

"""Who holds the locks of the machine's package managers: looked at, never taken, nor made.

dpkg, apt and rpm lock files by fcntl, of which the kernel names the holder (F_GETLK); flock would not see them. dnf and
zypper keep the number of their process in a file.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import NamedTuple

from vmext_agent import files, text

#: Lock files by manager, as they are locked by fcntl.
_LOCKED = (
    ("dpkg", "var/lib/dpkg/lock-frontend"),
    ("dpkg", "var/lib/dpkg/lock"),
    ("apt", "var/lib/apt/lists/lock"),
    ("apt", "var/cache/apt/archives/lock"),
    ("rpm", "var/lib/rpm/.rpm.lock"),
    ("rpm", "usr/lib/sysimage/rpm/.rpm.lock"),
)
#: Files that hold a process' number by manager.
_NUMBERED = (
    ("yum", "run/yum.pid"),
    ("dnf", "var/cache/dnf/metadata_lock.pid"),
    ("dnf", "var/cache/dnf/download_lock.pid"),
    ("dnf", "var/lib/dnf/rpmdb_lock.pid"),
    ("zypper", "run/zypp.pid"),
)
#: struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")
_INTERPRETERS = ("python", "perl", "ruby", "sh", "bash", "dash")


class Holder(NamedTuple):
    """A package manager at work; ``pid`` is 0 and ``program`` empty where the kernel does not tell."""

    manager: str
    pid: int
    program: str
    path: str


def holder(root: str = "/") -> Holder | None:
    """Return who is at work with packages, None for nobody."""
    base = root.rstrip("/")
    for manager, name in _LOCKED:
        path = f"{base}/{name}"
        pid = _locked_by(path)
        if pid is not None:
            return Holder(manager, pid, _program(pid), path)
    for manager, name in _NUMBERED:
        path = f"{base}/{name}"
        pid = _number_in(path)
        if pid and os.path.exists(f"/proc/{pid}"):
            return Holder(manager, pid, _program(pid), path)
    return None


def _locked_by(path: str) -> int | None:
    """Return the process that has a lock on a file, 0 for one that can't be named, None for none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    # A holder in another PID namespace has number 0 here, a lock of an open file description -1.
    return None if kind == fcntl.F_UNLCK else max(0, pid)


def _number_in(path: str) -> int:
    try:
        found = files.read(path, 64).strip()
    except OSError:
        return 0
    return int(found) if found.isdigit() and len(found) < 10 else 0


def _program(pid: int) -> str:
    """Return a process' name: of a script, the script's."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
    except OSError:
        return ""
    names = [text.decode(word.rpartition(b"/")[2])[:64] for word in words if word and not word.startswith(b"-")]
    if len(names) > 1 and names[0].rstrip("0123456789.") in _INTERPRETERS:
        return names[1]
    return names[0] if names else ""

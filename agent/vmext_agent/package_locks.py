"""Who holds the locks of the machine's package managers: looked at, never taken, nor made.

dpkg, apt, rpm, dnf 5 and tdnf lock files by fcntl, of which the kernel names the holder (F_GETLK); flock would not see
them. dnf 4, yum and zypper keep the number of their process in a file.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from typing import NamedTuple

from vmext_agent import clock, files, process, text

#: Lock files by manager, as they are locked by fcntl.
_LOCKED = (
    ("dpkg", "var/lib/dpkg/lock-frontend"),
    ("dpkg", "var/lib/dpkg/lock"),
    ("apt", "var/lib/apt/lists/lock"),
    ("apt", "var/cache/apt/archives/lock"),
    ("rpm", "var/lib/rpm/.rpm.lock"),
    ("rpm", "usr/lib/sysimage/rpm/.rpm.lock"),
    ("dnf", "run/dnf/rpmtransaction.lock"),
    ("tdnf", "run/.tdnf-instance-lockfile"),
)
#: Files that hold a process' number by manager.
_NUMBERED = (
    ("yum", "run/yum.pid"),
    ("dnf", "var/cache/dnf/metadata_lock.pid"),
    ("dnf", "var/cache/dnf/download_lock.pid"),
    ("dnf", "var/lib/dnf/rpmdb_lock.pid"),
    ("zypper", "run/zypp.pid"),
    ("zypper", "run/zypp-rpm.pid"),
)
#: struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")
_INTERPRETERS = ("python", "platform-python", "perl", "ruby", "sh", "bash", "dash")
#: A file's time and a process' start come from two clocks.
_CLOCKS_DIFFER_S = 2.0


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
        if pid and (_is_named(pid, manager) or _has_written(pid, path)):
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


def _is_named(pid: int, manager: str) -> bool:
    """Tell whether a process is the manager by its name, which a clock that was set does not change."""
    return process.start_time(pid) is not None and manager in _program(pid).lower()


def _has_written(pid: int, path: str) -> bool:
    """Tell whether a process lives, and did already when the file was written.

    Some of these files outlive a boot, and by then their number can belong to anybody.
    """
    started = process.start_time(pid)
    if started is None:
        return False
    began = time.time() - clock.since_boot() + started / os.sysconf("SC_CLK_TCK")
    try:
        return began <= os.stat(path).st_mtime + _CLOCKS_DIFFER_S
    except OSError:
        return False


def _program(pid: int) -> str:
    """Return a process' name: of a script, the script's; never what an interpreter was given as text."""
    words = _read(f"/proc/{pid}/cmdline").split(b"\0")
    name = _shown(words[0] or _read(f"/proc/{pid}/comm"))
    if name.rstrip("0123456789.") not in _INTERPRETERS:
        return name
    for word in words[1:]:
        if word and not word.startswith(b"-"):
            return _shown(word)
        if not word.startswith(b"--") and any(letter in word for letter in (b"c", b"e", b"E")):
            # What follows is a program's text, which may hold anything.
            return name
    return name


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def _shown(word: bytes) -> str:
    return " ".join(text.decode(word.rpartition(b"/")[2]).split())[:64]

"""The kernel's calls that the standard library of Python 3.11 does not have.

Each raises SetupError with the step in words, since a bare EPERM of mount(2) says nothing.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from simulated_guest.errors import SetupError

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000

NO_SUID = 0x2
NO_DEVICES = 0x4
NO_EXEC = 0x8
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x4_0000

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_SYS_MOUNT_SETATTR = 442  # one number on every architecture; glibc has a name for it since 2.36 only
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_libc.unshare.argtypes = (ctypes.c_int,)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def unshare(flags: int, what: str) -> None:
    """Move this process (for CLONE_NEWPID: its next children) into new namespaces."""
    _check(_libc.unshare(flags), f"make a new {what} namespace")


def mount(source: str, target: Path, kind: str, *, flags: int = 0, options: str = "") -> None:
    """Mount a file system of this kind."""
    result = _libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, os.fsencode(options))
    _check(result, f"mount {kind} on {target}")


def resize(target: Path, size_bytes: int) -> None:
    """Give a mounted tmpfs another size."""
    result = _libc.mount(None, os.fsencode(target), None, _MS_REMOUNT, f"size={size_bytes}".encode())
    _check(result, f"give {target} a size of {size_bytes} bytes")


def bind(source: Path, target: Path, *, recursive: bool = False, read_only: bool = False) -> None:
    """Show a file or folder a second time; `recursive` takes what is mounted below it along."""
    flags = _MS_BIND | (_MS_REC if recursive else 0)
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None), f"bind {source} to {target}")
    if read_only:
        attributes = _MountAttributes(set=_MOUNT_ATTR_RDONLY)
        result = _libc.syscall(
            ctypes.c_long(_SYS_MOUNT_SETATTR),
            ctypes.c_int(_AT_FDCWD),
            ctypes.c_char_p(os.fsencode(target)),
            ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        )
        _check(result, f"make {target} read-only")


def keep_mounts_to_ourselves() -> None:
    """Stop mounts made in this namespace from spreading to others, and others' to it."""
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "make the mounts private")


def unmount(target: Path) -> None:
    """Detach what is mounted there, and all that is mounted below it, whoever still uses it."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"unmount {target}")


def change_root(root: Path) -> None:
    """Make a mount point the root of this mount namespace and let go of the old root."""
    os.chdir(root)
    # Both at the same place: the old root ends up above the new one, from where it is detached.
    _check(_libc.pivot_root(b".", b"."), f"make {root} the root")
    _check(_libc.umount2(b".", _MNT_DETACH), "let go of the old root")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Name the machine of this UTS namespace."""
    _check(_libc.sethostname(name.encode(), len(name)), f"set the host name to {name}")


def die_with_parent(signal: int) -> None:
    """Ask for this signal when the thread that forked this process ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal), "tie this process to its parent")


def name_process(name: str) -> None:
    """Set the name that `ps` and /proc/<pid>/comm show; 15 bytes of it count."""
    _check(_libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode())), "name this process")


def _check(result: int, step: str) -> None:
    if result != 0:
        raise SetupError(f"can't {step}: {os.strerror(ctypes.get_errno())}")

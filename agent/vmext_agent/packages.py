"""The one-shot process that gets a package ready: download, check, unpack beside, rename into place.

It is a process of its own because what it needs (zip, hashes, a trust store) would stay in the agent's memory for ever.
Its instructions come by standard input as JSON, its answer is one line of JSON on standard output:
``{}``, or ``{"reason": ..., "message": ..., "code": ...}``.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files, process
from vmext_agent.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A zip unpacks to about this many times its size; more room than that is not asked for beforehand.
_UNPACKED = 3
#: A package has some files, and a handler makes some more.
_INODES = 64


class Instructions(NamedTuple):
    """What to get, and where to put it: ``folder`` is the handler's, which does not exist yet."""

    urls: Sequence[str]
    sha256: str
    size_bytes: int
    zip_path: str
    folder: str
    connect_s: float
    stall_s: float
    proxy: Mapping[str, str]
    root: str


def get_ready(instructions: Instructions) -> None:
    """Get a package and unpack it. Raises PackageError; nothing stays behind then."""
    from vmext_agent import archive, download, policy

    rules = policy.load(instructions.root)
    parent, name = os.path.split(instructions.folder)
    staging = f"{parent}/.unpacking-{name}"
    try:
        files.make_folder(parent, 0o700)
        files.remove(staging)
        _check_room(parent, instructions.size_bytes * (1 + _UNPACKED), _INODES)
        limits = download.Limits(
            instructions.connect_s,
            instructions.stall_s,
            instructions.proxy,
            lambda url: bool(rules.allowed_urls((url,))),
        )
        download.fetch(instructions.urls, instructions.sha256, instructions.size_bytes, instructions.zip_path, limits)
        files.make_folder(staging, 0o700)
        archive.unpack(instructions.zip_path, staging, lambda size, count: _check_room(parent, size, count + _INODES))
        # What an earlier try left in its place never got as far as a manifest.
        files.remove(instructions.folder)
        os.chmod(staging, 0o755)  # noqa: S103 -- as Azure's agent has it; what is secret in it has modes of its own
        files.sync_all(staging)
        os.rename(staging, instructions.folder)
        files.sync_folder(parent)
    except OSError as error:
        if not files.is_full(error):
            raise PackageError("DownloadFailed", f"the package can't be written: {error}") from None
        raise PackageError("DiskFull", f"no room for the package: {error}; free some space under {parent}") from None
    finally:
        files.remove(staging)
        files.remove(instructions.zip_path)


def _check_room(folder: str, needed: int, inodes: int) -> None:
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < needed:
        raise OSError(errno.ENOSPC, f"{free} bytes are free, about {needed} are needed", folder)
    # Some file systems have no fixed number of inodes, and say 0.
    if room.f_files and room.f_favail < inodes:
        raise OSError(errno.ENOSPC, f"{room.f_favail} inodes are free, about {inodes} are needed", folder)


def main(parent: int) -> int:
    """Carry out the instructions on standard input; return the exit code, which is 0 where an answer was given.

    `parent` is who wants it: two at once would be in each other's way, so this one ends with it.
    """
    process.die_with_parent(parent)
    instructions = Instructions(**json.load(sys.stdin))
    answer: dict[str, object] = {}
    try:
        get_ready(instructions)
    except PackageError as error:
        answer = {"reason": error.reason, "message": str(error), "code": error.code}
    print(json.dumps(answer), flush=True)
    return 0

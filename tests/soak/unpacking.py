"""What the agent does with a package: unpack it below a folder, and remove it again in the end."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable

from soak import forge
from soak.samples import COMMANDS
from vmext_agent import archive, files
from vmext_agent.errors import PackageError

EXPECTED = (PackageError, OSError)
#: Inodes that the agent leaves free besides those that a package says it needs (``packages``).
_SPARE_FILES = 64
#: The agent removes a handler from deeper in its stack than a package was unpacked from, by no more than these frames.
_AGENT_FRAMES = 20


def samples() -> list[bytes]:
    """Return packages that are as they should be."""
    manifest = json.dumps([{"handlerManifest": COMMANDS}]).encode()
    contents = [{"HandlerManifest.json": manifest, "bin/run": b"#!/bin/sh\n"}, {"a/HandlerManifest.json": manifest}]
    return [forge.zipped([forge.Part(name, data, method=8) for name, data in one.items()]) for one in contents]


def feed(data: bytes, folder: str) -> None:
    """Take a package as bytes. Raises PackageError and OSError, anything else where it could do harm."""
    inside = f"{folder}/outer/handler"
    with open(f"{folder}/package.zip", "wb") as file:
        file.write(data)
    files.make_folder(inside, 0o700)
    told = 0

    def check_room(size: int, count: int) -> None:
        nonlocal told
        told = count
        if size > 64 << 20:
            raise OSError(errno.ENOSPC, "no room")

    try:
        archive.unpack(f"{folder}/package.zip", inside, check_room)
        _check_files(inside, told + _SPARE_FILES)
    finally:
        _from_below(_AGENT_FRAMES, lambda: files.remove(f"{folder}/outer"))
    assert os.listdir(folder) == ["package.zip"], "something is beside the handler's folder"


def _from_below(frames: int, act: Callable[[], None]) -> None:
    """Act with so many more frames on the stack: the agent removes a handler from deeper than it is unpacked from."""
    if frames:
        _from_below(frames - 1, act)
    else:
        act()


def _check_files(folder: str, told: int) -> None:
    """Check what was unpacked: no links, no devices, no set-id bits, nothing that others may write, no surprise."""
    total = count = 0
    left = [folder]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                assert entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False), "a special file"
                assert not found.st_mode & 0o7022, "a file that sets ids, or that others may write"
                total += found.st_size if entry.is_file(follow_symlinks=False) else 0
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
    assert total <= 80 << 20, "more was unpacked than there was said to be"
    assert count <= told, "more files and folders were made than room was asked for"

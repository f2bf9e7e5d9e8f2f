"""The zip of a package: the same bytes for the same content, on every machine and at every time."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

# The earliest time that a zip can hold.
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def write(target: BinaryIO, files: Mapping[PurePosixPath, Path]) -> None:
    """Write a zip of the files, in their order.

    Nothing but names and contents has a say in it: not times, modes and umask of the source, and, since entries are
    stored, not the version of a compression library either. Packages are small; who serves large ones can compress
    the transfer.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files.items():
            content = path.read_bytes()
            entry = zipfile.ZipInfo(str(name), _TIME)
            entry.create_system = _UNIX
            # By the content, because the mode of a checkout depends on who made it.
            mode = 0o755 if content.startswith(b"#!") else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, content)

"""Unpack a zip that may be anybody's: every entry is checked before a byte is written, and counted while it is.

Runs in the one-shot process only: the modules it needs are too large to keep.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING

from vmext_agent import manifest
from vmext_agent.errors import ManifestError, PackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_ENTRIES = 20_000
MAX_BYTES = 1 << 30
MAX_DEPTH = 64
MAX_RATIO = 200
#: Below this size nothing is called a bomb: small files of one letter are no danger.
RATIO_FREE_BYTES = 1 << 20
_CHUNK = 1 << 18
_ENCRYPTED = 1
#: Their memory is bounded. What a package says of LZMA's is up to 4 GiB, taken before a byte is checked.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def unpack(zip_path: str, folder: str, check_room: Callable[[int, int], None]) -> None:
    """Unpack a zip into a folder, and put its manifest at the folder's root. Raises PackageError, OSError.

    Every file gets u+x: zips carry no useful modes (contract, 14.2). `check_room` is asked, before anything is
    written, with the bytes and the number of files and folders that the zip says it has; it raises OSError.
    """
    try:
        with zipfile.ZipFile(zip_path) as archive:
            entries = archive.infolist()
            check_room(sum(entry.file_size for entry in entries), _check(entries))
            written = 0
            for entry in entries:
                written = _extract(archive, entry, folder, written)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise PackageError("PackageInvalid", f"the package is not a usable zip: {error}") from None
    except RuntimeError as error:
        # What zipfile raises for encryption that the flags did not tell of.
        raise PackageError("PackageInvalid", f"the package can't be unpacked: {error}") from None
    _place_manifest(folder, [entry.filename for entry in entries])


def _check(entries: Sequence[zipfile.ZipInfo]) -> int:
    """Return how many files and folders there will be. Raises PackageError."""
    if len(entries) > MAX_ENTRIES:
        raise PackageError("PackageInvalid", f"the package has {len(entries)} entries; {MAX_ENTRIES} are allowed")
    files: set[str] = set()
    folders: set[str] = set()
    total = 0
    for entry in entries:
        name = entry.filename
        is_folder = name.endswith("/")
        parts = (name[:-1] if is_folder else name).split("/")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if name.startswith("/") or "\\" in name or "\0" in entry.orig_filename:
            raise _refused(name, "is an absolute path, or has a character that no name needs")
        if any(part in ("", ".", "..") for part in parts) or len(name.encode("utf-8", "replace")) > 4096:
            raise _refused(name, "leads out of the package by .. or has an empty part, or is too long")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(name, "is a link, a device or another special file")
        if len(parts) > MAX_DEPTH:
            raise _refused(name, f"is more than {MAX_DEPTH} folders deep")
        if entry.flag_bits & _ENCRYPTED:
            raise _refused(name, "is encrypted")
        if entry.compress_type not in _METHODS:
            raise _refused(name, f"is compressed by method {entry.compress_type}; deflate is what everybody can read")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        own = "/".join(parts)
        if own in files or (own in folders and not is_folder) or above & files:
            raise _refused(name, "is there twice, as a file and a folder or as two files")
        folders |= above
        (folders if is_folder else files).add(own)
        total += entry.file_size
        if total > MAX_BYTES:
            raise _refused(name, f"brings the unpacked size above {MAX_BYTES} bytes")
        if entry.file_size > RATIO_FREE_BYTES and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise _refused(name, f"is compressed more than {MAX_RATIO}:1")
        if len(files) + len(folders) > MAX_ENTRIES:
            raise _refused(name, f"brings the number of files and folders above {MAX_ENTRIES}")
    return len(files) + len(folders)


def _refused(name: str, rule: str) -> PackageError:
    shown = name.encode("ascii", "backslashreplace").decode()[:200]
    return PackageError("PackageInvalid", f"entry {shown!r} of the package {rule}")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: str, written: int) -> int:
    path = f"{folder}/{entry.filename}"
    if entry.filename.endswith("/"):
        os.makedirs(path, mode=0o755, exist_ok=True)
        return written
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    size = 0
    with archive.open(entry) as source, os.fdopen(os.open(path, flags, 0o755), "wb") as target:
        while True:
            # What the zip says of sizes is not to be trusted: the bytes are counted.
            chunk = source.read(_CHUNK)
            if not chunk:
                break
            size += len(chunk)
            if written + size > MAX_BYTES:
                raise _refused(entry.filename, f"brings the unpacked size above {MAX_BYTES} bytes")
            if size > RATIO_FREE_BYTES and size > MAX_RATIO * max(entry.compress_size, 1):
                raise _refused(entry.filename, f"is compressed more than {MAX_RATIO}:1")
            target.write(chunk)
    os.chmod(path, 0o744 | (entry.external_attr >> 16 & 0o755))
    return written + size


def _place_manifest(folder: str, names: Sequence[str]) -> None:
    """Check the first manifest found anywhere, and copy it to the root (contract, 1)."""
    root = f"{folder}/{manifest.FILE}"
    found = next((name for name in sorted(names, key=lambda name: name.count("/")) if _is_manifest(name)), None)
    if found is None:
        raise PackageError("PackageInvalid", f"{manifest.FILE} not found in the package", -1)
    with open(f"{folder}/{found}", "rb") as file:
        data = file.read(1 << 20)
    try:
        manifest.parse(data, found)
    except ManifestError as error:
        raise PackageError("PackageInvalid", str(error), error.code) from None
    if found != manifest.FILE:
        with open(root, "wb") as file:
            file.write(data)


def _is_manifest(name: str) -> bool:
    return name.rpartition("/")[2] == manifest.FILE

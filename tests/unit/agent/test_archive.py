"""Zips that may be anybody's."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vmext_agent import archive
from vmext_agent.errors import PackageError

COMMANDS = {f"{name}Command": name for name in ("install", "enable", "disable", "uninstall", "update")}
MANIFEST = json.dumps([{"handlerManifest": COMMANDS}]).encode()


def unpack(tmp_path: Path, content: bytes) -> Path:
    package, folder = tmp_path / "package.zip", tmp_path / "folder"
    package.write_bytes(content)
    folder.mkdir()
    archive.unpack(str(package), str(folder), lambda _size, _count: None)
    return folder


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in entries:
            made.writestr(name, content, compression)
    return buffer.getvalue()


def special(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    return entry


def test_a_handler_is_unpacked_and_all_its_files_can_be_run(tmp_path: Path) -> None:
    folder = unpack(tmp_path, zipped(("HandlerManifest.json", MANIFEST), ("bin/run", b"#!/bin/sh"), ("empty/", b"")))

    assert (folder / "bin/run").read_bytes() == b"#!/bin/sh"
    assert stat.S_IMODE((folder / "bin/run").stat().st_mode) == 0o744
    assert (folder / "empty").is_dir()


def test_modes_of_a_zip_never_let_others_write_or_set_ids(tmp_path: Path) -> None:
    entry = special("run", stat.S_IFREG)
    entry.external_attr = (stat.S_IFREG | 0o6777) << 16

    folder = unpack(tmp_path, zipped(("HandlerManifest.json", MANIFEST), (entry, b"")))

    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o755


def test_a_manifest_below_the_root_is_copied_to_it(tmp_path: Path) -> None:
    folder = unpack(tmp_path, zipped(("inside/HandlerManifest.json", MANIFEST)))

    assert (folder / "HandlerManifest.json").read_bytes() == MANIFEST


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/x", "a//x", "./x", "a/./x", "a\\..\\x", "x" * 5000, "a/..", ".."],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageError, match="entry ") as caught:
        unpack(tmp_path, zipped(("HandlerManifest.json", MANIFEST), (name, b"x")))

    assert caught.value.reason == "PackageInvalid"
    assert not list((tmp_path / "folder").iterdir())
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(PackageError, match="'odd' of the package is a link, a device"):
        unpack(tmp_path, zipped(("HandlerManifest.json", MANIFEST), (special("odd", kind), b"/etc/passwd")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_names_that_are_there_twice_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(PackageError, match="is there twice"):
        unpack(tmp_path, zipped(("HandlerManifest.json", MANIFEST), *((name, b"") for name in names)))


def encrypted(content: bytes) -> bytes:
    made = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.rindex(signature)
        made[at + offset] |= 1
    return bytes(made)


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is encrypted"):
        unpack(tmp_path, encrypted(zipped(("HandlerManifest.json", MANIFEST))))


def test_a_bomb_is_refused_by_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="'zeros' of the package is compressed more than 200:1"):
        unpack(tmp_path, zipped(("zeros", bytes(4 << 20)), ("HandlerManifest.json", MANIFEST)))


def test_a_bomb_that_lies_about_its_size_stops_early(tmp_path: Path) -> None:
    content = bytearray(zipped(("zeros", bytes(64 << 20))))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature)
        struct.pack_into("<I", content, at + offset, 1000)

    with pytest.raises(PackageError):
        unpack(tmp_path, bytes(content))

    assert sum(path.stat().st_size for path in (tmp_path / "folder").iterdir()) < 2 << 20


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    entries = [(f"f{number}", b"") for number in range(archive.MAX_ENTRIES + 1)]

    with pytest.raises(PackageError, match="20001 entries; 20000 are allowed"):
        unpack(tmp_path, zipped(*entries, compression=zipfile.ZIP_STORED))


def wrong_checksum() -> bytes:
    content = bytearray(zipped(("HandlerManifest.json", MANIFEST), ("data", b"right"), compression=zipfile.ZIP_STORED))
    at = content.index(b"right")
    content[at : at + 5] = b"wrong"
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [lambda: b"", lambda: b"PK", lambda: b"<html></html>", lambda: zipped(("a", b"b"))[:-30], wrong_checksum],
)
def test_what_is_no_whole_zip_is_refused(tmp_path: Path, content: Callable[[], bytes]) -> None:
    with pytest.raises(PackageError) as caught:
        unpack(tmp_path, content())

    assert caught.value.reason == "PackageInvalid"


def without_enable(command: str | None) -> bytes:
    return json.dumps([{"handlerManifest": {**COMMANDS, "enableCommand": command}}]).encode()


@pytest.mark.parametrize(
    ("manifest", "code", "words"),
    [
        (None, -1, "HandlerManifest.json not found"),
        (b"{", 1003, "Malformed manifest file"),
        (b"\xff\xfe", 1003, "Malformed manifest file"),
        (b"[" * 100_000, 1003, "Malformed manifest file"),
        (b"{}", -1, "not a JSON array"),
        (b"[]", -1, "handlerManifest is not an object"),
        (without_enable(None), -1, "enableCommand is missing"),
        (without_enable("  "), -1, "enableCommand is no comm"),
    ],
)
def test_a_package_without_a_usable_manifest_is_refused(
    tmp_path: Path, manifest: bytes | None, code: int, words: str
) -> None:
    entries = [] if manifest is None else [("HandlerManifest.json", manifest)]

    with pytest.raises(PackageError, match=words) as caught:
        unpack(tmp_path, zipped(("run", b""), *entries))

    assert (caught.value.reason, caught.value.code) == ("PackageInvalid", code)

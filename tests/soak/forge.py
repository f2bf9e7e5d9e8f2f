"""Zips that no honest program would make: any name, any kind, any lie in any field of a header."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from collections.abc import Sequence
from typing import NamedTuple

NAMES = (
    "HandlerManifest.json", "bin/run", "bin/", "a", "a/b", "a/", "A", "../x", "../../x", "a/../../x", "/x", "//x",
    "./x", "a//b", "a/./b", "..", ".", "", "/", "a\\..\\x", "..\\x", "C:/x", "C:\\x", "a\0b", "\0",
    "x/HandlerManifest.json", "x" * 255, "x" * 256, "x" * 4096, "d/" * 40 + "f", "d/" * 100 + "f", "d/" * 950 + "f",
    "d/" * 980 + "f", "d/" * 2040 + "f", "é", "\udcff", "\ud800", "a\n", ".vmext-package", "config/HandlerState",
    "status", "heartbeat.log", "HandlerEnvironment.json",
)  # fmt: skip
KINDS = (0, stat.S_IFREG, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
#: Fields of a header, in the order of the central one, and their format.
FIELDS = {
    "made_by": "H", "version": "H", "flags": "H", "method": "H", "time": "H", "date": "H", "crc": "I", "packed": "I",
    "size": "I", "name_length": "H", "extra_length": "H", "comment_length": "H", "disk": "H", "internal": "H",
    "external": "I", "offset": "I",
}  # fmt: skip
_LOCAL_FIELDS = tuple(FIELDS)[1:11]
#: What a field says that lies.
LIES = (0, 1, 2, 8, 9, 12, 14, 93, 97, 99, 1 << 11, 1 << 15, 0xFFFF, 1 << 24, (1 << 31) - 1, 1 << 31, 0xFFFFFFFF)
_IS_UTF8 = 1 << 11


class Part(NamedTuple):
    """One entry of a zip.

    Attributes:
        name: with any character.
        content: of the file.
        kind: file type bits of its mode.
        mode: permission bits, also those that set ids.
        method: how it is compressed.
        lies: fields that say something else than what is so.
        spoilt: a byte of the compressed content is another one.
    """

    name: str
    content: bytes = b""
    kind: int = 0
    mode: int = 0o644
    method: int = zipfile.ZIP_STORED
    lies: tuple[tuple[str, int], ...] = ()
    spoilt: bool = False


def zipped(parts: Sequence[Part]) -> bytes:
    """Return a zip of these parts."""
    local, central = bytearray(), bytearray()
    for part in parts:
        name = part.name.encode("utf-8", "surrogatepass")[:0xFFFF]
        packed, crc = _packed(part)
        fields = {
            "made_by": 3 << 8 | 20, "version": 20, "flags": _IS_UTF8, "method": part.method, "time": 0, "date": 33,
            "crc": crc, "packed": len(packed), "size": len(part.content), "name_length": len(name), "extra_length": 0,
            "comment_length": 0, "disk": 0, "internal": 0, "external": (part.kind | part.mode) << 16,
            "offset": len(local),
        }  # fmt: skip
        for field, value in part.lies:
            fields[field] = value & (0xFFFF if FIELDS[field] == "H" else 0xFFFFFFFF)
        central += b"PK\x01\x02" + _header(fields, tuple(FIELDS)) + name
        local += b"PK\x03\x04" + _header(fields, _LOCAL_FIELDS) + name + packed
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, len(parts), len(parts), len(central), len(local), 0)
    return bytes(local + central + end)


def _header(fields: dict[str, int], names: Sequence[str]) -> bytes:
    return struct.pack("<" + "".join(FIELDS[name] for name in names), *(fields[name] for name in names))


def _packed(part: Part) -> tuple[bytes, int]:
    """Return the content as the method has it, and its checksum."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        entry = zipfile.ZipInfo("n")
        made.writestr(entry, part.content, part.method)
    packed = bytearray(buffer.getvalue()[31 : 31 + entry.compress_size])
    if part.spoilt and packed:
        packed[len(packed) // 2] ^= 0x55
    return bytes(packed), entry.CRC


def random_parts(draw: random.Random, manifest: bytes) -> list[Part]:
    """Return some parts, half of them honest."""
    parts = [Part("HandlerManifest.json", manifest, method=draw.choice(METHODS))] if draw.random() < 0.8 else []
    for _ in range(draw.randrange(5)):
        honest = draw.random() < 0.5
        size = draw.choice([0, 10, 300, 5000])
        content = bytes(size) if draw.random() < 0.5 else draw.randbytes(size)
        lies = tuple((draw.choice(tuple(FIELDS)), draw.choice(LIES)) for _ in range(draw.choice([0, 0, 1, 2])))
        parts.append(
            Part(
                f"bin/{draw.randrange(9)}" if honest else draw.choice(NAMES),
                content,
                stat.S_IFREG if honest else draw.choice(KINDS),
                draw.randrange(0o10000),
                draw.choice(METHODS),
                () if honest else lies,
                draw.random() < 0.1,
            )
        )
    draw.shuffle(parts)
    return parts

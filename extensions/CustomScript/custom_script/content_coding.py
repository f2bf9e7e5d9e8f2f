"""Undoing a Content-Encoding: what a server sends compressed, although it was asked not to.

Object stores do that with what was put into them compressed. Azure's CustomScript undoes gzip, and curl and wget do on
request; saved as it comes, a script of such a store is no script.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# The registered codings (RFC 9110, 8.4.1, and IANA's list) and the unregistered that stand for a compression. Whatever
# else is in the header is none: stores hand out what was uploaded with it, such as "utf-8" or "aws-chunked".
_GZIP = frozenset({"gzip", "x-gzip"})
_UNKNOWN = frozenset(
    {"aes128gcm", "br", "bzip2", "compress", "dcb", "dcz", "exi", "lz4", "lzma", "pack200-gzip", "snappy", "x-bzip2"}
    | {"x-compress", "xz", "zstd"}
)
# Of a file that is a gzip itself, servers that go by its name or type say both: that it is one, and "encoded" as one.
_GZIP_SUFFIXES = (".gz", ".tgz")
_GZIP_TYPES = frozenset({"application/gzip", "application/x-gzip"})
_PIECE_BYTES = 1 << 18


class CodingError(Exception):
    """A body that can't be undone.

    Attributes:
        is_cut: it ended too early, which another try may change.
    """

    def __init__(self, reason: str, *, is_cut: bool = False) -> None:
        super().__init__(reason)
        self.is_cut = is_cut


class Limits(NamedTuple):
    """What a body may become: so many bytes, and, above a number of them, so many for each that came."""

    size_bytes: int = 4 << 30
    ratio: int = 100
    ratio_from_bytes: int = 64 << 20


def coding_of(headers: Iterable[str], content_type: str, name: str) -> str:
    """Return ``gzip``, ``deflate``, or nothing where the body is to be saved as it comes. Raises CodingError.

    Args:
        headers: the values of all Content-Encoding headers.
        content_type: the value of Content-Type.
        name: of the file.
    """
    tokens = [token.strip().lower() for header in headers for token in header.split(",")]
    codings = [token for token in tokens if token in _GZIP | _UNKNOWN | {"deflate"}]
    if not codings:
        return ""
    if len(codings) > 1 or codings[0] in _UNKNOWN:
        raise CodingError(
            f"the server sends it in Content-Encoding {', '.join(codings)!r}, although it was asked not to, and only "
            "gzip or deflate can be undone; store it there as it is"
        )
    if codings[0] == "deflate":
        return "deflate"
    is_gzip_itself = name.lower().endswith(_GZIP_SUFFIXES) or content_type.split(";")[0].strip().lower() in _GZIP_TYPES
    return "" if is_gzip_itself else "gzip"


class Decoder:
    """Undoes one coding piece by piece, and stops at the limits: a few KiB can be made to fill a disk."""

    def __init__(self, coding: str, limits: Limits) -> None:
        self._coding = coding
        self._limits = limits
        self._stream: zlib._Decompress | None = None
        self._has_ended = False
        self._came = 0
        self._made = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Give what the next bytes of the body stand for. Raises CodingError."""
        self._came += len(data)
        while data:
            if self._has_ended:
                # Zeros at the end fill a block.
                data = data.lstrip(b"\0")
                if not data:
                    return
            stream = self._stream = self._stream or self._new_stream(data)
            yield self._counted(self._unpack(stream, data))
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
            self._has_ended = stream.eof
            if stream.eof:
                self._stream = None

    def end(self) -> Iterator[bytes]:
        """Give what is left when the body has ended. Raises CodingError where it should not have."""
        # A body of no bytes stands for a file of none.
        if self._stream is None:
            return
        yield self._counted(self._stream.flush())
        if not self._stream.eof:
            reason = f"the answer was cut short: {self._came} bytes are no whole {self._coding}"
            raise CodingError(reason, is_cut=True)

    def _new_stream(self, data: bytes) -> zlib._Decompress:
        if self._coding == "gzip":
            # Several one after another are one; what else follows fails in its turn.
            return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        if self._has_ended:
            raise self._no_such_coding()
        # The standard means zlib's format, and some servers send what is inside of it alone.
        is_zlib = len(data) > 1 and data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
        return zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)

    def _unpack(self, stream: zlib._Decompress, data: bytes) -> bytes:
        try:
            return stream.decompress(data, _PIECE_BYTES)
        except zlib.error:
            raise self._no_such_coding() from None

    def _no_such_coding(self) -> CodingError:
        return CodingError(f"the server says Content-Encoding: {self._coding}, and what it sends is none")

    def _counted(self, piece: bytes) -> bytes:
        self._made += len(piece)
        if self._made > self._limits.size_bytes:
            raise CodingError(f"it unpacks to more than {self._limits.size_bytes} bytes; store it there as it is")
        if self._made > max(self._limits.ratio_from_bytes, self._limits.ratio * self._came):
            raise CodingError(
                f"it unpacks to more than {self._limits.ratio} times its size, {self._made} bytes of {self._came}, as "
                "what is meant to fill a disk does; store it there as it is"
            )
        return piece

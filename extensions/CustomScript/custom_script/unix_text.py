"""Scripts that were written on Windows: line ends and byte order mark become those of Unix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SUFFIXES = (".sh", ".py", ".txt")


def is_script(name: str, beginning: bytes) -> bool:
    """Tell whether a file is to be converted: by its name, or by a ``#!`` at its beginning."""
    return name.lower().endswith(_SUFFIXES) or beginning.startswith((b"#!", _BYTE_ORDER_MARK + b"#!"))


def convert(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn CR LF into LF and leave out a UTF-8 byte order mark at the beginning.

    The first chunk holds at least three bytes, if there are as many.
    """
    held = b""
    first = True
    for chunk in chunks:
        data = held + chunk
        if first and data.startswith(_BYTE_ORDER_MARK):
            data = data[len(_BYTE_ORDER_MARK) :]
        first = False
        # A CR at the end of a chunk may be the first half of a line end.
        held = b"\r" if data.endswith(b"\r") else b""
        yield data[: len(data) - len(held)].replace(b"\r\n", b"\n")
    yield held

"""A seeded mutator: stands in where atheris can't be had, and lends it a sense for JSON and zips where it can."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from soak import forge, tree
from soak.samples import COMMANDS

_NUMBERS = (b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"9" * 30, b"9" * 5000, b"0.1", b"1E400")
_BYTES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"\\ud800",
    b'"',
    b"}",
)
_ZIP = b"PK"
_MANIFEST = tree.rendered([{"handlerManifest": COMMANDS}])


def mutated(data: bytes, samples: Sequence[bytes], words: Sequence[str], draw: random.Random, limit: int) -> bytes:
    """Return a changed input of at most `limit` bytes."""
    if draw.random() < 0.1:
        data = draw.choice(samples)
    if samples[0][:2] == _ZIP:
        return _zip(data, samples, draw)[:limit]
    made = _json(data, words, draw) if draw.random() < 0.7 else None
    return (_raw(data, samples, words, draw) if made is None else made)[:limit]


def _json(data: bytes, words: Sequence[str], draw: random.Random) -> bytes | None:
    """Return JSON with some nodes changed; None where there is none to change."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(draw.choice([1, 1, 1, 2, 3, 6])):
        value = draw.choice(words) if words and draw.random() < 0.3 else draw.choice(tree.ODD)
        found = tree.edited(found, draw.randrange(1 << 16), draw.choice(tree.OPERATIONS), value)
    try:
        made = tree.rendered(found, ascii_only=draw.random() < 0.8)
    except (ValueError, RecursionError):
        return None
    # A line stays a line.
    return made + b"\n" if data.endswith(b"\n") else made


def _zip(data: bytes, samples: Sequence[bytes], draw: random.Random) -> bytes:
    if draw.random() < 0.6:
        data = forge.zipped(forge.random_parts(draw, b"[]" if draw.random() < 0.2 else _MANIFEST))
    if draw.random() < 0.5:
        return data
    return _raw(data, samples, (), draw)


def _raw(data: bytes, samples: Sequence[bytes], words: Sequence[str], draw: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 3, 5, 8])):
        at = draw.randrange(len(made) + 1)
        end = min(len(made), at + draw.choice([1, 1, 2, 4, 16, 64]))
        choice = draw.randrange(8)
        if choice == 0 and at < len(made):
            made[at] ^= 1 << draw.randrange(8)
        elif choice == 1:
            made[at:end] = draw.randbytes(end - at)
        elif choice == 2:
            del made[at:end]
        elif choice == 3:
            made[at:at] = made[at:end] * draw.choice([1, 2, 9])
        elif choice == 4:
            made[at:at] = draw.choice(_BYTES)
        elif choice == 5:
            made[at:end] = draw.choice(_NUMBERS)
        elif choice == 6 and words:
            made[at:at] = draw.choice(words).encode("utf-8", "surrogatepass")
        else:
            other = draw.choice(samples)
            start = draw.randrange(len(other) + 1)
            made[at:end] = other[start : start + draw.randrange(1, 200)]
    return bytes(made)

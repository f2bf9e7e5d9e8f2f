"""What is fed: a parser of foreign bytes, with what it gets in real life."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from soak import tree

_KEYS = (
    "metadata",
    "spec",
    "status",
    "uid",
    "state",
    "handler",
    "version",
    "name",
    "settings",
    "true",
    "null",
    "enabled",
)


class Target(NamedTuple):
    """A parser of foreign bytes.

    Attributes:
        feed: takes the bytes and a folder of its own; raises what is expected, or AssertionError where what came of
            it is not what it must be.
        expected: the exceptions that are documented.
        samples: what it gets in real life.
        documents: the same as JSON trees, for inputs near the schema; empty where it takes no JSON.
        render: makes bytes of such a tree.
        words: that mean something to it, for a dictionary.
        max_bytes: of an input.
        full: raw inputs that make it complete.
    """

    feed: Callable[[bytes, str], None]
    expected: tuple[type[Exception], ...]
    samples: Sequence[bytes]
    documents: Sequence[Any] = ()
    render: Callable[[Any], bytes] = bytes
    words: Sequence[str] = ()
    max_bytes: int = 4096
    full: int = 100_000


def of_json(
    feed: Callable[[bytes, str], None],
    expected: tuple[type[Exception], ...],
    trees: list[Any],
    *,
    more: tuple[bytes, ...] = (),
    render: Callable[[Any], bytes] = tree.rendered,
) -> Target:
    """Return a target that takes JSON.

    Args:
        feed: as in ``Target``.
        expected: likewise.
        trees: what it gets in real life, as JSON trees.
        more: that it gets too, and is no JSON.
        render: makes bytes of a tree.
    """
    found = [render(one) for one in trees]
    odd = (
        b"\xef\xbb\xbf" + found[0],
        found[0].decode().encode("utf-16"),
        b"[" * 4000,
        b'{"a":' * 800,
        b"",
        b"null",
    )
    words = sorted(
        {part for one in trees for path in tree.paths(one) for part in path if isinstance(part, str)} | {*_KEYS}
    )
    return Target(feed, expected, [*found, *odd, *more], trees, render, words)


def put(path: str, data: bytes) -> None:
    """Write a file."""
    with open(path, "wb") as file:
        file.write(data)

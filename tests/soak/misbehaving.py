"""Parsers that do what none may do: each way of feeding has to find each of them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable

from soak import tree
from soak.target import Target

_DOCUMENT = {"a": [1, 2, {"b": "c"}], "name": "x"}


def _target(feed: Callable[[bytes, str], None]) -> Callable[[], Target]:
    return lambda: Target(feed, (ValueError,), [tree.rendered(_DOCUMENT)], [_DOCUMENT], tree.rendered, ["name"])


def _good(data: bytes, folder: str) -> None:
    document = json.loads(data)
    with open(f"{folder}/kept", "wb") as file:
        file.write(tree.rendered(document))
    os.unlink(f"{folder}/kept")


def _raises(data: bytes, folder: str) -> None:
    # What hostile input most often is: of another type than was thought.
    json.loads(data)["a"]


def _hangs(data: bytes, folder: str) -> None:
    while json.loads(data):
        pass


def _writes_outside(data: bytes, folder: str) -> None:
    # Swallowed, and still found.
    with contextlib.suppress(Exception):
        os.mkdir(f"{folder}/../../outside-{os.getpid()}")


def _links(data: bytes, folder: str) -> None:
    os.symlink("/", f"{folder}/link")


def _devours(data: bytes, folder: str) -> None:
    bytes(2 << 30)


def _dies(data: bytes, folder: str) -> None:
    os._exit(3)


MAKERS = {
    feed.__name__.lstrip("_"): _target(feed)
    for feed in (_good, _raises, _hangs, _writes_outside, _links, _devours, _dies)
}

"""The feed of Secrets on a server that says what the test has it say."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support import answering
from vmext_operator.api.meta import Key
from vmext_operator.control.secret_feed import SecretFeed

ONE, OTHER = Key("a", "one"), Key("a", "other")
CANARY = "canary-in-an-annotation"


def listed(version: str, **versions: str) -> Any:
    items = [{"metadata": metadata(name, each)} for name, each in versions.items()]
    return {"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": version}, "items": items or None}


def metadata(name: str, version: str) -> dict[str, Any]:
    return {"namespace": "a", "name": name, "resourceVersion": version, "annotations": {"last-applied": CANARY}}


def event(type_: str, name: str, version: str, kind: str = "PartialObjectMetadata") -> bytes:
    return json.dumps({"type": type_, "object": {"kind": kind, "metadata": metadata(name, version)}}).encode() + b"\n"


GONE = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": CANARY}}).encode() + b"\n"


class Server:
    """Each list, and each watch, is the next one of a script; a number is a refusal with that code."""

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        self._lists, self._watches = iter(lists), iter(watches)
        self.asked: list[tuple[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, request.headers["Accept"]))
        is_watch = "watch" in request.query
        said = next(self._watches if is_watch else self._lists, [None] if is_watch else 503)
        if isinstance(said, int):
            return web.json_response({"kind": "Status", "code": said, "message": CANARY}, status=said)
        if not is_watch:
            return web.json_response(said)
        return await answering.stream(request, said)


class Told:
    """What a feed has told."""

    def __init__(self) -> None:
        self.changed: list[Key] = []
        self.events: list[str] = []
        self.tried = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.01)


def play(server: Server, folder: Path, until: Callable[[Told], bool], *, named: tuple[Key, ...] = (ONE, OTHER)) -> Told:
    """Have a feed follow that server until something is so."""
    told = Told()

    async def run() -> None:
        async with answering.client(server.answer, folder) as client:
            feed = SecretFeed(
                client,
                ("",),
                named.__contains__,
                told.changed.append,
                lambda _, type_: told.events.append(type_),
                random.Random(1),
                refused_again_s=0.1,
            )
            told.tried = feed.tried
            following = asyncio.create_task(feed.run())
            try:
                await told.until(lambda: until(told))
                assert not following.done()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    asyncio.run(run())
    return told


def test_what_comes_changes_and_goes_is_told_where_an_extension_names_it(tmp_path: Path) -> None:
    happens = [
        event("ADDED", "unnamed", "6"),
        event("MODIFIED", "one", "7"),
        event("BOOKMARK", "", "8"),
        event("ADDED", "other", "9"),
        event("DELETED", "one", "10"),
        None,
    ]
    server = Server([listed("5", one="1")], [happens])

    told = play(server, tmp_path, lambda told: len(told.events) == 5)

    assert told.changed == [ONE, OTHER, ONE], "the first list tells nothing: nothing was read before"
    assert told.tried.is_set()
    assert server.asked == [
        ("/api/v1/secrets", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
        ("/api/v1/secrets", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
    ]


def test_a_list_after_a_watch_that_was_too_old_tells_what_is_otherwise_and_nothing_else(tmp_path: Path) -> None:
    same = Key("a", "same")
    server = Server(
        [listed("5", one="1", other="2", same="3"), listed("20", one="11", same="3", unnamed="12")],
        [[GONE], [None]],
    )

    told = play(server, tmp_path, lambda told: len(told.changed) == 2, named=(ONE, OTHER, same))

    assert sorted(told.changed) == [ONE, OTHER], "one changed, the other went"


def test_a_watch_that_breaks_goes_on_where_it_was(tmp_path: Path) -> None:
    server = Server([listed("5")], [[event("ADDED", "one", "6")], [b"no event\n"], 503, [event("ADDED", "other", "7")]])

    told = play(server, tmp_path, lambda told: len(told.changed) == 2)

    assert told.changed == [ONE, OTHER]
    assert len([path for path, accept in server.asked if "List" in accept]) == 1


@pytest.mark.parametrize("code", [403, 503])
def test_a_refusal_ends_nothing_and_what_it_hid_is_told_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    caplog.set_level(logging.INFO)
    server = Server([code, code, code, listed("5", one="1")], [[event("BOOKMARK", "", "6"), None]])

    told = play(server, tmp_path, lambda told: told.changed == [ONE] and bool(told.events))

    assert told.tried.is_set()
    said = [record.getMessage() for record in caplog.records if record.name.endswith("secret_feed")]
    assert CANARY not in caplog.text
    if code == 403:
        assert len(said) == 2
        assert "let the operator list and watch secrets (chart value secrets.watch)" in said[0]
        assert "watched after all" in said[1]


def test_a_server_that_sends_more_than_metadata_is_not_listened_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = listed("5", one="1") | {"kind": "SecretList"}
    server = Server([whole, listed("6", one="1")], [[event("MODIFIED", "one", "7", kind="Secret"), None]])

    told = play(server, tmp_path, lambda told: len(server.asked) >= 4)

    assert told.changed == [ONE], "by the second list; the watch is not believed"
    assert "406: the API server does not send metadata alone" in caplog.text
    assert CANARY not in caplog.text

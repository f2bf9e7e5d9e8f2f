"""The feed and the client on a server that says what the test has it say."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from support import answering, objects
from vmext_operator.api.meta import Key
from vmext_operator.control.feed import Feed
from vmext_operator.control.namespaces import Namespaces
from vmext_operator.control.store import Store

WEB_1 = Key("default", "web-1")
MACHINES = "virtualmachines"
#: What a watch says before it ends; None keeps it open.
Said = list[bytes | None]


class Server:
    """Plays an API server: each list of machines and each watch of them is the next one of a script."""

    def __init__(self, lists: list[tuple[str, list[dict[str, Any]]]], watches: list[Said]) -> None:
        self._lists = iter(lists)
        self._watches = iter(watches)
        #: The versions that watches of machines were asked from.
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        ours = request.path.endswith(f"/{MACHINES}")
        if "watch" not in request.query:
            version, items = next(self._lists) if ours else ("1", [])
            return web.json_response({"metadata": {"resourceVersion": version}, "items": items})
        said: Said = [None]
        if ours:
            self.asked.append(request.query["resourceVersion"])
            said = next(self._watches)
        return await answering.stream(request, said)


class Tenants:
    """Plays an API server that refuses whatever is asked of the namespaces that it is told to refuse."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        #: By namespace.
        self.machines: dict[str, list[dict[str, Any]]] = {}
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        *_, namespaces, namespace, plural = request.path.split("/")
        scope = namespace if namespaces == "namespaces" else ""
        self.asked[scope] += 1
        if scope in self.refused:
            return web.json_response({"message": f"no right in {scope}"}, status=403)
        if "watch" in request.query:
            return await answering.stream(request, [None])
        items = self.machines.get(scope, []) if plural == MACHINES else []
        return web.json_response({"metadata": {"resourceVersion": "50"}, "items": items})


def play(
    server: Server | Tenants,
    folder: Path,
    scenario: Callable[[Store], Awaitable[None]],
    seen: Namespaces | None = None,
) -> list[Key]:
    """Have a feed follow that server while a scenario goes on; return the machines for which something changed."""
    changed: list[Key] = []
    seen = seen or Namespaces([])

    async def run() -> None:
        store = Store(lambda key, _lane: changed.append(key))
        async with answering.client(server.answer, folder) as client:
            feed = asyncio.create_task(Feed(client, store, seen, lambda *_: None, random.Random(1)).run())
            try:
                await scenario(store)
            finally:
                feed.cancel()
                await asyncio.gather(feed, return_exceptions=True)

    asyncio.run(run())
    return changed


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_watch_goes_on_where_the_one_before_it_was(tmp_path: Path) -> None:
    whole = event("ADDED", objects.machine(resourceVersion="7"))
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    server = Server([("5", [])], [[whole[:40], whole[40:] + bookmark], [b"no event\n"], [None]])

    async def scenario(store: Store) -> None:
        await until(lambda: len(server.asked) == 3)
        assert store.machine(WEB_1) is not None

    play(server, tmp_path, scenario)
    assert server.asked == ["5", "9", "9"]


def test_a_watch_that_is_too_old_begins_again_with_a_list_and_misses_no_deletion(tmp_path: Path) -> None:
    gone = event("ERROR", {"kind": "Status", "code": 410, "message": "too old"})
    machine = objects.machine(resourceVersion="7")
    server = Server([("5", []), ("20", [])], [[event("ADDED", machine), gone], [None]])

    async def scenario(store: Store) -> None:
        await until(lambda: len(server.asked) == 2)
        assert store.machine(WEB_1) is None

    assert play(server, tmp_path, scenario) == [WEB_1, WEB_1], "it came, and it went"
    assert server.asked == ["5", "20"]


def test_a_deletion_that_a_watch_tells_is_one(tmp_path: Path) -> None:
    machine = objects.machine(resourceVersion="4")
    deleted = event("DELETED", objects.machine(resourceVersion="6"))
    server = Server([("5", [machine])], [[deleted, None]])

    async def scenario(store: Store) -> None:
        await until(lambda: len(server.asked) == 1)
        await until(lambda: store.machine(WEB_1) is None)

    play(server, tmp_path, scenario)


def test_a_namespace_that_is_refused_holds_up_no_other_and_is_taken_up_when_it_can_be_read(tmp_path: Path) -> None:
    server = Tenants("b")
    server.machines = {one: [objects.machine(namespace=one, resourceVersion="7")] for one in ("a", "b", "c")}
    seen = Namespaces(["a", "b"])

    async def scenario(store: Store) -> None:
        await asyncio.wait_for(seen.known.wait(), 10)
        assert (seen.admits("a"), seen.admits("b")) == (True, False)
        assert store.machine_keys() == {Key("a", "web-1")}
        server.refused.discard("b")
        await until(lambda: seen.admits("b"))
        assert store.machine_keys() == {Key("a", "web-1"), Key("b", "web-1")}

    play(server, tmp_path, scenario, seen)
    assert set(server.asked) == {"", "a", "b"}, "of no other namespace is anything asked"


def test_a_namespace_that_is_lost_and_comes_back_without_its_machines_loses_them(tmp_path: Path) -> None:
    server = Tenants()
    server.machines = {one: [objects.machine(namespace=one, resourceVersion="7")] for one in ("a", "b")}
    seen = Namespaces(["a", "b"])

    async def scenario(store: Store) -> None:
        await until(lambda: seen.admits("a") and seen.admits("b"))
        server.refused.add("b")
        seen.doubt("b")
        await until(lambda: not seen.admits("b"))
        assert store.machine(Key("b", "web-1")) is not None, "it is not known to be gone"
        del server.machines["b"]
        server.refused.discard("b")
        await until(lambda: seen.admits("b"))
        assert store.machine_keys() == {Key("a", "web-1")}

    play(server, tmp_path, scenario, seen)

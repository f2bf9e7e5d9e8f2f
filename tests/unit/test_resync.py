"""How often everything is listed, on a server that answers as slowly as the test has it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from aiohttp import web

from support import answering
from vmext_operator.control.metrics import Metrics
from vmext_operator.control.namespaces import Namespaces
from vmext_operator.control.resync import Resync
from vmext_operator.control.store import Store
from vmext_operator.control.watches import Watches

INTERVAL_S = 0.2
KINDS = 4


def every_s_after_one_list(folder: Path, answered_in_s: float) -> float:
    """Return how long it is to the next list, once a server has taken so long for the list of each kind."""

    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(answered_in_s)
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": []})

    async def run() -> float:
        clock = asyncio.get_running_loop().time
        store, seen, watches = Store(lambda *_: None), Namespaces([]), Watches(clock)
        async with answering.client(answer, folder) as client:
            lists = Resync(client, store, seen, watches, Metrics(), clock, INTERVAL_S, random.Random(1))
            assert lists.every_s == INTERVAL_S
            before = lists.last_good
            listing = asyncio.create_task(lists.keep_listing(lambda _: None))
            while lists.last_good < before + INTERVAL_S / 2:
                await asyncio.sleep(0.01)
            every_s = lists.every_s
            listing.cancel()
            await asyncio.gather(listing, return_exceptions=True)
            return every_s

    return asyncio.run(run())


def test_a_list_that_takes_long_is_made_less_often(tmp_path: Path) -> None:
    assert INTERVAL_S < every_s_after_one_list(tmp_path, INTERVAL_S / KINDS / 10) <= 4 * INTERVAL_S


def test_a_list_that_waited_for_the_server_is_still_made(tmp_path: Path) -> None:
    assert every_s_after_one_list(tmp_path, 0.3) == 4 * INTERVAL_S

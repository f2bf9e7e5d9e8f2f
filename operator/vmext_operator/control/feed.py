"""kopf as the feed of the store: every event of our kinds goes in, and nothing is decided here.

kopf drops what an event handler raises and never calls it again: hence no I/O and no decision in it. The feed is a
seam; whoever replaces it hands each event on and ends when its watch is beyond mending.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import kopf

from vmext_operator.api import GROUP, VERSION
from vmext_operator.control.resync import PLURALS

#: kopf can get stuck while it ends (tried: a watch that has failed for good while others are being made again). The
#: process is killed then: whoever supervises it starts it again.
LAST_RESORT_S = 10.0


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers no last state: nobody asks for differences, and users' objects stay free of our annotations."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        return


class _Patience:
    """Back-off without end: a watch outlives an API server that is away, for however long."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.1, 0.2, 0.4, 0.8, 1.6)
        yield from itertools.repeat(2.0)


#: Takes in an event of a kind.
Take = Callable[[str, kopf.RawEvent], None]


def registry(take: Take, connection: kopf.ConnectionInfo) -> kopf.OperatorRegistry:
    """Return the kopf registry whose handlers hand each event on."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return connection

    @kopf.on.startup(registry=handlers)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.persistence.diffbase_storage = _NoDiffBase()
        settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
        settings.persistence.finalizer = f"{GROUP}/kopf"
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.watching.chunk_size = 500
        settings.networking.error_backoffs = _Patience()
        settings.process.ultimate_exiting_timeout = LAST_RESORT_S

    for plural in PLURALS:
        _subscribe(handlers, take, plural)
    return handlers


def _subscribe(handlers: kopf.OperatorRegistry, take: Take, plural: str) -> None:
    @kopf.on.event(GROUP, VERSION, plural, id=plural, registry=handlers)
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        take(plural, event)


async def run(handlers: kopf.OperatorRegistry) -> None:
    """Run kopf until a signal ends it; raises what ends its watches otherwise."""
    await kopf.operator(registry=handlers, standalone=True, clusterwide=True)

"""kopf as what the operator runs in: start, stop, login, signals. What changes comes by the feed, not by kopf.

Its event handlers cost ten times what a bare watch costs (docs/decisions/0012), and its other handlers write to users'
objects: none of either is used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import kopf

from vmext_operator.api import GROUP

#: kopf can get stuck while it ends. The process is killed then: whoever supervises it starts it again.
LAST_RESORT_S = 10.0


def registry(log_in: Callable[[], Awaitable[kopf.ConnectionInfo]]) -> kopf.OperatorRegistry:
    """Return kopf's registry: how to log in and how to behave, and no handler for any object.

    `log_in` is asked again when the API server no longer takes what it gave: a Pod's token lives for an hour.
    """
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: object) -> kopf.ConnectionInfo:
        return await log_in()

    @kopf.on.startup(registry=handlers)
    async def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        settings.persistence.finalizer = f"{GROUP}/kopf"
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.process.ultimate_exiting_timeout = LAST_RESORT_S

    return handlers


async def run(handlers: kopf.OperatorRegistry) -> None:
    """Run kopf until a signal ends it."""
    await kopf.operator(registry=handlers, standalone=True, clusterwide=True)

"""Which namespaces the operator sees: each is decided about once all of it is listed, and left alone while it can't be.

Without a list there is one scope, which is every namespace. With one, each of it is a scope of its own: one that is
missing, or in which the operator has no Role, holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.errors import ClusterError, RefusedError

logger = logging.getLogger(__name__)

#: The scope that is every namespace.
ALL = ""
_FORBIDDEN = 403


class Collection(NamedTuple):
    """All objects of a kind in a namespace; an empty namespace is every one, or that of a cluster-scoped kind."""

    plural: str
    namespace: str = ALL

    def __str__(self) -> str:
        return f"{self.plural} of {self.namespace}" if self.namespace else self.plural


CATALOG = Collection(extension_image.PLURAL)
#: Machines last: once one is known, all that decides about it is known too.
NAMESPACED = (goal_state.PLURAL, virtual_machine_extension.PLURAL, virtual_machine.PLURAL)


class Namespaces:
    """The scopes, and which of them may be decided about.

    Args:
        names: the namespaces that are watched; none is every one.
        opened: called with a scope when all of it has been listed.
        closed: called with a scope that can't be read any more.
    """

    def __init__(
        self,
        names: Sequence[str],
        opened: Callable[[str], None] = lambda _: None,
        closed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.scopes = tuple(dict.fromkeys(names)) or (ALL,)
        self._opened = opened
        self._closed = closed
        self._unlisted = set(self.every_collection())
        self._open: set[str] = set()
        self._out_of_reach: set[str] = set()
        self._doubted = {scope: asyncio.Event() for scope in self.scopes}
        #: Set once each scope has been listed in full, or is known to be out of reach.
        self.known = asyncio.Event()

    def scope_of(self, namespace: str) -> str:
        """Return the scope that a namespace is in."""
        return ALL if self.scopes == (ALL,) else namespace

    def collections_of(self, scope: str) -> tuple[Collection, ...]:
        """Return what is to be listed and watched for one scope, beside the catalog."""
        return tuple(Collection(plural, scope) for plural in NAMESPACED)

    def every_collection(self) -> tuple[Collection, ...]:
        """Return all that is to be listed and watched."""
        return (CATALOG, *(one for scope in self.scopes for one in self.collections_of(scope)))

    def readable(self) -> tuple[Collection, ...]:
        """Return all of it but what is out of reach."""
        return tuple(one for one in self.every_collection() if one.namespace not in self._out_of_reach)

    def admits(self, namespace: str) -> bool:
        """Tell whether what is in a namespace may be decided about: all that decides about it has been listed."""
        return self.scope_of(namespace) in self._open

    @property
    def out_of_reach(self) -> frozenset[str]:
        """Return the scopes that can't be read."""
        return frozenset(self._out_of_reach)

    def listed(self, collection: Collection) -> None:
        """Take note that a collection is known in full."""
        self._unlisted.discard(collection)
        for scope in (collection.namespace,) if collection != CATALOG else self.scopes:
            if scope not in self._open and self._unlisted.isdisjoint((CATALOG, *self.collections_of(scope))):
                self._open.add(scope)
                if scope in self._out_of_reach:
                    self._out_of_reach.discard(scope)
                    logger.info("namespace in reach again namespace=%s", scope)
                self._opened(scope)
        self._judge()

    def refused(self, scope: str, error: ClusterError) -> None:
        """Take note that a scope can't be read, and say so once. Raises ClusterError: it is not about a scope."""
        if scope == ALL or not is_refusal(error):
            raise error
        self._doubted[scope].clear()
        self._unlisted.update(self.collections_of(scope))
        self._open.discard(scope)
        if scope not in self._out_of_reach:
            self._out_of_reach.add(scope)
            logger.warning(
                "namespace out of reach, and left alone until it can be read: make it where it is missing, and give "
                "the operator's account its Role there (helm upgrade does) namespace=%s error=%s",
                scope,
                error,
            )
            self._closed(scope)
        self._judge()

    def doubt(self, scope: str) -> None:
        """Have a scope listed anew by whoever follows it: something else was refused there."""
        if scope in self._open:
            self._doubted[scope].set()

    async def doubted(self, scope: str) -> None:
        """Return when somebody has doubts about a scope."""
        await self._doubted[scope].wait()
        self._doubted[scope].clear()

    def _judge(self) -> None:
        if self._open | self._out_of_reach >= set(self.scopes) and CATALOG not in self._unlisted:
            self.known.set()


def is_refusal(error: ClusterError) -> bool:
    """Tell whether an error is how the API server says that there is no such namespace, or no right in it.

    It does not tell who has no right in a namespace whether there is one. With 404 it says that a kind is not served.
    """
    return isinstance(error, RefusedError) and error.status == _FORBIDDEN

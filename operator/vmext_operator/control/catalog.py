"""Look at each entry of the catalog once, and say in its status where it can't be used."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from vmext_operator.api import extension_image
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.control.settings_check import Checker
from vmext_operator.control.store import Store
from vmext_operator.control.writer import Clock, Writer
from vmext_operator.core import catalog_status, merge_patch
from vmext_operator.errors import ClusterError

logger = logging.getLogger(__name__)

#: When what could not be written is tried again, and what no watch told is seen.
_AGAIN_S = 60.0


class Catalog:
    """The catalog's entries and what was found of them.

    Args:
        store: has them.
        writer: of their statuses.
        checker: of their schemas.
        clock: for the times of conditions.
    """

    def __init__(self, store: Store, writer: Writer, checker: Checker, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._checker = checker
        self._clock = clock
        self._changed = asyncio.Event()
        #: By UID and generation, what is wrong with the schemas.
        self._faults: dict[tuple[str, int], str] = {}

    def told(self, plural: str) -> None:
        """Take note that something of a kind may have changed."""
        if plural == extension_image.PLURAL:
            self._changed.set()

    async def keep_judging(self, listed: asyncio.Event) -> None:
        """Judge all entries once they are listed, and again what changes, for ever."""
        await listed.wait()
        while True:
            self._changed.clear()
            images = list(self._store.images())
            known = {_which(image): self._faults.get(_which(image)) for image in images}
            self._faults = {which: fault for which, fault in known.items() if fault is not None}
            for image in images:
                await self._judge(image)
            # Without a task of its own, which kopf would take for one of its own when it ends.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await self._changed.wait()

    async def _judge(self, image: ExtensionImage) -> None:
        which = _which(image)
        if which not in self._faults:
            self._faults[which] = self._checker.fault(image)
            # A check can take a quarter of a second: others have their turn before the next.
            await asyncio.sleep(0)
        status = catalog_status.project(image, self._faults[which], self._clock.text())
        patch = merge_patch.difference(image.status, status)
        if not patch:
            return
        try:
            await self._writer.patch_status(extension_image.PLURAL, image.meta, patch)
        except ClusterError as error:
            logger.warning("catalog entry's status not written name=%s error=%s", image.meta.key.name, error)


def _which(image: ExtensionImage) -> tuple[str, int]:
    return image.meta.uid, image.meta.generation

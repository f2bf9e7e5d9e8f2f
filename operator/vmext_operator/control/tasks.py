"""Parts of the operator that run side by side, all of them or none."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_of(*parts: Coroutine[Any, Any, object], patience_s: float | None = None) -> None:
    """Run until one of them has ended, end the others, and raise what it raised.

    The others are waited for, for so many seconds at most; None for as long as they take.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        ended, _ = await asyncio.wait(tasks, timeout=patience_s)
        for task in ended:
            if not task.cancelled():
                task.exception()

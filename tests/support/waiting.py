"""Waiting on a condition with a deadline: what has to come about by itself in the end."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(
    condition: Callable[[], object],
    what: str = "it did not come about",
    *,
    timeout_s: float = 30.0,
    despite: tuple[type[Exception], ...] = (),
) -> None:
    """Return when a condition holds.

    Args:
        condition: asked again and again.
        what: what is waited for, in the words of the failure.
        timeout_s: the deadline.
        despite: errors of the condition that only mean "not yet".

    Raises:
        AssertionError: the deadline has passed.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except despite:
            pass
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(0.02)

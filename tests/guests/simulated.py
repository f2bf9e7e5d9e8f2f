"""What the tests of guests share: a guest or a skip with the reason, and waiting on a condition with a deadline."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import simulated_guest
from simulated_guest import Guest, GuestError
from support.guests import skipping

HACK = Path(simulated_guest.__file__).parents[1]
PATIENCE_S = 20.0


@contextlib.contextmanager
def running_or_skip(name: str, folder: Path, *, small: bool, disk_bytes: int | None = None) -> Iterator[Guest]:
    with contextlib.ExitStack() as stack:
        with skipping():
            guest = stack.enter_context(
                simulated_guest.running(name, folder=folder, small=small, disk_bytes=disk_bytes)
            )
        yield guest


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.02)


def booted_again(guest: Guest, before: str) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return guest.boot_id() != before
        except GuestError:
            return False  # it is going down at this moment

    return check

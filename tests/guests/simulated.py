"""What the tests of guests share: a guest or a skip with the reason, and how long they wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import simulated_guest
from simulated_guest import Guest, GuestError
from support import waiting
from support.guests import skipping

eventually = partial(waiting.eventually, timeout_s=20.0)


@contextlib.contextmanager
def running_or_skip(name: str, folder: Path, *, small: bool, disk_bytes: int | None = None) -> Iterator[Guest]:
    with contextlib.ExitStack() as stack:
        with skipping():
            guest = stack.enter_context(
                simulated_guest.running(name, folder=folder, small=small, disk_bytes=disk_bytes)
            )
        yield guest


def booted_again(guest: Guest, before: str) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return guest.boot_id() != before
        except GuestError:
            return False  # it is going down at this moment

    return check

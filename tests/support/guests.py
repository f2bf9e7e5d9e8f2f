"""Guests in tests: what can't be had on a machine is skipped, with the reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

import simulated_guest


@contextlib.contextmanager
def skipping() -> Iterator[None]:
    """Skip the test where this machine can't make guests, with the reason."""
    try:
        yield
    except simulated_guest.GuestUnavailableError as error:
        pytest.skip(str(error))

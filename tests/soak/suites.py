"""The suites of the soak, in the order in which they run."""

from __future__ import annotations

from soak import fuzz
from soak.suite import Suite


def every() -> list[Suite]:
    """Return all suites."""
    return [
        *fuzz.suites(),
    ]

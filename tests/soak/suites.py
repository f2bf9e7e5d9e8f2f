"""The suites of the soak, in the order in which they run."""

from __future__ import annotations

from soak import fuzz, interruptions, lives
from soak.operator_faults import OperatorFaults
from soak.reconnects import Reconnects
from soak.suite import Suite


def every() -> list[Suite]:
    """Return all suites."""
    return [
        *lives.suites(),
        *fuzz.suites(),
        *interruptions.suites(),
        OperatorFaults(),
        Reconnects(),
    ]

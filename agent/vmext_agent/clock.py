"""Times as the API server and the logs write them."""

from __future__ import annotations

import time

#: Some time in the year 5138.
_LATEST = 1e11


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def number(value: object) -> float:
    """Return a time that was read from somewhere. Raises ValueError for what no clock shows, and for what is none."""
    # NaN is not between anything.
    if not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        raise ValueError(f"{value!r:.50} is no time")
    return float(value)


def log_time(seconds: float) -> str:
    """Return seconds since 1970 in the form of the contract's log: RFC 3339 in UTC with microseconds."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e6):06d}Z"


def wall(since: float) -> float:
    """Return what the wall clock shows, or would have shown, that many seconds after the boot; for people only."""
    return time.time() - since_boot() + since


def since_boot() -> float:
    """Return seconds since the machine booted, time asleep included: it goes on across restarts of the agent."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

"""Decide whether the operator is well: what a liveness probe ends, and what a readiness probe waits for."""

from __future__ import annotations

from dataclasses import dataclass

#: No machine is with a worker for so long, and workers take none for so long, while all is well: a request ends within
#: half a minute.
LONGEST_STALL_S = 600.0
#: So many lists of everything may fail in a row.
_LISTS_MISSED = 3
#: A standby looks at the Lease every two seconds.
LOOKED_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """How the operator is.

    Attributes:
        leads: whether it is the leader.
        listed: whether every kind was listed in full.
        list_age_s: since the last list of everything that went well; at first, since it began to lead.
        list_every_s: how often there is one.
        stalled_s: for how long a machine has been with a worker, at most, or none was taken though one waits.
        lease_looked_s: since the Lease was last read or written, None where it never was.
    """

    leads: bool
    listed: bool
    list_age_s: float
    list_every_s: float
    stalled_s: float
    lease_looked_s: float | None


def sick(vitals: Vitals) -> str:
    """Return why the operator should be ended and started again, empty where it should not.

    Nothing in it is the API server's: a restart does not bring that back.
    """
    if not vitals.leads:
        return ""
    if vitals.list_age_s > _LISTS_MISSED * vitals.list_every_s + LONGEST_STALL_S:
        return f"no list of everything went well for {vitals.list_age_s:.0f} s"
    if vitals.listed and vitals.stalled_s > LONGEST_STALL_S:
        return f"the queue has not moved, or one machine has held a worker, for {vitals.stalled_s:.0f} s"
    return ""


def unready(vitals: Vitals) -> str:
    """Return why the operator can't do its part yet, or just now; empty where it can."""
    if vitals.leads:
        return "" if vitals.listed else "not everything is listed yet"
    if vitals.lease_looked_s is None:
        return "the Lease was never read"
    if vitals.lease_looked_s > LOOKED_WITHIN_S:
        return f"the Lease was not read for {vitals.lease_looked_s:.0f} s"
    return ""

"""Decide who of several operators leads, by one Lease: pure rules, over what was seen of it and since when.

No wall clock is ever compared: a Lease counts from when this process first saw it as it is, by a clock of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: A Lease that nobody renews is another's after this time.
LEASE_S = 10.0
#: Who has not renewed it for this long is no leader any more, and has the rest of the Lease for what is under way.
RENEW_DEADLINE_S = 6.0
#: How often it is renewed, or looked at; and how long a request for that may take.
RETRY_S = 2.0
#: Whatever a Lease says, its end is waited for no longer than this: a human may have written it.
_LONGEST_S = 60.0
#: A leader that goes lets its Lease last this long (0 is not allowed); who only removes its name does not say this.
_RELEASED_S = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says.

    Attributes:
        holder: identity of the leader, empty for none.
        duration_s: for how long it lasts.
        transitions: how often it went from one holder to another.
        acquired, renewed: as they are written, by a clock that is not ours.
        version: the resourceVersion: what says the same again, after something else, is not the same.
    """

    holder: str
    duration_s: int
    transitions: int
    acquired: str
    renewed: str
    version: str = ""

    @property
    def is_released(self) -> bool:
        """Tell whether its leader has let it go, and writes no more."""
        return not self.holder and self.duration_s == _RELEASED_S


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease as it has been seen since a time, by a clock of ours.

    Attributes:
        record: None where there never was one.
        since: the time.
        is_gone: whether it was seen and then deleted; the record is what it said last.
    """

    record: Record | None
    since: float
    is_gone: bool = False


def parse(lease: Mapping[str, Any]) -> Record:
    """Parse a Lease. What a human has taken out of it is empty."""
    spec = lease.get("spec") or {}
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        duration_s=int(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        acquired=str(spec.get("acquireTime") or ""),
        renewed=str(spec.get("renewTime") or ""),
        version=str((lease.get("metadata") or {}).get("resourceVersion") or ""),
    )


def render(record: Record) -> dict[str, Any]:
    """Return the spec of a Lease."""
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.duration_s,
        "leaseTransitions": record.transitions,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
    }


def see(before: Sighting | None, record: Record | None, now: float) -> Sighting:
    """Return the sighting after another look.

    One that was deleted is waited for as if it had just been renewed: whoever leads by it may not know yet.
    """
    seen = Sighting(record, now)
    if before is not None and record is None and before.record is not None:
        seen = Sighting(before.record, now, is_gone=True)
    if before is not None and (before.record, before.is_gone) == (seen.record, seen.is_gone):
        return before
    return seen


def wait_s(seen: Sighting, identity: str, now: float) -> float:
    """Return in how many seconds that identity may take the Lease: 0 for now.

    One's own is taken at once: of one identity there is one process at a time.
    """
    record = seen.record
    if record is None or record.holder == identity or record.is_released:
        return 0.0
    lasts_s = min(max(LEASE_S, float(record.duration_s)), _LONGEST_S)
    return max(0.0, seen.since + lasts_s - now)


def taken(record: Record | None, identity: str, now: str) -> Record:
    """Return what a Lease says once it is that identity's, or is again."""
    duration_s = int(LEASE_S)
    if record is None:
        return Record(identity, duration_s, 0, now, now)
    if record.holder == identity:
        return Record(identity, duration_s, record.transitions, record.acquired or now, now)
    return Record(identity, duration_s, record.transitions + 1, now, now)


def released(record: Record) -> Record:
    """Return what a Lease says once its holder has let it go."""
    return Record("", _RELEASED_S, record.transitions, record.acquired, record.renewed)

"""When a fleet's tokens are renewed, by the operator's own rule over time that is moved: no request is made."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from vmext_operator.api.credential import Held, Pinned
from vmext_operator.core import identity

_ANCHOR = "uid-anchor"
_PINNED = Pinned(_ANCHOR, certificate="a certificate", thumbprint="AB" * 20)
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
#: The fleet is enrolled within this time, which is about what a thousand machines take in earnest.
_ENROLLED_WITHIN_S = 60.0


class Spread(NamedTuple):
    """How the renewals of a fleet lie in time.

    Attributes:
        machines: of the fleet.
        life_s: of their tokens.
        renewals: of all of them.
        peak_per_s: the most in one second.
        steady_per_s: how many there would be in each if they lay quite evenly.
    """

    machines: int
    life_s: float
    renewals: int
    peak_per_s: int
    steady_per_s: float


def simulate(machines: int, life_s: float, lives: int) -> Spread:
    """Return how the renewals lie of machines that were enrolled together, over so many lives of a token."""
    draw = random.Random(machines)
    end = _BEGIN + timedelta(seconds=life_s * lives)
    times: list[float] = []
    for number in range(machines):
        uid = f"{draw.getrandbits(128):032x}"
        at = _BEGIN + timedelta(seconds=_ENROLLED_WITHIN_S * number / machines)
        while True:
            held = Held("jti", _ANCHOR, at, at + timedelta(seconds=life_s))
            wait_s = identity.renew_in_s(_PINNED, held, None, uid, at)
            assert wait_s is not None, "who has a good token is given the next one"
            at += timedelta(seconds=wait_s)
            if at >= end:
                break
            times.append((at - _BEGIN).total_seconds())
    mean_life_s = life_s * (lives * machines / max(1, len(times)))
    return Spread(machines, life_s, len(times), peak_per_s(times), machines / mean_life_s)


def peak_per_s(times: Sequence[float]) -> int:
    """Return the most of some times that lie in one second."""
    return max(Counter(int(at) for at in times).values(), default=0)

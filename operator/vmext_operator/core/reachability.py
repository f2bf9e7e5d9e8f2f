"""Tell from a machine's signs of life whether its agent is there.

No clock but the operator's own is looked at: a sign counts from when it was first seen to be another one than before,
as leader election has it. How a guest's clock goes does not matter.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vmext_operator.api import conditions
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.core.reasons import Reason

CONDITION: Final = "AgentReachable"


class Presence(enum.Enum):
    """Whether a machine's agent is there."""

    THERE = "there"
    SILENT = "silent"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Sign:
    """The newest sign of life of one kind.

    Attributes:
        mark: tells it from the one before.
        at_s: when it was first seen.
        is_news: another one was seen before it; the first one that an operator sees may be as old as it likes.
    """

    mark: object
    at_s: float
    is_news: bool


def observe(known: Sign | None, mark: object, at_s: float) -> Sign:
    """Return the newest sign, after one was seen."""
    if known is not None and known.mark == mark:
        return known
    return Sign(mark, at_s, known is not None)


def judge(
    machine: VirtualMachine, signs: Sequence[Sign], *, has_reported: bool, begun_s: float, now_s: float
) -> Presence:
    """Return whether a machine's agent is there.

    Args:
        machine: with what was said of it before.
        signs: that it gave.
        has_reported: whether its agent ever did.
        begun_s: since when signs are looked for.
        now_s: until when they were: on a clock that stands still while nobody could see any.
    """
    if not has_reported:
        return Presence.NEVER
    before = conditions.find(machine.status.get("conditions") or (), CONDITION)
    was_silent = before is not None and before.get("reason") == Reason.GUEST_UNREACHABLE.value
    if was_silent and not any(sign.is_news for sign in signs):
        # An operator that has just begun believes the one before it.
        return Presence.SILENT
    last_s = max((sign.at_s for sign in signs), default=begun_s)
    return Presence.SILENT if now_s - last_s >= machine.unreachable_after_s else Presence.THERE

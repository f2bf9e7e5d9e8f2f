"""Why an extension is kept out of its machine's goal: what it waits for, or what only its author can mend."""

from __future__ import annotations

from dataclasses import dataclass

from vmext_operator.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Held:
    """An extension that is not in the goal.

    Attributes:
        reason: one word, for the conditions.
        message: in words, with what to do.
        patience_s: how long it counts as waiting before it counts as stalled; None for as long as it takes.
    """

    reason: Reason
    message: str
    patience_s: float | None


def waits(reason: Reason, message: str) -> Held:
    """Hold an extension back until what it waits for comes, however long that takes."""
    return Held(reason, message, None)


def stalls(reason: Reason, message: str, *, after_s: float = 0.0) -> Held:
    """Hold an extension back, and say after that time that waiting alone does not help."""
    return Held(reason, message, after_s)

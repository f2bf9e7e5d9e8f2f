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
        awaits_machine: it waits for the machine itself: one that may be off need not come for it to count as ready.
    """

    reason: Reason
    message: str
    patience_s: float | None
    awaits_machine: bool = False


def waits(reason: Reason, message: str) -> Held:
    """Hold an extension back until what it waits for comes, however long that takes."""
    return Held(reason, message, None)


def awaits_machine(reason: Reason, message: str) -> Held:
    """Hold an extension back until its machine comes."""
    return Held(reason, message, None, awaits_machine=True)


def stalls(reason: Reason, message: str, *, after_s: float = 0.0) -> Held:
    """Hold an extension back, and say after that time that waiting alone does not help."""
    return Held(reason, message, after_s)

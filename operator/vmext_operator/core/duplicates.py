"""Tell whether two machines have one identity: by the holders that they name, and by what copies say of themselves.

A machine that boots again is another holder, once. Two machines that run are two holders in turn: one comes back after
another one. Agents notice that themselves and one of the two gives way; a copy that takes no orders says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vmext_operator.api import conditions
from vmext_operator.api.goal_state import Copy
from vmext_operator.core.reasons import Reason

CONDITION: Final = "DuplicateIdentity"
#: How long after two holders were last seen in turn it is still said, and within which time the turn has to be.
QUIET_S = 600.0
#: A copy says every five minutes that it is there.
COPY_QUIET_S = 900.0
_REMEMBERED = 16
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Sighting:
    """A holder, and when it was first seen in the place of another one."""

    id: str
    machine: str
    at_s: float


def observe(history: tuple[Sighting, ...], holder: str, machine: str, now_s: float) -> tuple[Sighting, ...]:
    """Return the holders that were seen, in their order, after one was seen."""
    if not holder or (history and history[-1].id == holder):
        return history
    return (*history, Sighting(holder, machine, now_s))[-_REMEMBERED:]


def in_turn(history: Sequence[Sighting], now_s: float) -> tuple[Sighting, ...]:
    """Return the holders that write in turn, none where there is one alone."""
    found: dict[str, Sighting] = {}
    for index, back in enumerate(history):
        between = history[index - 1] if index else back
        came_before = any(one.id == back.id for one in history[:index])
        if came_before and now_s - back.at_s < QUIET_S and back.at_s - between.at_s < QUIET_S:
            found |= {back.id: back, between.id: between}
    return tuple(found.values())


def condition(machine: str, turns: Sequence[Sighting], copies: Sequence[Copy]) -> conditions.Condition | None:
    """Return what is to be said of a machine's duplicates, None where it has none."""
    if turns:
        who = "; ".join(f"{one.id} ({one.machine})" if one.machine else one.id for one in turns[:_NAMED])
        message = (
            f"{len(turns)} machines write as {machine} in turn: {who}. Which of them is meant? On that one paste what "
            f"kubectl vmext enroll {machine} --again prints: the others are shut out. Enrol those as other machines"
        )
        return conditions.Condition(CONDITION, "True", Reason.DUPLICATE_IDENTITY.value, message)
    if copies:
        who = "; ".join(
            f"{one.hostname or 'no name'} ({one.machine or 'nothing is known of it'})" for one in copies[:_NAMED]
        )
        more = f" and {len(copies) - _NAMED} more" if len(copies) > _NAMED else ""
        message = (
            f"{len(copies)} of it found and taking no orders: {who}{more}; {copies[0].reason}. Enrol each as a machine "
            f"of its own (kubectl vmext enroll), or run on it: vmext-agent unenroll. If it is {machine} itself, moved "
            "to other hardware: vmext-agent confirm"
        )
        return conditions.Condition(CONDITION, "True", Reason.COPY_FOUND.value, message)
    return None

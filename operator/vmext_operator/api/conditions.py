"""Conditions by the kstatus convention: Ready always, Reconciling or Stalled only while true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, before it is known since when it holds."""

    type: Literal[
        "Ready",
        "Reconciling",
        "Stalled",
        "Enrolled",
        "AgentReachable",
        "Paused",
        "DuplicateIdentity",
        "Undeclared",
    ]
    status: Truth
    reason: str
    message: str


def ready(reason: str, message: str) -> tuple[Condition, ...]:
    """Say that the object is as declared."""
    return (Condition("Ready", "True", reason, message),)


def reconciling(reason: str, message: str) -> tuple[Condition, ...]:
    """Say that it is being worked on, or waits for something that may come."""
    return (Condition("Ready", "Unknown", reason, message), Condition("Reconciling", "True", reason, message))


def stalled(reason: str, message: str) -> tuple[Condition, ...]:
    """Say that waiting alone does not help: callers that wait for Ready give up at once."""
    return (Condition("Ready", "False", reason, message), Condition("Stalled", "True", reason, message))


def render(
    wanted: Sequence[Condition], current: Sequence[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """Return the conditions as the API has them; lastTransitionTime moves only where a condition's status changes."""
    before = {condition.get("type"): condition for condition in current}
    rendered = []
    for condition in wanted:
        old = before.get(condition.type)
        kept = old is not None and old.get("status") == condition.status
        rendered.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:8192],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and kept else now,
            }
        )
    return rendered


def find(conditions: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """Return the condition of that type, or None."""
    return next((condition for condition in conditions if condition.get("type") == kind), None)

"""What is said, in an Event, of a status that has become final."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmext_operator.api import conditions
from vmext_operator.core import duplicates
from vmext_operator.core.farewell import Said
from vmext_operator.core.projection import Projected, Situation
from vmext_operator.core.reasons import Reason


def say(situation: Situation, projected: Projected) -> Said | None:
    """Return what to say of a status, or None where it is not final, or was so before."""
    if not situation.is_final or situation.extension.meta.deleted is not None:
        return None
    before, now, ready = situation.extension.status, projected.status, projected.conditions[0]
    known = conditions.find(before.get("conditions") or (), "Ready")
    if (
        known is not None
        and (known.get("status"), known.get("reason")) == (ready.status, ready.reason)
        and before.get("sequenceNumber") == now.get("sequenceNumber")
        and before.get("typeHandlerVersion") == now.get("typeHandlerVersion")
    ):
        return None
    if ready.reason != Reason.SUCCEEDED.value:
        warning = ready.status != "True" or ready.reason == Reason.FAILURE_SUPPRESSED.value
        return Said(ready.reason, ready.message, warning)
    old, new = before.get("typeHandlerVersion"), now.get("typeHandlerVersion")
    handler = f"{situation.extension.publisher}.{situation.extension.type}"
    if new and not old:
        return Said(Reason.INSTALLED.value, f"{handler} {new}: {ready.message}", warning=False)
    if new and old != new:
        return Said(Reason.UPDATED.value, f"{handler} {old} to {new}: {ready.message}", warning=False)
    return Said(ready.reason, ready.message, warning=False)


def say_of_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> Said | None:
    """Return what to say of a machine's status: that others with its identity were found; None for nothing new."""
    known, found = (conditions.find(one.get("conditions") or (), duplicates.CONDITION) for one in (before, now))
    if found is None or (known is not None and known.get("reason") == found["reason"]):
        return None
    return Said(found["reason"], found["message"], warning=True)

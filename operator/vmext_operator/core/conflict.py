"""One handler, one declaration: which of several declarations for the same handler on a machine is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmext_operator.api.goal_state import EntryState, Goal
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import verdict
from vmext_operator.core.reasons import Reason


def losers(extensions: Sequence[VirtualMachineExtension], last: Goal | None) -> Mapping[str, verdict.Held]:
    """Return those, by UID, that must stay out of the goal because another one has their handler.

    The one in force wins, else the older, else the one with the lower UID. One that is being deleted is still in force
    until it is gone; who waits for that is not stalled.
    """
    in_force = set()
    if last is not None:
        in_force = {entry.uid for entry in last.extensions if entry.state is not EntryState.ORPHAN}
    by_handler: dict[str, list[VirtualMachineExtension]] = {}
    for extension in extensions:
        if extension.meta.deleted is None or extension.meta.uid in in_force:
            by_handler.setdefault(extension.handler_key, []).append(extension)

    held: dict[str, verdict.Held] = {}
    for rivals in by_handler.values():
        first, *others = sorted(
            rivals, key=lambda extension: (extension.meta.uid not in in_force, *extension.meta.age_order)
        )
        for other in others:
            name = first.meta.key.name
            if first.meta.deleted is not None:
                held[other.meta.uid] = verdict.waits(
                    Reason.HANDLER_CONFLICT, f"waits until {name}, which has the same handler, is uninstalled"
                )
            else:
                held[other.meta.uid] = verdict.stalls(
                    Reason.HANDLER_CONFLICT,
                    f"{name} has the handler {other.publisher}.{other.type} on {other.vm_name} already, and a machine "
                    "has each handler once; delete one of the two",
                )
    return held

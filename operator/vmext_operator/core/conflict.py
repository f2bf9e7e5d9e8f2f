"""One handler, one declaration: which of several declarations for the same handler on a machine is in force.

A handler that takes several extensions has one version on a machine all the same: that of the oldest that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from vmext_operator.api.goal_state import Handler
from vmext_operator.api.version import Version
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import verdict
from vmext_operator.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Settled:
    """Who must stay out of the goal, and who has another one's version of its handler; both by UID."""

    held: Mapping[str, verdict.Held]
    follows: Mapping[str, Handler]


def settle(
    extensions: Sequence[VirtualMachineExtension],
    in_force: Set[str],
    chosen: Callable[[VirtualMachineExtension], Handler | None],
    admits: Callable[[VirtualMachineExtension, Version], bool],
) -> Settled:
    """Decide between those that have the same handler on a machine.

    The one in force comes first, else the older, else the one with the lower UID. One that is being deleted is still in
    force until it is gone; who waits for that is not stalled.

    Args:
        extensions: of one machine.
        in_force: UIDs of those that the machine has, and is not about to be left with.
        chosen: the version that an extension would have by itself, None where there is none.
        admits: whether an extension asks for that version among others.
    """
    by_handler: dict[str, list[VirtualMachineExtension]] = {}
    for extension in extensions:
        if extension.meta.deleted is None or extension.meta.uid in in_force:
            by_handler.setdefault(extension.handler_key, []).append(extension)

    held: dict[str, verdict.Held] = {}
    follows: dict[str, Handler] = {}
    for rivals in by_handler.values():
        first, *others = sorted(
            rivals, key=lambda extension: (extension.meta.uid not in in_force, *extension.meta.age_order)
        )
        lead = chosen(first) if others else None
        able = [one for one in rivals if _takes_several(chosen(one))]
        if others and able:
            # Not by who is in force: whoever follows is in force as well from the next goal on.
            first = min(able, key=lambda one: (one.meta.deleted is not None, *one.meta.age_order))
            others, lead = [one for one in rivals if one is not first], chosen(first)
        for other in others:
            if lead is None or not lead.multi_config:
                held[other.meta.uid] = _loser(first, other)
            elif admits(other, Version(lead.version)):
                follows[other.meta.uid] = lead
            elif chosen(other) is not None:
                held[other.meta.uid] = verdict.stalls(
                    Reason.HANDLER_CONFLICT,
                    f"{first.meta.key.name} has {lead.name} {lead.version} on {other.vm_name}, and a machine has one "
                    f"version of a handler; ask for a version that both can have",
                )
    return Settled(held, follows)


def _takes_several(handler: Handler | None) -> bool:
    return handler is not None and handler.multi_config


def _loser(first: VirtualMachineExtension, other: VirtualMachineExtension) -> verdict.Held:
    name = first.meta.key.name
    if first.meta.deleted is not None:
        message = f"waits until {name}, which has the same handler, is uninstalled"
        return verdict.awaits_machine(Reason.HANDLER_CONFLICT, message)
    return verdict.stalls(
        Reason.HANDLER_CONFLICT,
        f"{name} has the handler {other.publisher}.{other.type} on {other.vm_name} already, and a machine "
        "has each handler once; delete one of the two",
    )

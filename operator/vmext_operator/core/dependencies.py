"""What the extensions of a machine wait for among each other: circles, what is missing, what is held back itself.

How a dependency fares on the machine is the agent's to say. Here is decided what can be told from what is declared.
What the machine has already stays as it is, whatever becomes of what it depends on; only what would begin waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from vmext_operator.api.goal_state import Entry
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import verdict
from vmext_operator.core.declared import Declared
from vmext_operator.core.reasons import Reason

Edges = Mapping[str, Iterable[str]]
#: Of what a dependency says: those that depend on it repeat it, and theirs repeat that.
_REPEATED = 500


def hold(
    declared: Declared, held: Mapping[str, verdict.Held], begins: Callable[[VirtualMachineExtension], bool]
) -> dict[str, verdict.Held]:
    """Return all that are held back, by UID: those given, and those that wait for another of this machine.

    Args:
        declared: what is declared of the machine.
        held: who is held back by itself.
        begins: whether something of an extension would run that the machine has not got yet.
    """
    found = dict(held)
    living = {one.meta.key.name: one for one in declared.extensions if one.meta.deleted is None}
    if not any(extension.depends_on for extension in living.values()):
        return found
    edges = {name: [other for other in one.depends_on if other in living] for name, one in living.items()}
    ordered = _in_order(edges)
    in_doubt = sorted(living.keys() - set(ordered))
    in_circle = set()
    for name in in_doubt:
        circle = way(edges, name, name)
        if circle:
            in_circle.add(name)
            message = f"they wait for each other: {' -> '.join(circle)}; take one out of another's dependsOn"
            found[living[name].meta.uid] = verdict.stalls(Reason.DEPENDENCY_CYCLE, message)
    # Those behind a circle come in the order in which they wait for each other.
    behind = {name: [one for one in edges[name] if one not in in_circle] for name in in_doubt if name not in in_circle}
    leaving = {one.meta.key.name for one in declared.extensions if one.meta.deleted is not None}
    for name in (*ordered, *_in_order(behind)):
        extension = living[name]
        if extension.meta.uid not in found:
            waits = _waits(extension, living, found, declared.elsewhere, leaving)
            if waits is not None and (waits.reason is Reason.INVALID_DEPENDENCY or begins(extension)):
                found[extension.meta.uid] = waits
    return found


def _waits(
    extension: VirtualMachineExtension,
    living: Mapping[str, VirtualMachineExtension],
    held: Mapping[str, verdict.Held],
    elsewhere: Mapping[str, str],
    leaving: set[str],
) -> verdict.Held | None:
    """Return what an extension waits for that can't come by itself, else what may, else None."""
    vm, waits, awaits_machine = extension.vm_name, None, True
    for name in extension.depends_on:
        other = living.get(name)
        if other is not None:
            why = held.get(other.meta.uid)
            if why is None:
                continue
            said = f"{name}, on which it depends, is held back: {why.reason.value}: {why.message[:_REPEATED]}"
            if why.patience_s is not None:
                return verdict.stalls(Reason.DEPENDENCY_FAILED, said, after_s=why.patience_s)
            awaits_machine &= why.awaits_machine
        elif name in leaving:
            said = f"{name}, on which it depends, is being deleted"
            awaits_machine = False
        elif name in elsewhere:
            message = f"dependsOn names {name}, which is for {elsewhere[name]}; it can wait for those of {vm} only"
            return verdict.stalls(Reason.INVALID_DEPENDENCY, message)
        else:
            said = f"{name}, on which it depends, is not declared for {vm}; declare it, or take it out of dependsOn"
            awaits_machine = False
        waits = waits or verdict.waits(Reason.WAITING_FOR_DEPENDENCY, said)
    # What waits for nothing but what waits for the machine waits for the machine.
    return waits if waits is None else replace(waits, awaits_machine=awaits_machine)


def _in_order(edges: Edges) -> list[str]:
    """Return the names of which each comes after all that it waits for; without those that wait for a circle."""
    left = {name: {other for other in others if other in edges} for name, others in edges.items()}
    needed_by: dict[str, list[str]] = {}
    for name in sorted(left):
        for other in left[name]:
            needed_by.setdefault(other, []).append(name)
    ordered = [name for name in sorted(left) if not left[name]]
    for name in ordered:
        for other in needed_by.get(name, ()):
            left[other].discard(name)
            if not left[other]:
                ordered.append(other)
    return ordered


def way(edges: Edges, start: str, end: str) -> list[str]:
    """Return the shortest way along the edges from one name to another, both included; empty where there is none."""
    came_from: dict[str, str] = {}
    reached = [start]
    for name in reached:
        for other in sorted(edges.get(name, ())):
            if other not in came_from:
                came_from[other] = name
                if other == end:
                    found = [end]
                    while len(found) == 1 or found[-1] != start:
                        found.append(came_from[found[-1]])
                    return found[::-1]
                reached.append(other)
    return []


def without_circles(entries: Mapping[str, Entry], fresh: set[str]) -> dict[str, Entry]:
    """Return the entries of a goal so that none of them waits for itself.

    What is declared now is free of circles. Entries that stand from before (held back, or leaving) may close one with
    it: they have begun long ago, and let go of what they depended on.

    Args:
        entries: by name.
        fresh: names of those that are as declared now.
    """
    made = dict(entries)
    if not any(entry.depends_on for name, entry in entries.items() if name not in fresh):
        return made
    edges = {name: set(made[name].depends_on) for name in made if name in fresh}
    for name in sorted(made.keys() - fresh):
        edges[name] = set()
        for other in made[name].depends_on:
            if other != name and not way(edges, other, name):
                edges[name].add(other)
        made[name] = replace(made[name], depends_on=tuple(sorted(edges[name])))
    return made

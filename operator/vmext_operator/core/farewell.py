"""Decide when what is being deleted may go, and what is said of how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vmext_operator.api.goal_state import Answer, Entry, EntryState, Goal, Outcome, Report
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core.reachability import Presence
from vmext_operator.core.reasons import Reason

#: An agent that has just read its first goal reports within this time: until then "never reported" may be "not yet".
FIRST_WORD_S = 5.0
#: What is deleted together is not deleted at one moment: whoever prunes may come to a machine before its extensions.
TOGETHER_S = 10.0


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of an extension in an Event; a warning where somebody should look."""

    reason: str
    message: str
    warning: bool


def _orphaned(message: str, *, warning: bool = True) -> Said:
    return Said(Reason.ORPHANED.value, message, warning)


def patience_s(extension: VirtualMachineExtension, report: Report | None) -> float:
    """Return for how long after its deletion an extension waits for its machine to be done with it."""
    whole_s = float(extension.deletion_timeout_seconds)
    return min(whole_s, FIRST_WORD_S) if report is None and not _was_there(extension) else whole_s


def say(
    extension: VirtualMachineExtension,
    entry: Entry | None,
    report: Report | None,
    machine: VirtualMachine | None,
    presence: Presence,
    now: datetime,
) -> Said | None:
    """Return what to say when a deleted extension may go, or None while its machine still has to do something.

    Args:
        extension: that is being deleted.
        entry: what its machine is told of it now, None for nothing.
        report: what its machine reported, None where it never did.
        machine: as declared, None where it is not.
        presence: whether the machine's agent is there.
        now: for the deadline.
    """
    vm, was_there = extension.vm_name, _was_there(extension)
    if entry is None:
        # It never came into a goal, or the machine's goal is gone.
        if not was_there:
            return Said(Reason.REMOVED.value, f"{vm} was never told to have it", warning=False)
        if machine is None or machine.meta.deleted is not None:
            return _orphaned(f"{vm} is no longer declared; what the extension did there stays")
        return _orphaned(f"left on {vm}: its goal is gone, and the catalog no longer has the version that is there")
    if entry.state is EntryState.UNINSTALL and _is_removed(entry, report):
        return _removed(vm, entry, report)
    if report is None and not was_there:
        deleted = extension.meta.deleted
        if deleted is not None and (now - deleted).total_seconds() < patience_s(extension, report):
            return None
        return Said(Reason.REMOVED.value, f"the agent of {vm} has never reported", warning=False)
    if entry.state is EntryState.ORPHAN:
        late = "it did not uninstall it in time" if report is not None else "no machine is enrolled as it"
        why = "as its deletionPolicy says" if extension.orphan_on_delete else late
        return _orphaned(f"left on {vm}: {why}", warning=not extension.orphan_on_delete)
    if machine is not None and machine.meta.deleted is not None and presence is not Presence.THERE:
        return _orphaned(f"left on {vm}: that is being deleted too, and can't be reached")
    return None


def machine_waits_s(
    machine: VirtualMachine,
    extensions: Sequence[VirtualMachineExtension],
    goal: Goal,
    report: Report | None,
    presence: Presence,
    now: datetime,
) -> float | None:
    """Return for how many seconds more a machine that is being deleted waits for its extensions; None for no longer.

    Args:
        machine: that is being deleted.
        extensions: of it that are left, those that are being deleted too among them.
        goal: what it is told.
        report: what it reported.
        presence: whether its agent is there: nobody waits for one that is not.
        now: for the deadlines.
    """
    deleted = machine.meta.deleted
    assert deleted is not None, "nobody asks otherwise"
    age_s = (now - deleted).total_seconds()
    waits = [float(one.deletion_timeout_seconds) for one in extensions if one.meta.deleted is not None]
    for extension in extensions:
        entry = goal.entry(extension.meta.key.name)
        if extension.meta.deleted is not None or entry is None or presence is not Presence.THERE:
            continue
        if entry.state is EntryState.UNINSTALL and not _is_removed(entry, report):
            waits.append(extension.deletion_timeout_seconds - age_s)
        elif entry.state is EntryState.ENABLED:
            waits.append(TOGETHER_S - age_s)
    return max((wait_s for wait_s in waits if wait_s > 0), default=None)


def left_behind(
    machine: VirtualMachine, extensions: Sequence[VirtualMachineExtension], goal: Goal, report: Report | None
) -> Sequence[tuple[VirtualMachineExtension, Said]]:
    """Return the extensions that stay on a machine whose object goes, and what is said of each."""
    found = []
    for extension in extensions:
        entry = goal.entry(extension.meta.key.name)
        if entry is not None and report is not None and not _is_removed(entry, report):
            why = "it was not uninstalled in time" if machine.uninstalls else "as its deletionPolicy says"
            found.append((extension, _orphaned(f"left on {extension.vm_name}, which is no longer declared: {why}")))
    return found


def _was_there(extension: VirtualMachineExtension) -> bool:
    """Tell whether a machine has said that it took an extension up, in an enrolment that may have ended."""
    return extension.status.get("sequenceNumber") is not None


def _is_removed(entry: Entry, report: Report | None) -> bool:
    return _removal(entry, report) is not None


def _removal(entry: Entry, report: Report | None) -> Answer | None:
    """Return what the machine says of an entry that it is done with, None before it is."""
    answer = report.answers.get(entry.name) if report is not None else None
    is_done = answer is not None and answer.answers(entry) and answer.outcome is Outcome.REMOVED
    return answer if is_done else None


def _removed(vm: str, entry: Entry, report: Report | None) -> Said:
    """Say what came of a removal: "uninstalled" only where the machine says that its handler is."""
    answer, handler = _removal(entry, report), entry.handler.name
    assert answer is not None, "nobody asks otherwise"
    if answer.kept_by:
        message = f"removed from {vm}; {handler} stays, which {answer.kept_by} has"
        return Said(Reason.REMOVED.value, message, warning=False)
    if answer.reason is None:
        return Said(Reason.REMOVED.value, f"uninstalled from {vm}", warning=False)
    if answer.reason == Reason.NOTHING_INSTALLED.value:
        return Said(Reason.REMOVED.value, f"{vm} had nothing of {handler} installed", warning=False)
    why = f"{answer.reason}: {answer.message}" if answer.message else answer.reason
    return Said(Reason.REMOVED.value, f"removed from {vm}, and not as it should be: {why}", warning=True)

"""Decide when an extension that is being deleted may go, and what is said of how it went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vmext_operator.api.goal_state import Entry, EntryState, Outcome, Report
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core.reasons import Reason

#: An agent that has just read its first goal reports within this time: until then "never reported" may be "not yet".
FIRST_WORD_S = 5.0


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of an extension in an Event; a warning where somebody should look."""

    reason: str
    message: str
    warning: bool


def patience_s(extension: VirtualMachineExtension, report: Report | None) -> float:
    """Return for how long after its deletion an extension waits for its machine to be done with it."""
    whole_s = float(extension.deletion_timeout_seconds)
    return min(whole_s, FIRST_WORD_S) if report is None else whole_s


def say(
    extension: VirtualMachineExtension, entry: Entry | None, report: Report | None, *, is_declared: bool, now: datetime
) -> Said | None:
    """Return what to say when a deleted extension may go, or None while its machine still has to do something.

    Args:
        extension: that is being deleted.
        entry: what its machine is told of it now, None for nothing.
        report: what its machine reported, None where it never did.
        is_declared: whether there is a VirtualMachine for it.
        now: for the deadline.
    """
    vm = extension.vm_name
    if entry is None:
        # It never came into a goal, or the machine's goal is gone with the machine.
        known = not is_declared and extension.status.get("sequenceNumber") is not None
        message = f"{vm} is no longer declared; what the extension did there stays" if known else f"{vm} never had it"
        return Said((Reason.ORPHANED if known else Reason.REMOVED).value, message, warning=known)
    if report is None:
        deleted = extension.meta.deleted
        if deleted is not None and (now - deleted).total_seconds() < patience_s(extension, report):
            return None
        return Said(Reason.REMOVED.value, f"the agent of {vm} has never reported", warning=False)
    if entry.state is EntryState.ORPHAN:
        why = "as its deletionPolicy says" if extension.orphan_on_delete else "it did not uninstall it in time"
        return Said(Reason.ORPHANED.value, f"left on {vm}: {why}", warning=not extension.orphan_on_delete)
    answer = report.answers.get(entry.name)
    if answer is not None and answer.answers(entry) and answer.outcome is Outcome.REMOVED:
        return Said(Reason.REMOVED.value, f"uninstalled from {vm}", warning=False)
    return None

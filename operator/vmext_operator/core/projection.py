"""Project what a machine reports to the status that users see, by kstatus and by Azure's instance view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmext_operator.api import conditions, fields
from vmext_operator.api.goal_state import Answer, Entry, Outcome, Report
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import instance_view, verdict
from vmext_operator.core.reachability import Presence
from vmext_operator.core.reasons import PROGRESS, Reason

#: What is not final: more is to come of it.
_OPEN = (Outcome.RUNNING, Outcome.REMOVED)
#: What stands in a status until the machine says something else.
_LASTING = (
    "typeHandlerVersion", "sequenceNumber", "startTime", "endTime", "handlerStatus", "statuses", "substatuses",
)  # fmt: skip
#: Of what a dependency says: those that depend on it repeat it.
_REPEATED = 500


@dataclass(frozen=True, slots=True)
class Situation:
    """Where an extension stands.

    Attributes:
        extension: as declared.
        entry: its entry in the goal, None while it has none.
        held: why it is not in the goal, None where it is.
        report: what its machine reported, None where it never did.
        presence: whether its machine's agent is there.
        allows_offline: whether a machine that is not there counts as ready with all that it has yet to do.
        is_enrolled: whether a certificate is pinned for its machine.
    """

    extension: VirtualMachineExtension
    entry: Entry | None
    held: verdict.Held | None
    report: Report | None
    presence: Presence = Presence.THERE
    allows_offline: bool = False
    is_enrolled: bool = True

    @property
    def answer(self) -> Answer | None:
        """Return what the machine says of this extension, of this entry or of one before it."""
        answer = self.report.answers.get(self.extension.meta.key.name) if self.report is not None else None
        return answer if answer is not None and answer.uid == self.extension.meta.uid else None

    @property
    def said(self) -> Answer | None:
        """Return what the machine says of exactly this entry, None before it does."""
        answer = self.answer
        return answer if answer is not None and self.entry is not None and answer.answers(self.entry) else None

    @property
    def failed_dependencies(self) -> Sequence[str]:
        """Return what failed of that which kept this one from being begun, and why."""
        if self.report is None or self.said is None or self.said.reason != Reason.DEPENDENCY_FAILED.value:
            return []
        found = [(name, self.report.answers.get(name)) for name in self.extension.depends_on]
        return [
            f"{name}: {answer.reason}: {(answer.message or '')[:_REPEATED]}"
            for name, answer in found
            if answer is not None and answer.outcome is Outcome.FAILED
        ]

    @property
    def is_final(self) -> bool:
        """Tell whether nothing more comes of it by itself: then its status is written at once."""
        if self.held is not None:
            return self.held.patience_s == 0
        return self.said is not None and self.said.outcome is not Outcome.RUNNING

    @property
    def stage(self) -> str:
        """Name where it stands, for telling how long it has stood there."""
        held = "" if self.held is None else self.held.reason.value
        number = -1 if self.entry is None else self.entry.sequence_number
        deleted = self.extension.meta.deleted is not None
        return f"{self.extension.meta.generation}/{number}/{held}/{deleted}/{self.presence.value}"


@dataclass(frozen=True, slots=True)
class Projected:
    """A status to be, and after how many seconds it would change by the clock alone (None: never)."""

    status: dict[str, Any]
    conditions: tuple[conditions.Condition, ...]
    changes_in_s: float | None


def project_extension(situation: Situation, *, stage_age_s: float, now: str) -> Projected:
    """Return the status of an extension.

    Args:
        situation: where it stands.
        stage_age_s: for how long it has stood there.
        now: RFC 3339, for conditions that change.
    """
    extension = situation.extension
    wanted, changes_in_s = _conditions(situation, stage_age_s)
    current = extension.status.get("conditions") or ()
    status: dict[str, Any] = {
        "observedGeneration": extension.meta.generation,
        "provisioningState": _provisioning_state(situation, wanted),
        "conditions": conditions.render(wanted, current, extension.meta.generation, now),
    }
    answer = situation.answer
    if answer is not None:
        said = answer.raw.get("extensionStatus")
        status |= fields.without_none(
            {
                "typeHandlerVersion": answer.installed_version,
                "sequenceNumber": answer.sequence_number,
                "startTime": answer.raw.get("startTime"),
                "endTime": answer.raw.get("endTime"),
                "handlerStatus": answer.raw.get("handlerStatus"),
                "statuses": _statuses(answer, said),
                "substatuses": instance_view.substatuses(said.get("substatuses") or ()) or None if said else None,
            }
        )
    else:
        # What the machine said last outlives the goal state: a number that is given after it must be higher, and what
        # is enabled stays enabled while nobody is enrolled as that machine.
        status |= {name: extension.status[name] for name in _LASTING if name in extension.status}
    return Projected(status, wanted, changes_in_s)


def _statuses(answer: Answer, said: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    if said:
        return instance_view.statuses(said)
    if answer.outcome is Outcome.FAILED:
        handler = answer.raw.get("handlerStatus") or {}
        return instance_view.failure(handler.get("code", 0), answer.message or "", answer.raw.get("endTime"))
    return None


def _conditions(situation: Situation, stage_age_s: float) -> tuple[tuple[conditions.Condition, ...], float | None]:
    extension, held, said = situation.extension, situation.held, situation.said
    if extension.meta.deleted is not None:
        why = f"; last: {said.message}" if said is not None and said.outcome is Outcome.FAILED and said.message else ""
        if situation.presence is Presence.SILENT:
            why = f"; it can't be reached now{why}"
        if held is not None and held.reason is Reason.PAUSED:
            return conditions.reconciling(Reason.PAUSED.value, held.message), None
        limit = f"{extension.deletion_timeout_seconds} s after its deletion"
        message = f"{extension.vm_name} is told to uninstall it, until {limit}{why}"
        return conditions.reconciling(Reason.UNINSTALLING.value, message), None
    if held is not None:
        if held.awaits_machine and situation.presence is not Presence.THERE and situation.allows_offline:
            return _allowed_offline(situation, held.message), None
        if held.awaits_machine and situation.presence is Presence.NEVER and not situation.is_enrolled:
            return _absent(situation), None
        if held.patience_s is None:
            return conditions.reconciling(held.reason.value, held.message), None
        left = held.patience_s - stage_age_s
        if left > 0:
            return conditions.reconciling(held.reason.value, held.message), left
        return conditions.stalled(held.reason.value, held.message), None
    if situation.presence is not Presence.THERE and (said is None or said.outcome in _OPEN):
        return _absent(situation), None
    if said is None:
        return conditions.reconciling(Reason.PENDING.value, f"{extension.vm_name} has not begun with it"), None
    if said.outcome is Outcome.SUCCEEDED:
        message = "; ".join([said.message or f"{extension.vm_name} has it", *said.notes])
        return conditions.ready(Reason.SUCCEEDED.value, message), None
    if said.outcome is Outcome.FAILED:
        message = "; ".join([said.message or "the machine gave no message", *situation.failed_dependencies])
        # That what it depends on failed is not its own failure: it has not run.
        if extension.suppress_failures and said.reason != Reason.DEPENDENCY_FAILED.value:
            return conditions.ready(
                Reason.FAILURE_SUPPRESSED.value, f"failed, and suppressFailures is set: {message}"
            ), None
        return conditions.stalled(said.reason or Reason.EXECUTION_FAILED.value, message), None
    if said.outcome is Outcome.REMOVED:
        return conditions.reconciling(Reason.PENDING.value, f"{extension.vm_name} no longer has it"), None
    progress = said.reason or PROGRESS.get(said.operation or "", Reason.PENDING.value)
    message = "; ".join([said.message or f"{progress} on {extension.vm_name}", *said.notes])
    return conditions.reconciling(progress, message), None


def _absent(situation: Situation) -> tuple[conditions.Condition, ...]:
    """Say that a machine that is not there has yet to do something: nobody's fault, and no end in sight."""
    vm = situation.extension.vm_name
    if situation.presence is Presence.NEVER and not situation.is_enrolled:
        reason = Reason.NOT_ENROLLED
        message = f"no machine is enrolled as {vm}; enrol one: kubectl vmext enroll {vm}"
    elif situation.presence is Presence.NEVER:
        reason = Reason.AGENT_NEVER_REPORTED
        message = f"the agent of {vm} has never reported; install and start it there"
    else:
        reason = Reason.GUEST_UNREACHABLE
        message = f"{vm} can't be reached; it is carried out when that comes back"
    if situation.allows_offline:
        return _allowed_offline(situation, message)
    return conditions.reconciling(reason.value, message)


def _allowed_offline(situation: Situation, message: str) -> tuple[conditions.Condition, ...]:
    message = f"the readiness of {situation.extension.vm_name} is AllowOffline, and {message}"
    return conditions.ready(Reason.ALLOWED_OFFLINE.value, message)


def _provisioning_state(situation: Situation, wanted: Sequence[conditions.Condition]) -> str:
    if situation.extension.meta.deleted is not None:
        return "Deleting"
    kinds = {condition.type for condition in wanted}
    if "Stalled" in kinds:
        return "Failed"
    if "Reconciling" not in kinds and wanted[0].reason != Reason.ALLOWED_OFFLINE.value:
        return "Succeeded"
    return "Creating" if situation.answer is None or situation.answer.installed_version is None else "Updating"

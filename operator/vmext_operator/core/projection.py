"""Project what a machine reports to the status that users see, by kstatus and by Azure's instance view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmext_operator.api import conditions, fields
from vmext_operator.api.goal_state import Answer, Entry, Outcome, Report
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import instance_view, verdict
from vmext_operator.core.reasons import PROGRESS, Reason

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
    """

    extension: VirtualMachineExtension
    entry: Entry | None
    held: verdict.Held | None
    report: Report | None

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
        return f"{self.extension.meta.generation}/{number}/{held}/{self.extension.meta.deleted is not None}"


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
    elif isinstance(extension.status.get("sequenceNumber"), int):
        # The number outlives the goal state: what is made again after it must be higher.
        status["sequenceNumber"] = extension.status["sequenceNumber"]
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
        limit = f"{extension.deletion_timeout_seconds} s after its deletion"
        message = f"{extension.vm_name} is told to uninstall it, until {limit}{why}"
        return conditions.reconciling(Reason.UNINSTALLING.value, message), None
    if held is not None:
        if held.patience_s is None:
            return conditions.reconciling(held.reason.value, held.message), None
        left = held.patience_s - stage_age_s
        if left > 0:
            return conditions.reconciling(held.reason.value, held.message), left
        return conditions.stalled(held.reason.value, held.message), None
    if said is None:
        if situation.report is None:
            message = f"the agent of {extension.vm_name} has never reported; install and start it there"
            return conditions.reconciling(Reason.AGENT_NEVER_REPORTED.value, message), None
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


def _provisioning_state(situation: Situation, wanted: Sequence[conditions.Condition]) -> str:
    if situation.extension.meta.deleted is not None:
        return "Deleting"
    kinds = {condition.type for condition in wanted}
    if "Stalled" in kinds:
        return "Failed"
    if "Reconciling" not in kinds:
        return "Succeeded"
    return "Creating" if situation.answer is None or situation.answer.installed_version is None else "Updating"


def _enrolled(machine: VirtualMachine, refused: str) -> conditions.Condition:
    pinned = machine.credential
    if refused:
        return conditions.Condition("Enrolled", "False", Reason.CERTIFICATE_REFUSED.value, refused)
    if pinned is None or not pinned.certificate:
        message = f"no certificate is pinned for it; enrol it: kubectl vmext enroll {machine.meta.key.name}"
        return conditions.Condition("Enrolled", "False", Reason.NOT_ENROLLED.value, message)
    message = f"it is known by the certificate {pinned.thumbprint}"
    return conditions.Condition("Enrolled", "True", Reason.ENROLLED.value, message)


def project_machine(
    machine: VirtualMachine, report: Report | None, extensions: Sequence[Projected], refused: str, now: datetime
) -> dict[str, Any]:
    """Return the status of a machine: what it is known by, whether its agent reports, the count of its extensions.

    Args:
        machine: with what it is known by.
        report: what it reported, None where it never did.
        extensions: as projected.
        refused: why the certificate that it proposes is not taken; empty for none.
        now: for conditions that change.
    """
    pinned = machine.credential
    if pinned is not None and pinned.expires_at and datetime.fromisoformat(pinned.expires_at) <= now:
        message = f"its token ended at {pinned.expires_at}; enrol it anew: kubectl vmext enroll {machine.meta.key.name}"
        wanted: tuple[conditions.Condition, ...] = (
            conditions.Condition("Ready", "Unknown", Reason.CREDENTIAL_EXPIRED.value, message),
        )
    elif report is None:
        message = "no agent has reported for this machine; install the agent on it and start it"
        wanted = (conditions.Condition("Ready", "Unknown", Reason.AGENT_NEVER_REPORTED.value, message),)
    else:
        wanted = conditions.ready(Reason.AGENT_REPORTING.value, "the agent reports")
    verdicts = [{condition.type: condition.status for condition in projected.conditions} for projected in extensions]
    return fields.without_none(
        {
            "observedGeneration": machine.meta.generation,
            "agentVersion": report.agent_version if report is not None else None,
            "guest": dict(report.guest) if report is not None and report.guest else None,
            "credential": None if pinned is None else pinned.render(),
            "extensions": {
                "total": len(verdicts),
                "ready": sum(1 for one in verdicts if one["Ready"] == "True"),
                "failed": sum(1 for one in verdicts if "Stalled" in one),
            },
            "conditions": conditions.render(
                (*wanted, _enrolled(machine, refused)),
                machine.status.get("conditions") or (),
                machine.meta.generation,
                now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            ),
        }
    )

"""The status of a machine: whether its agent is there, what it is known by, and how its extensions are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vmext_operator.api import conditions, fields
from vmext_operator.api.goal_state import Report, Undeclared
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.core import undeclared
from vmext_operator.core.identity import SHORT_LIFETIME_S, overdue
from vmext_operator.core.projection import Projected
from vmext_operator.core.reachability import CONDITION, Presence
from vmext_operator.core.reasons import Reason


def project(
    machine: VirtualMachine,
    report: Report | None,
    presence: Presence,
    extensions: Sequence[Projected],
    refused: str,
    now: datetime,
    *,
    duplicate: conditions.Condition | None = None,
    paused: bool = False,
    others: Sequence[Undeclared] = (),
) -> dict[str, Any]:
    """Return the status of a machine.

    Args:
        machine: with what it is known by.
        report: what it reported, None where it never did.
        presence: whether its agent is there.
        extensions: as projected.
        refused: why the certificate that it proposes is not taken; empty for none.
        now: for conditions that change.
        duplicate: what is to be said of other machines with its identity, None for nothing.
        paused: whether the whole operator is.
        others: what is on it and declared nowhere.
    """
    wanted = (
        _ready(machine, presence, duplicate, now),
        _reachable(machine, presence),
        _enrolled(machine, refused, overdue(report.held if report is not None else None, now)),
        *_paused(machine, paused=paused),
        *(() if duplicate is None else (duplicate,)),
        *undeclared.condition(machine.meta.key.name, others),
    )
    verdicts = [{condition.type: condition.status for condition in projected.conditions} for projected in extensions]
    return fields.without_none(
        {
            "observedGeneration": machine.meta.generation,
            "agentVersion": report.agent_version if report is not None else None,
            "guest": dict(report.guest) if report is not None and report.guest else None,
            "credential": None if machine.credential is None else machine.credential.render(),
            "extensions": {
                "total": len(verdicts),
                "ready": sum(1 for one in verdicts if one["Ready"] == "True"),
                "failed": sum(1 for one in verdicts if "Stalled" in one),
            },
            "undeclared": [one.render() for one in others] or None,
            "conditions": conditions.render(
                wanted,
                machine.status.get("conditions") or (),
                machine.meta.generation,
                now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            ),
        }
    )


def _ready(
    machine: VirtualMachine, presence: Presence, duplicate: conditions.Condition | None, now: datetime
) -> conditions.Condition:
    """Return whether the machine is as declared; one that may be off is, however it is off."""
    name, pinned = machine.meta.key.name, machine.credential
    if pinned is not None and pinned.expires_at and datetime.fromisoformat(pinned.expires_at) <= now:
        reason = Reason.CREDENTIAL_EXPIRED
        message = f"its token ended at {pinned.expires_at}; enrol it anew: kubectl vmext enroll {name}"
    elif presence is Presence.NEVER and not machine.is_enrolled:
        reason = Reason.NOT_ENROLLED
        message = f"no machine is enrolled as {name}; enrol one: kubectl vmext enroll {name}"
    elif presence is Presence.NEVER:
        reason = Reason.AGENT_NEVER_REPORTED
        message = "no agent has reported for this machine; install the agent on it and start it"
    elif presence is Presence.SILENT:
        reason, message = Reason.GUEST_UNREACHABLE, _silence(machine)
    elif duplicate is not None and duplicate.reason == Reason.DUPLICATE_IDENTITY.value:
        # What is reported is of two machines. One that may be off is none that may be two.
        return conditions.Condition("Ready", "Unknown", duplicate.reason, duplicate.message)
    else:
        return conditions.Condition("Ready", "True", Reason.AGENT_REPORTING.value, "the agent reports")
    if machine.allows_offline:
        message = f"its readiness is AllowOffline, and {message}"
        return conditions.Condition("Ready", "True", Reason.ALLOWED_OFFLINE.value, message)
    return conditions.Condition("Ready", "Unknown", reason.value, message)


def _paused(machine: VirtualMachine, *, paused: bool) -> tuple[conditions.Condition, ...]:
    if not machine.paused and not paused:
        return ()
    who = "it is paused" if machine.paused else "the operator is paused"
    message = f"{who}: what it is told of its extensions stays as it is, and their deletions wait"
    return (conditions.Condition("Paused", "True", Reason.PAUSED.value, message),)


def _reachable(machine: VirtualMachine, presence: Presence) -> conditions.Condition:
    if presence is Presence.THERE:
        message = f"its agent gave a sign of life within {machine.unreachable_after_s} s"
        return conditions.Condition(CONDITION, "True", Reason.AGENT_REPORTING.value, message)
    if presence is Presence.SILENT:
        return conditions.Condition(CONDITION, "False", Reason.GUEST_UNREACHABLE.value, _silence(machine))
    message = "its agent has never reported"
    return conditions.Condition(CONDITION, "Unknown", Reason.AGENT_NEVER_REPORTED.value, message)


def _silence(machine: VirtualMachine) -> str:
    return (
        f"its agent has given no sign of life for more than {machine.unreachable_after_s} s; "
        "see that the machine runs and reaches the API server"
    )


def _enrolled(machine: VirtualMachine, refused: str, late: str) -> conditions.Condition:
    pinned = machine.credential
    if refused:
        return conditions.Condition("Enrolled", "False", Reason.CERTIFICATE_REFUSED.value, refused)
    if pinned is None or not pinned.certificate:
        message = f"no certificate is pinned for it; enrol it: kubectl vmext enroll {machine.meta.key.name}"
        return conditions.Condition("Enrolled", "False", Reason.NOT_ENROLLED.value, message)
    message = f"it is known by the certificate {pinned.thumbprint}"
    if late:
        message = f"{late}; see vmext-agent status there. {message}"
        return conditions.Condition("Enrolled", "True", Reason.RENEWAL_OVERDUE.value, message)
    if pinned.lifetime_s is not None and 0 < pinned.lifetime_s < SHORT_LIFETIME_S:
        message += (
            f"; its tokens are granted for {_hours(pinned.lifetime_s)} alone: switched off for longer, it has to be "
            "enrolled anew. See --token-days and --credential-mode of the operator, and the API server's "
            "--service-account-max-token-expiration"
        )
    return conditions.Condition("Enrolled", "True", Reason.ENROLLED.value, message)


def _hours(seconds: int) -> str:
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:.1f} days"

"""Decide about a machine's identity: what it is given, which certificate is pinned, when it needs another token."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from vmext_operator.api import GROUP, goal_state
from vmext_operator.api.credential import NEVER, PREFIX, CertificateRequest, Held, NextToken, Pinned
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.core import certificate
from vmext_operator.errors import CertificateError

_RBAC = "rbac.authorization.k8s.io"
_COORDINATION = "coordination.k8s.io"
#: Of what a machine is given: group, version and plural.
KINDS = (
    "core/v1/serviceaccounts",
    f"{_RBAC}/v1/roles",
    f"{_RBAC}/v1/rolebindings",
    f"{_COORDINATION}/v1/leases",
)
#: A token is renewed when between these parts of its life are over: which one, the machine's UID says, so that a fleet
#: that was enrolled in one hour is not renewed in one.
_RENEWED_FROM, _RENEWED_TO = 0.5, 0.6
#: From this part of a token's life on its renewal is overdue: a machine that is there takes another within seconds.
_OVERDUE_FROM = 0.7
#: What was minted is given this long to be taken before another one is.
_TAKEN_WITHIN_S = 600.0
#: A machine whose tokens live shorter than this is shut out by a week's holiday.
SHORT_LIFETIME_S = 7 * 86_400


def account(name: str) -> str:
    """Return the name of all that a machine is given."""
    return PREFIX + name


def enrolment(name: str) -> str:
    """Return the name of the Secret that a machine's first token is bound to, by whoever enrols it."""
    return f"{PREFIX}{name}-enroll"


def long_lived(name: str) -> str:
    """Return the name of the Secret with a machine's token that does not end, where there is to be one."""
    return f"{PREFIX}{name}-token"


def long_lived_secret(machine: VirtualMachine) -> dict[str, Any]:
    """Return that Secret; the cluster's own controller fills it, and the token ends with it."""
    name = machine.meta.key.name
    own = metadata(machine)
    annotations = {**own["annotations"], "kubernetes.io/service-account.name": account(name)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**own, "name": long_lived(name), "annotations": annotations},
        "type": "kubernetes.io/service-account-token",
    }


def long_lived_id(token: str) -> str:
    """Return what a token without a jti is called: nobody can guess a token by it, since there is a signature in it."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def belongings(machine: VirtualMachine, anchor_uid: str) -> Sequence[dict[str, Any]]:
    """Return what a machine is given besides its anchor, in the order of ``KINDS``.

    Its account may read the goal state of its present enrolment by name, write that one's status, and renew its own
    Lease: nothing else.
    """
    name, namespace = machine.meta.key.name, machine.meta.key.namespace
    own = metadata(machine)
    by_name = {"apiGroups": [GROUP], "resourceNames": [goal_state.name_of(name, anchor_uid)]}
    rules = [
        {**by_name, "resources": ["goalstates"], "verbs": ["get", "list", "watch"]},
        {**by_name, "resources": ["goalstates/status"], "verbs": ["patch"]},
        {
            "apiGroups": [_COORDINATION],
            "resources": ["leases"],
            "resourceNames": [account(name)],
            "verbs": ["get", "update"],
        },
    ]
    subject = {"kind": "ServiceAccount", "name": account(name), "namespace": namespace}
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own, "automountServiceAccountToken": False},
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": own, "rules": rules},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": account(name)},
            "subjects": [subject],
        },
        {"apiVersion": f"{_COORDINATION}/v1", "kind": "Lease", "metadata": own, "spec": {}},
    )


def anchor(machine: VirtualMachine) -> dict[str, Any]:
    """Return the Secret that a machine's tokens are bound to; there is nothing in it."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(machine), "type": "Opaque"}


def metadata(machine: VirtualMachine) -> dict[str, Any]:
    """Return the metadata of what belongs to a machine."""
    name = machine.meta.key.name
    labels = {"app.kubernetes.io/managed-by": "vmext", "vmext.dev/vm": name}
    return {"name": account(name), "labels": labels, "annotations": {"vmext.dev/vm-uid": machine.meta.uid}}


@dataclass(frozen=True, slots=True)
class Settled:
    """A machine's identity as it is from now on, and why its request was not granted (empty where it was)."""

    pinned: Pinned
    refused: str = ""


def settle(
    pinned: Pinned | None, anchor_uid: str, request: CertificateRequest | None, held: Held | None, vm_uid: str
) -> Settled:
    """Return what is to be held of a machine.

    The first certificate that is proposed for an anchor is pinned. Another one needs a signature by the pinned one's
    key; another anchor (the old one was deleted) lets go of what was pinned for it.
    """
    if pinned is None or pinned.anchor_uid != anchor_uid:
        pinned = Pinned(anchor_uid)
    is_for_anchor = request is not None and request.anchor_uid == anchor_uid
    if held is not None and held.expires_at == NEVER and is_for_anchor:
        pinned = replace(pinned, expires_at="", lifetime_s=0)
    elif held is not None and held.bound_uid == anchor_uid:
        lifetime_s = max(1, int((held.expires_at - held.issued_at).total_seconds()))
        pinned = replace(pinned, expires_at=held.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"), lifetime_s=lifetime_s)
    if request is None or request.anchor_uid != anchor_uid:
        return Settled(pinned)
    if pinned.certificate and request.certificate == pinned.certificate:
        return Settled(pinned)
    try:
        found = certificate.check(request.certificate, vm_uid)
    except CertificateError as error:
        return Settled(pinned, str(error))
    if found.thumbprint == pinned.thumbprint:
        return Settled(pinned)
    if pinned.certificate and not certificate.is_vouched_for(found, request.signature, pinned.certificate):
        why = f"{found.thumbprint} is proposed, which the key of {pinned.thumbprint} has not signed; "
        return Settled(pinned, f"{why}if the machine was made anew, enrol it with --again")
    return Settled(replace(pinned, certificate=found.pem, thumbprint=found.thumbprint))


def renew_in_s(
    pinned: Pinned, held: Held | None, upcoming: NextToken | None, vm_uid: str, now: datetime
) -> float | None:
    """Return in how many seconds a machine's next token is to be minted, 0 for now; None for nobody who could read it.

    Args:
        pinned: what is held of it.
        held: the token that it says it uses.
        upcoming: the token that it was given last.
        vm_uid: spreads a fleet's renewals.
        now: wall time.
    """
    if not pinned.certificate or held is None or held.expires_at <= now:
        return None
    life = held.expires_at - held.issued_at
    part = _RENEWED_FROM + (_RENEWED_TO - _RENEWED_FROM) * share(vm_uid)
    # A token that is not bound to the anchor is the one that it was enrolled with, or one that does not end.
    due = held.issued_at + life * part if held.bound_uid == pinned.anchor_uid else now
    waits = upcoming is not None and upcoming.id != held.id and upcoming.thumbprint == pinned.thumbprint
    ends = now if held.expires_at == NEVER else max(now, held.expires_at)
    if waits and upcoming is not None and _expiry(upcoming) > ends:
        # It has not taken yet what it was given. While that is good it is given nothing else.
        due = max(due, _expiry(upcoming) - timedelta(seconds=_TAKEN_WITHIN_S))
    return max(0.0, (due - now).total_seconds())


def overdue(held: Held | None, now: datetime) -> str:
    """Return why a machine's token is not renewed though it is time, in words; empty where it need not be yet.

    A machine that is switched off says nothing: that it is unreachable is said elsewhere.
    """
    if held is None or not overdue_from(held) <= now < held.expires_at:
        return ""
    why = f"the machine says: {held.renewal_error}" if held.renewal_error else "the machine has not taken another one"
    return f"its token ends at {held.expires_at.strftime('%Y-%m-%dT%H:%M:%SZ')} and is not renewed: {why}"


def overdue_from(held: Held) -> datetime:
    """Return from when on a token should have been renewed."""
    return NEVER if held.expires_at == NEVER else held.issued_at + (held.expires_at - held.issued_at) * _OVERDUE_FROM


def wants_long_lived(pinned: Pinned, held: Held | None, upcoming: NextToken | None) -> bool:
    """Tell whether a machine does not use yet what it was given for good, or was given nothing that it can read."""
    if not pinned.certificate or held is None:
        return False
    return upcoming is None or (held.id, pinned.thumbprint, "") != (
        upcoming.id,
        upcoming.thumbprint,
        upcoming.expires_at,
    )


def share(uid: str) -> float:
    """Return a number from 0 to 1 that is always the same for one machine, and spreads many."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") / 2.0**32


def _expiry(token: NextToken) -> datetime:
    return datetime.fromisoformat(token.expires_at) if token.expires_at else NEVER

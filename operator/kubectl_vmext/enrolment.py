"""Enrol machines and revoke what they were given: the first token, bound to a Secret that ends with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kubectl_vmext.cluster import GOALS, MACHINES, Address, Cluster, Object
from kubectl_vmext.errors import NotFoundError, PluginError, TimedOutError
from vmext_operator.api import goal_state
from vmext_operator.core import identity

#: The operator takes a machine up in a fraction of a second; an API server in trouble takes longer.
_TAKEN_UP_WITHIN_S = 30.0
#: What machines are given unless the operator is told otherwise, and below which a machine that is off for a
#: weekend and a holiday has to be enrolled anew.
_LIFETIME_S, SHORT_S = 30 * 86_400, 7 * 86_400


def machines(cluster: Cluster, names: list[str], selector: str | None) -> list[str]:
    """Return the names of the machines that are meant. Raises NotFoundError where one is not there, or none."""
    if selector is not None:
        names = [one["metadata"]["name"] for one in cluster.list(cluster.of(MACHINES), labelSelector=selector)]
        if not names:
            raise NotFoundError(f"no VirtualMachine in namespace {cluster.namespace} has the labels {selector}")
    for name in names:
        if cluster.get(cluster.of(MACHINES, name)) is None:
            raise NotFoundError(f"namespace {cluster.namespace} has no VirtualMachine {name}; declare it first")
    return names


def expired(cluster: Cluster, selector: str | None, now: datetime) -> list[str]:
    """Return the names of the machines whose token has ended, in order. Raises PluginError."""
    query = {"labelSelector": selector} if selector is not None else {}
    found = cluster.list(cluster.of(MACHINES), **query)
    return sorted(one["metadata"]["name"] for one in found if is_expired(one, now))


def is_expired(machine: Object, now: datetime) -> bool:
    """Tell whether a machine's token has ended: by what its conditions say, or by the time that stands there."""
    status: Mapping[str, Any] = machine.get("status") or {}
    if any(one.get("reason") == "CredentialExpired" for one in status.get("conditions") or ()):
        return True
    ends = (status.get("credential") or {}).get("expiresAt")
    return isinstance(ends, str) and datetime.fromisoformat(ends) <= now


def granted_s(cluster: Cluster, name: str, bound: Mapping[str, str], now: datetime) -> float | None:
    """Return for how long the API server grants a token at most, of what operators ask for; None if it won't say.

    It is asked by a dry run. A server that grants one all the same has bound it to what ends with the enrolment.
    """
    path = f"{cluster.core('serviceaccounts', identity.account(name))}/token?dryRun=All"
    try:
        answer = cluster.request("POST", path, {"spec": {"expirationSeconds": _LIFETIME_S, "boundObjectRef": bound}})
        ends = datetime.fromisoformat(answer["status"]["expirationTimestamp"])
    except (PluginError, KeyError, TypeError, ValueError):
        return None
    return (ends - now).total_seconds()


class Enrolled(NamedTuple):
    """What a machine has to be given, and the Secret that its token is bound to."""

    bundle: Mapping[str, str]
    bound: Mapping[str, str]


def enrol(cluster: Cluster, name: str, address: Address, *, seconds: int, again: bool) -> Enrolled:
    """Return what a machine has to be given, with a new token; it ends once the machine has taken another.

    Args:
        cluster: where the machine is declared.
        name: of the machine.
        address: that the machine reaches the API server by.
        seconds: that the token lives at most.
        again: let go of the certificate that is pinned, and end all tokens.

    Raises:
        PluginError: the operator has not taken the machine up, or the API server refuses.
    """
    if again:
        revoke(cluster, name)
    machine = _await_anchor(cluster, name)
    bound = _bind(cluster, machine, name)
    account = identity.account(name)
    body = {"spec": {"expirationSeconds": seconds, "boundObjectRef": bound}}
    token = cluster.request("POST", f"{cluster.core('serviceaccounts', account)}/token", body)["status"]["token"]
    bundle = {
        "server": address.server,
        "ca": address.ca,
        "namespace": cluster.namespace,
        "name": name,
        "uid": machine["metadata"]["uid"],
        "anchorUID": anchor(machine),
        "goalState": goal_state.name_of(name, anchor(machine)),
        "token": token,
    }
    return Enrolled(bundle, bound)


def revoke(cluster: Cluster, name: str) -> None:
    """End every token of a machine, and let go of its certificate and its goal state.

    The API server takes the tokens for up to 10 s more (its cache), and lets a watch that is open go on. But once the
    goal state bears the mark nothing more is written to it, by whichever operator; what is declared from then on goes
    into another one, by another name.

    Raises PluginError.
    """
    path = cluster.of(MACHINES, name)
    before = anchor(cluster.get(path))
    for secret in (identity.enrolment(name), identity.long_lived(name), identity.account(name)):
        cluster.delete(cluster.core("secrets", secret))
    mark = {goal_state.REVOKED: datetime.now(UTC).isoformat(timespec="microseconds")}
    try:
        own = cluster.of(GOALS, goal_state.name_of(name, before))
        cluster.request("PATCH", own, {"metadata": {"annotations": mark}})
    except NotFoundError:
        # It has none yet: the operator looks at the anchor before it makes one.
        pass
    try:
        cluster.await_(path, lambda one: anchor(one) not in ("", before), timeout_s=_TAKEN_UP_WITHIN_S)
    except TimedOutError:
        raise TimedOutError(
            f"the tokens of {name} end now, but the operator has not let go of its certificate within "
            f"{_TAKEN_UP_WITHIN_S:.0f} s; is it running? see kubectl vmext doctor"
        ) from None


def anchor(machine: Object | None) -> str:
    """Return the UID of a machine's anchor, empty for none."""
    status: Mapping[str, Any] = (machine or {}).get("status") or {}
    return str((status.get("credential") or {}).get("anchorUID", ""))


def thumbprint(machine: Object | None) -> str:
    """Return the thumbprint of a machine's certificate, empty for none."""
    status: Mapping[str, Any] = (machine or {}).get("status") or {}
    return str((status.get("credential") or {}).get("thumbprint", ""))


def command(bundle: Mapping[str, str]) -> str:
    """Return what to run on the machine: the token goes by here-document, since arguments are everybody's to read."""
    return f"vmext-agent enroll <<'VMEXT'\n{json.dumps(bundle, indent=1)}\nVMEXT\n"


def _await_anchor(cluster: Cluster, name: str) -> Object:
    path = cluster.of(MACHINES, name)
    try:
        found = cluster.await_(path, lambda one: one is None or bool(anchor(one)), timeout_s=_TAKEN_UP_WITHIN_S)
    except TimedOutError:
        raise TimedOutError(
            f"the operator has not taken {name} up within {_TAKEN_UP_WITHIN_S:.0f} s; is it running? "
            f"see kubectl vmext doctor --vm-name {name}"
        ) from None
    if found is None:
        raise NotFoundError(f"VirtualMachine {name} was deleted meanwhile")
    return found


def _bind(cluster: Cluster, machine: Object, name: str) -> Mapping[str, str]:
    """Make the Secret that the token is bound to anew; tokens of an enrolment before this one end."""
    secret = identity.enrolment(name)
    cluster.delete(cluster.core("secrets", secret))
    labels = {"app.kubernetes.io/managed-by": "vmext", "vmext.dev/vm": name}
    annotations = {"vmext.dev/vm-uid": machine["metadata"]["uid"]}
    metadata = {"name": secret, "labels": labels, "annotations": annotations}
    made = cluster.request(
        "POST", cluster.core("secrets"), {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    )
    return {"apiVersion": "v1", "kind": "Secret", "name": secret, "uid": made["metadata"]["uid"]}

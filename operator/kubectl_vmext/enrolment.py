"""Enrol machines and revoke what they were given: the first token, bound to a Secret that ends with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubectl_vmext.cluster import Address, Cluster, Object
from kubectl_vmext.errors import PluginError
from vmext_operator.api.credential import LOOK_AGAIN
from vmext_operator.core import identity

MACHINES = "virtualmachines"
#: The operator takes a machine up in a fraction of a second; an API server in trouble takes longer.
_TAKEN_UP_WITHIN_S = 30.0
_DAY_S = 86_400


def machines(cluster: Cluster, names: list[str], selector: str | None) -> list[str]:
    """Return the names of the machines that are meant. Raises PluginError where one is not there, or none."""
    if selector is not None:
        query = f"?labelSelector={selector}"
        names = [one["metadata"]["name"] for one in cluster.request("GET", cluster.of(MACHINES) + query)["items"]]
        if not names:
            raise PluginError(f"no VirtualMachine in namespace {cluster.namespace} has the labels {selector}")
    for name in names:
        if cluster.get(cluster.of(MACHINES, name)) is None:
            raise PluginError(f"namespace {cluster.namespace} has no VirtualMachine {name}; declare it first")
    return names


def enrol(cluster: Cluster, name: str, address: Address, *, seconds: int, again: bool) -> Mapping[str, str]:
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
    machine = cluster.await_(
        cluster.of(MACHINES, name), lambda found: bool(anchor(found)), timeout_s=_TAKEN_UP_WITHIN_S
    )
    if machine is None:
        raise PluginError(
            f"the operator has not taken {name} up within {_TAKEN_UP_WITHIN_S:.0f} s; is it running? "
            f"see kubectl describe xvm {name}"
        )
    bound = _bind(cluster, machine, name)
    account = identity.account(name)
    body = {"spec": {"expirationSeconds": seconds, "boundObjectRef": bound}}
    token = cluster.request("POST", f"{cluster.core('serviceaccounts', account)}/token", body)["status"]["token"]
    return {
        "server": address.server,
        "ca": address.ca,
        "namespace": cluster.namespace,
        "name": name,
        "uid": machine["metadata"]["uid"],
        "anchorUID": anchor(machine),
        "token": token,
    }


def revoke(cluster: Cluster, name: str) -> None:
    """End every token of a machine, and let go of its certificate: within 10 s, the API server's cache.

    Raises PluginError.
    """
    path = cluster.of(MACHINES, name)
    before = anchor(cluster.get(path))
    cluster.delete(cluster.core("secrets", identity.enrolment(name)))
    cluster.delete(cluster.core("secrets", identity.account(name)))
    annotations = {LOOK_AGAIN: datetime.now(UTC).isoformat(timespec="microseconds")}
    cluster.request("PATCH", path, {"metadata": {"annotations": annotations}})
    found = cluster.await_(path, lambda one: anchor(one) not in ("", before), timeout_s=_TAKEN_UP_WITHIN_S)
    if found is None:
        raise PluginError(
            f"the tokens of {name} end now, but the operator has not let go of its certificate within "
            f"{_TAKEN_UP_WITHIN_S:.0f} s; is it running?"
        )


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

"""Who reaches the API server as whom: the operator by its own account, an agent that no operator gave anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import control_plane
from development.api import Api, ApiError
from vmext_operator.api import virtual_machine
from vmext_operator.api.meta import Key
from vmext_operator.cluster.identities import ACCOUNTS, path
from vmext_operator.core import identity

#: Where the operator is, and as whom.
NAMESPACE, OPERATOR = "vmext-system", "vmext-operator"


def of_operator(cluster: control_plane.Cluster, folder: Path, *, server: str | None = None) -> Path:
    """Return a kubeconfig in that folder with which its holder is the operator, and may do what that may, for a day.

    Args:
        cluster: whose API server; the operator's rights are there.
        folder: takes the file.
        server: another address of the API server, such as a proxy's.
    """
    token = cluster.kubectl("create", "token", OPERATOR, f"--namespace={NAMESPACE}", "--duration=24h").strip()
    return kubeconfig(cluster, token, folder / "operator.kubeconfig", server=server)


def kubeconfig(cluster: control_plane.Cluster, token: str, file: Path, *, server: str | None = None) -> Path:
    """Write a kubeconfig for whoever has a token; return the file, which nobody else can read."""
    address = server or cluster.server
    where = {"server": address}
    if address.startswith("https:"):
        where["certificate-authority"] = str(cluster.ca_file)
    name = "vmext"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": where}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        json.dump(content, output)
    return file


def issue(api: Api, name: str, anchor_uid: str, *, seconds: int = 86_400) -> str:
    """Make what belongs to a machine's enrolment where it is missing; return a new token for it, bound to nothing."""
    metadata = {"name": name, "namespace": api.namespace, "uid": "uid-vm", "resourceVersion": "1"}
    machine = virtual_machine.parse({"metadata": metadata | {"creationTimestamp": "2026-01-01T00:00:00Z"}})
    for kind, obj in zip(identity.KINDS, identity.belongings(machine, anchor_uid), strict=True):
        _create(api, path(kind, Key(api.namespace, "")), obj)
    account = path(ACCOUNTS, Key(api.namespace, identity.account(name)))
    answer = api.request("POST", f"{account}/token", {"spec": {"audiences": [], "expirationSeconds": seconds}})
    return str(answer["status"]["token"])


def _create(api: Api, target: str, obj: Mapping[str, Any]) -> None:
    try:
        api.request("POST", target, obj)
    except ApiError as error:
        if error.status != 409:
            raise

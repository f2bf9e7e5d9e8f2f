"""What an agent needs to reach the API server where no operator gives it: the same account, role and binding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from development.api import Api, ApiError
from vmext_operator.api import virtual_machine
from vmext_operator.api.meta import Key
from vmext_operator.cluster.identities import ACCOUNTS, path
from vmext_operator.core import identity


def issue(api: Api, name: str, *, seconds: int = 86_400) -> str:
    """Make what belongs to a machine where it is missing; return a new token for it, bound to nothing."""
    metadata = {"name": name, "namespace": api.namespace, "uid": "uid-vm", "resourceVersion": "1"}
    machine = virtual_machine.parse({"metadata": metadata | {"creationTimestamp": "2026-01-01T00:00:00Z"}})
    for kind, obj in zip(identity.KINDS, identity.belongings(machine), strict=True):
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

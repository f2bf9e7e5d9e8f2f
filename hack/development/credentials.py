"""What an agent needs to reach the API server: an account that may read its own goal state and write that's status.

Made by hand here, until machines enrol themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from development.api import GROUP, Api, ApiError

PREFIX = "vmext-vm-"
_RBAC = "rbac.authorization.k8s.io"


def issue(api: Api, name: str, *, seconds: int = 86_400) -> str:
    """Make the account, the role and the binding of a machine where they are missing; return a new token for it."""
    account = PREFIX + name
    core, rbac = f"/api/v1/namespaces/{api.namespace}", f"/apis/{_RBAC}/v1/namespaces/{api.namespace}"
    rules = [
        {
            "apiGroups": [GROUP],
            "resources": ["goalstates"],
            "resourceNames": [name],
            "verbs": ["get", "list", "watch"],
        },
        {"apiGroups": [GROUP], "resources": ["goalstates/status"], "resourceNames": [name], "verbs": ["patch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": api.namespace}
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": account}
    meta = {"metadata": {"name": account}}
    _create(api, f"{core}/serviceaccounts", meta)
    _create(api, f"{rbac}/roles", meta | {"rules": rules})
    _create(api, f"{rbac}/rolebindings", meta | {"subjects": [subject], "roleRef": reference})
    answer = api.request(
        "POST", f"{core}/serviceaccounts/{account}/token", {"spec": {"audiences": [], "expirationSeconds": seconds}}
    )
    return str(answer["status"]["token"])


def _create(api: Api, target: str, obj: Mapping[str, Any]) -> None:
    try:
        api.request("POST", target, obj)
    except ApiError as error:
        if error.status != 409:
            raise

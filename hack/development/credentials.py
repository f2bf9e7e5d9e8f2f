"""What an agent needs to reach the API server: an account that may read its own goal state and write that's status.

Made by hand here, until machines enrol themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import kubernetes.client

from development.api import GROUP, Api, ApiException

PREFIX = "vmext-vm-"


@dataclass(frozen=True, slots=True)
class Credential:
    """A token for one machine's agent."""

    namespace: str
    name: str
    token: str


def issue(api: Api, name: str, *, seconds: int = 86_400) -> Credential:
    """Make the account, the role and the binding of a machine where they are missing, and a new token for it."""
    account = PREFIX + name
    meta = kubernetes.client.V1ObjectMeta(name=account)
    rules = [
        kubernetes.client.V1PolicyRule(
            api_groups=[GROUP], resources=["goalstates"], resource_names=[name], verbs=["get", "list", "watch"]
        ),
        kubernetes.client.V1PolicyRule(
            api_groups=[GROUP], resources=["goalstates/status"], resource_names=[name], verbs=["patch"]
        ),
    ]
    subject = kubernetes.client.RbacV1Subject(kind="ServiceAccount", name=account, namespace=api.namespace)
    role = kubernetes.client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name=account)
    with _already_there_is_fine():
        api.core.create_namespaced_service_account(api.namespace, kubernetes.client.V1ServiceAccount(metadata=meta))
    with _already_there_is_fine():
        api.rbac.create_namespaced_role(api.namespace, kubernetes.client.V1Role(metadata=meta, rules=rules))
    with _already_there_is_fine():
        binding = kubernetes.client.V1RoleBinding(metadata=meta, subjects=[subject], role_ref=role)
        api.rbac.create_namespaced_role_binding(api.namespace, binding)
    spec = kubernetes.client.V1TokenRequestSpec(audiences=[], expiration_seconds=seconds)
    request = kubernetes.client.AuthenticationV1TokenRequest(spec=spec)
    answer = api.core.create_namespaced_service_account_token(account, api.namespace, request)
    token = answer.status.token if answer.status is not None else None
    assert token, "the API server answers a TokenRequest with a token"
    return Credential(api.namespace, name, token)


@contextlib.contextmanager
def _already_there_is_fine() -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        if error.status != 409:
            raise

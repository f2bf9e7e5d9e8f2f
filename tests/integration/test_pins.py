"""The certificate that a machine is known by: who may write its status can't have another one pinned by that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import control_plane
from development import credentials
from development.api import Api, ApiError
from support.certificates import certificate, rsa_key

NAME, KIND = "web-1", "VirtualMachine"


def pinned(number: int) -> dict[str, Any]:
    return {"anchorUID": "a", "certificate": certificate("u", rsa_key(number)), "thumbprint": f"{number}" * 40}


@pytest.fixture
def editor(cluster: control_plane.Cluster, api: Api, tmp_path: Any) -> Iterator[Api]:
    """Whoever may read and write machines and their status in a namespace, and that alone."""
    where = ("--namespace", api.namespace)
    cluster.kubectl("create", "serviceaccount", "editor", *where)
    resources = "--resource=virtualmachines.vmext.dev,virtualmachines.vmext.dev/status"
    cluster.kubectl("create", "role", "editor", "--verb=get,update,patch", resources, *where)
    cluster.kubectl(
        "create", "rolebinding", "editor", "--role=editor", f"--serviceaccount={api.namespace}:editor", *where
    )
    token = cluster.kubectl("create", "token", "editor", *where).strip()
    made = Api(credentials.kubeconfig(cluster, token, tmp_path / "editor.kubeconfig"), api.namespace)
    yield made
    made.close()


def test_who_writes_a_machines_status_can_not_have_another_certificate_pinned(api: Api, editor: Api) -> None:
    api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": KIND, "metadata": {"name": NAME}})
    for before in ({}, pinned(1)):
        if before:
            # Whoever may do everything restores what was lost.
            api.patch_status(KIND, NAME, {"credential": before})
        editor.patch_status(KIND, NAME, {"agentVersion": "1"})
        for credential in (pinned(2), {"anchorUID": "b"}, None) if before else (pinned(2), {"anchorUID": "b"}):
            with pytest.raises(ApiError, match="enroll --again lets go of the certificate") as refused:
                editor.patch_status(KIND, NAME, {"credential": credential})
            assert refused.value.status == 403
        found = editor.get(KIND, NAME)
        assert found is not None
        assert found["status"].get("credential", {}) == before

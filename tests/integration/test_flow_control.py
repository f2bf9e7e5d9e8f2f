"""Who waits for whom at the API server, and that a fleet that comes at once changes no leader."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import control_plane
from development import credentials
from development.api import Api
from development.operator_process import Operator
from support import objects, reconnecting
from support.waiting import eventually
from vmext_operator.api.goal_state import name_of

LEASES = "/apis/coordination.k8s.io/v1/namespaces"
VMEXT = "/apis/vmext.dev/v1alpha1"
#: ``make soak ARGS="--only operator.reconnect"`` has 5,000 of them.
AGENTS = 400


@pytest.fixture
def names(cluster: control_plane.Cluster, api: Api) -> dict[str, str]:
    """Names of schemas and levels by UID."""
    base = "/apis/flowcontrol.apiserver.k8s.io/v1"
    found = {}
    for kind in ("flowschemas", "prioritylevelconfigurations"):
        for obj in api.request("GET", f"{base}/{kind}")["items"]:
            found[obj["metadata"]["uid"]] = obj["metadata"]["name"]
    return found


@pytest.fixture
def operators_token(cluster: control_plane.Cluster) -> str:
    return cluster.kubectl("create", "token", "vmext-operator", "--namespace=vmext-system").strip()


def classified(
    cluster: control_plane.Cluster, names: dict[str, str], token: str, path: str, method: str = "GET"
) -> tuple[str, str]:
    """Return the schema and the level that a request is of."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(
            method, cluster.server + path, headers={"Authorization": f"Bearer {token}"},
            verify=str(cluster.ca_file), timeout=30,
        )  # fmt: skip
    schema, level = (answer.headers[f"X-Kubernetes-PF-{what}-UID"] for what in ("FlowSchema", "PriorityLevel"))
    return names[schema], names[level]


def test_the_lease_the_operator_and_the_agents_have_a_level_each(
    cluster: control_plane.Cluster, names: dict[str, str], operators_token: str, api: Api
) -> None:
    agent = credentials.issue(api, "web-1", objects.ANCHOR)
    goal = f"{VMEXT}/namespaces/{api.namespace}/goalstates/{name_of('web-1', objects.ANCHOR)}"
    for token, method, path, expected in (
        (
            operators_token,
            "GET",
            f"{LEASES}/vmext-system/leases/vmext-operator",
            ("vmext-operator-lease", "leader-election"),
        ),
        (
            operators_token,
            "PUT",
            f"{LEASES}/vmext-system/leases/vmext-operator",
            ("vmext-operator-lease", "leader-election"),
        ),
        (operators_token, "GET", f"{LEASES}?limit=1", ("vmext-operator", "vmext-operator")),
        (operators_token, "GET", f"{VMEXT}/virtualmachines?limit=1", ("vmext-operator", "vmext-operator")),
        (operators_token, "GET", goal, ("vmext-operator", "vmext-operator")),
        (operators_token, "POST", f"/api/v1/namespaces/{api.namespace}/events", ("vmext-operator", "vmext-operator")),
        (agent, "GET", goal, ("vmext-agents", "vmext-agents")),
        (agent, "PATCH", f"{goal}/status", ("vmext-agents", "vmext-agents")),
    ):
        assert classified(cluster, names, token, path, method) == expected, (method, path)


@pytest.fixture
def operator(cluster: control_plane.Cluster, tmp_path: Path) -> Iterator[Operator]:
    made = Operator(credentials.of_operator(cluster, tmp_path), tmp_path / "operator.log")
    made.start()
    yield made
    made.stop()


def test_agents_that_all_reconnect_at_once_change_no_leader(
    cluster: control_plane.Cluster, api: Api, operator: Operator
) -> None:
    eventually(lambda: "everything listed" in operator.log.read_text())
    before, pid = acquired(api), operator.pid
    machines = reconnecting.machines(api, 20)
    took = asyncio.run(reconnecting.storm(cluster, api.namespace, machines, AGENTS, times=3))
    print(f"{AGENTS} agents reconnected in {', '.join(f'{seconds:.1f}' for seconds in took)} s")
    assert (acquired(api), operator.pid) == (before, pid)
    with contextlib.closing(Api(cluster.kubeconfig, api.namespace)) as fresh:
        assert fresh.get("VirtualMachine", "web-1") is None


def acquired(api: Api) -> tuple[str, int]:
    spec = api.request("GET", f"{LEASES}/vmext-system/leases/vmext-operator")["spec"]
    return spec["acquireTime"], spec["leaseTransitions"]

"""The agent's sign of life: the machine's Lease, renewed as often as the goal state says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import Machine, eventually


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path) as running:
        yield running


def lease(machine: Machine) -> dict[str, Any]:
    target = f"/apis/coordination.k8s.io/v1/namespaces/{machine.api.namespace}/leases/vmext-vm-{machine.name}"
    return machine.api.request("GET", target)


def renewed(machine: Machine) -> str:
    return str(lease(machine)["spec"].get("renewTime", ""))


def machine_id(machine: Machine) -> str:
    return f"machine-id {machine.guest.read('/etc/machine-id').decode().strip()}"


def test_a_lease_is_renewed_as_often_as_the_goal_says_whoever_else_writes_it(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    assert renewed(machine) == ""

    machine.more["heartbeatSeconds"] = 1
    machine.apply()
    eventually(lambda: renewed(machine))
    found = lease(machine)
    # It names its holder: this installation, in this boot.
    holder = machine.state()["status"]["holder"]["id"]
    assert (found["spec"]["holderIdentity"], found["spec"]["leaseDurationSeconds"]) == (holder, 3)
    assert found["metadata"]["labels"]["vmext.dev/vm"] == machine.name

    first = renewed(machine)
    eventually(lambda: renewed(machine) > first)
    target = f"/apis/coordination.k8s.io/v1/namespaces/{machine.api.namespace}/leases/vmext-vm-{machine.name}"
    patch = {"metadata": {"annotations": {"somebody": "else"}}}
    machine.api.request("PATCH", target, patch, "application/merge-patch+json")
    second = renewed(machine)
    eventually(lambda: renewed(machine) > second)
    assert lease(machine)["metadata"]["annotations"]["somebody"] == "else"


def test_a_lease_names_another_holder_after_a_boot_and_the_same_after_a_restart(machine: Machine) -> None:
    machine.more["heartbeatSeconds"] = 1
    machine.want()
    machine.ends("Succeeded")
    eventually(lambda: renewed(machine))
    first = lease(machine)["spec"]["holderIdentity"]

    machine.kill_agent()
    again = renewed(machine)
    eventually(lambda: renewed(machine) > again)
    assert lease(machine)["spec"]["holderIdentity"] == first

    machine.guest.reboot()
    eventually(lambda: lease(machine)["spec"]["holderIdentity"] != first)
    second = lease(machine)["spec"]["holderIdentity"]
    assert second.partition("/")[0] == first.partition("/")[0]
    eventually(lambda: machine.state()["status"]["holder"] == {"id": second, "term": 1, "machine": machine_id(machine)})


def test_a_lease_that_is_gone_is_told_and_taken_up_again(machine: Machine) -> None:
    machine.more["heartbeatSeconds"] = 1
    machine.want()
    eventually(lambda: renewed(machine))
    made = lease(machine)
    target = f"/apis/coordination.k8s.io/v1/namespaces/{machine.api.namespace}/leases"
    machine.api.request("DELETE", f"{target}/vmext-vm-{machine.name}")
    eventually(lambda: "Lease can't be renewed" in machine.log())
    machine.ends("Succeeded")
    metadata = {key: made["metadata"][key] for key in ("name", "labels", "annotations")}
    machine.api.request("POST", target, {"metadata": metadata, "spec": {}})
    eventually(lambda: renewed(machine))

"""What an agent writes is bounded at the source, whatever makes it write; and the newest state arrives all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import Machine, eventually

BURST = 20
FLOOD_S = 8.0


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path) as running:
        yield running


def renewed(machine: Machine) -> str:
    target = f"/apis/coordination.k8s.io/v1/namespaces/{machine.api.namespace}/leases/vmext-vm-{machine.name}"
    return str(machine.api.request("GET", target)["spec"].get("renewTime", ""))


def contradict(machine: Machine, seconds: float) -> int:
    """Write another final outcome whenever the agent has put it right, as another holder of its token would.

    Return how often the agent put it right.
    """
    ends, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        if machine.status().get("outcome") == "Succeeded":
            count += 1
            said: dict[str, Any] = {"outcome": "Failed", "reason": "ExecutionFailed", "message": "so it says"}
            machine.api.patch_status("GoalState", machine.name, {"extensions": {"one": said}})
        else:
            time.sleep(0.005)
    return count


def test_what_is_contradicted_is_put_right_in_a_burst_and_then_once_a_second(machine: Machine) -> None:
    machine.more["heartbeatSeconds"] = 1
    machine.want()
    machine.ends("Succeeded")
    eventually(lambda: renewed(machine))
    first = renewed(machine)

    count = contradict(machine, FLOOD_S)

    # The sign of life has no part in it.
    assert renewed(machine) > first
    assert 3 < count <= BURST + FLOOD_S + 2
    assert contradict(machine, 4.0) <= 5
    # What is declared is answered at once: those answers are no flood.
    began = time.monotonic()
    machine.want()
    machine.ends("Succeeded")
    assert time.monotonic() - began < FLOOD_S
    machine.ends("Succeeded")


def test_a_script_that_says_something_else_all_the_time_is_reported_as_it_is_in_the_end(
    machine: Machine,
) -> None:
    machine.does(
        "enable",
        """
report success first
(
    for number in $(seq 300); do
        report error "again $number"
        report success "again $number"
    done
    report success last
) > /dev/null 2>&1 &
""",
    )
    machine.want()

    last = machine.wait(lambda one: (one.get("extensionStatus") or {}).get("message") == "last", timeout_s=60)
    assert last["outcome"] == "Succeeded"

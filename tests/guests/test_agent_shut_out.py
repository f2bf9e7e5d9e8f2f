"""An agent whose rights have ended takes nothing new, though its watch goes on; what is enabled stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development import credentials
from development.api import Api
from development.house import agent_service
from guests import agent_machine, enrolled_machine
from guests.agent_machine import ANCHOR_UID, TOKEN_FILE, VM_UID, Machine, eventually


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, start=False) as made:
        assert enrolled_machine.run(made, "enroll", given=enrolled_machine.bundle(made))[0] == 0
        # Renewed so often, the machine's Lease is where the agent first hears that it is shut out.
        made.more = {"heartbeatSeconds": 1}
        made.guest.start_service(agent_service())
        made.want()
        made.ends("Succeeded")
        yield made


def test_what_comes_after_a_refusal_is_not_taken_until_the_machine_is_let_in_again(machine: Machine) -> None:
    before = machine.order()
    account = f"/api/v1/namespaces/{machine.api.namespace}/serviceaccounts/vmext-vm-{machine.name}"
    machine.api.request("DELETE", account)
    eventually(lambda: "Lease can't be renewed" in machine.log())

    machine.want(settings={"after": "the refusal"})

    # Its watch, which is older than the end of its rights, has brought it.
    eventually(lambda: "the watch is begun anew" in machine.log())
    eventually(lambda: machine.log().count("goal state can't be read") > 0)
    assert machine.order() == before, "what is enabled stays, and nothing new runs"

    machine.guest.write(TOKEN_FILE, credentials.issue(machine.api, machine.name, ANCHOR_UID).encode(), mode=0o600)
    machine.ends("Succeeded", timeout_s=60)
    assert machine.order() == [*before, "1.0.0 enable 2"]


def test_a_goal_state_of_another_machine_by_that_name_is_not_taken(machine: Machine) -> None:
    before = machine.order()
    machine.more["vmUID"] = VM_UID.replace("1", "9")
    machine.want(settings={"for": "another machine"})
    eventually(lambda: "another enrolment's" in machine.log())
    machine.more["vmUID"] = VM_UID
    machine.want(settings={"for": "this one"})
    machine.ends("Succeeded")
    assert machine.order() == [*before, "1.0.0 enable 3"]

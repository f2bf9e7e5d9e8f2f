"""What the agent makes of goals: new ones, old ones, the last one when nobody answers, and settings written anew."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from development.house import CONFIG
from guests import agent_machine
from guests.agent_machine import GATE, HANDLER, Machine, eventually
from support.certificates import certificate, private_pem, rsa_key
from vmext_operator.cluster import envelopes
from vmext_operator.core.certificate import read

FOLDER = f"/var/lib/waagent/{HANDLER}-1.0.0"


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent={"killAfterSeconds": 1}) as running:
        yield running


def settings(machine: Machine, number: int) -> dict[str, object]:
    document = json.loads(machine.guest.read(f"{FOLDER}/config/{number}.settings"))
    found: dict[str, object] = document["runtimeSettings"][0]["handlerSettings"]
    return found


def taken(machine: Machine) -> bool:
    state = machine.state()
    seen: bool = state["status"]["observedGeneration"] == state["metadata"]["generation"]
    return seen


# -- sequence numbers


def make_anew(machine: Machine, number: int) -> None:
    """Have the goal state deleted and made anew from a counter that fell back, as after a restored backup."""
    machine.api.delete("GoalState", machine.name)
    machine.api.wait_gone("GoalState", machine.name)
    machine.last = number
    machine.entries["one"] = {**machine.entries["one"], "sequenceNumber": number, "settings": '{"old": true}'}
    machine.apply()


def test_a_number_below_its_own_is_not_carried_out_and_a_higher_one_is(machine: Machine) -> None:
    for _ in range(3):
        machine.want()
        machine.ends("Succeeded")

    make_anew(machine, 2)
    behind = machine.ends("Running")
    assert behind["reason"] == "SequenceBehind"
    assert "3" in behind["message"]
    assert machine.state()["status"]["highestSequenceNumber"] == 3
    machine.last = 3
    machine.want()
    machine.ends("Succeeded")

    assert machine.order()[1:] == [f"1.0.0 enable {number}" for number in (1, 2, 3, 4)]


def test_a_removal_from_the_past_removes_nothing(machine: Machine) -> None:
    for _ in range(2):
        machine.want()
        machine.ends("Succeeded")

    make_anew(machine, 1)
    machine.remove()

    assert machine.ends("Running")["reason"] == "SequenceBehind"
    assert machine.guest.exists(FOLDER)


def test_a_number_is_not_forgotten_with_the_agents_records(machine: Machine) -> None:
    for _ in range(3):
        machine.want()
        machine.ends("Succeeded")
    machine.guest.run(["sh", "-c", "rm -rf /var/lib/vmext/extensions/* /var/lib/vmext/goal.json"])
    machine.kill_agent()

    make_anew(machine, 2)

    assert machine.ends("Running")["reason"] == "SequenceBehind"


# -- settings


def sealed(machine: Machine, number: int) -> dict[str, str]:
    """Put a key where handlers look for it; return settings that are encrypted to it, as an entry has them."""
    pem = certificate("uid-vm", rsa_key(number))
    name = read(pem).thumbprint
    machine.guest.write(f"/var/lib/waagent/{name}.crt", pem.encode())
    machine.guest.write(f"/var/lib/waagent/{name}.prv", private_pem(rsa_key(number)))
    return {"protectedSettings": envelopes.seal(b"{}", pem), "thumbprint": name}


def test_a_ciphertext_encrypted_anew_is_written_and_runs_nothing(machine: Machine) -> None:
    first, second = sealed(machine, 1), sealed(machine, 2)
    machine.want()
    entry = machine.entries["one"] = machine.entries["one"] | first
    machine.apply()
    machine.ends("Succeeded")
    eventually(lambda: settings(machine, 1)["protectedSettings"] == first["protectedSettings"])
    ran = len(machine.order())

    machine.entries["one"] = entry | second
    machine.apply()
    eventually(lambda: settings(machine, 1)["protectedSettingsCertThumbprint"] == second["thumbprint"])

    assert settings(machine, 1) == {
        "publicSettings": {},
        "protectedSettings": second["protectedSettings"],
        "protectedSettingsCertThumbprint": second["thumbprint"],
    }
    assert len(machine.order()) == ran
    assert machine.ends("Succeeded")["operation"] == "Enable"


# -- the last goal


def test_a_boot_without_the_api_server_enables_what_was_enabled(machine: Machine) -> None:
    machine.want("a", handler="Test.A")
    machine.entries["b"] = {**machine.want("b", handler="Test.B"), "dependsOn": ["a"]}
    machine.apply()
    for name in ("a", "b"):
        machine.ends("Succeeded", name)
    before = machine.state()
    configuration = json.loads(machine.guest.read(CONFIG))
    machine.guest.write(CONFIG, json.dumps({**configuration, "server": "https://127.0.0.1:1"}).encode())

    machine.guest.reboot()
    eventually(lambda: len(machine.order()) == 6)

    assert [line.split()[1:] for line in machine.order()[4:]] == [["enable", "1"], ["enable", "2"]]
    mode = machine.guest.run(["stat", "-c", "%a", "/var/lib/vmext/goal.json"]).stdout.decode().strip()
    assert mode == "600"
    machine.guest.write(CONFIG, json.dumps(configuration).encode())
    machine.kill_agent()
    machine.want("c", handler="Test.C")
    machine.ends("Succeeded", "c")
    for name in ("a", "b"):
        old, new = (state["status"]["extensions"][name] for state in (before, machine.state()))
        assert (new["outcome"], new["startTime"]) == (old["outcome"], old["startTime"])
    assert len(machine.order()) == 8


def test_a_last_goal_that_can_not_be_read_is_waited_for(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.guest.write("/var/lib/vmext/goal.json", b'{"metadata": {"uid": 3}}')

    machine.kill_agent()
    machine.want()

    machine.ends("Succeeded")
    assert "The last goal can't be read" in machine.log()


# -- what is no longer wanted


@pytest.mark.parametrize("command", ["enable", "install"])
def test_a_removal_ends_a_command_that_hangs_and_is_done_within_35_s(machine: Machine, command: str) -> None:
    machine.does(command, "trap '' TERM; echo hangs; while :; do sleep 1; done")
    machine.want(timeout_s=3600)
    eventually(lambda: f"1.0.0 {command} 1" in machine.order())

    began = time.monotonic()
    machine.remove()
    machine.ends("Removed")

    assert time.monotonic() - began < 35
    assert not machine.guest.exists(FOLDER)


def test_an_update_is_cancelled_and_taken_back_when_its_version_is_given_up(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("1.1.0/install", GATE)
    machine.want(version="1.1.0")
    eventually(lambda: "1.1.0 install 2" in machine.order())

    machine.want(version="1.2.0")

    machine.ends("Succeeded")
    assert machine.order()[6:] == [
        *("1.1.0 uninstall 3", "1.0.0 install 1", "1.0.0 enable 1"),
        *("1.0.0 disable 3", "1.2.0 update 3", "1.0.0 uninstall 3", "1.2.0 install 3", "1.2.0 enable 3"),
    ]


# -- the way back, in words


def test_a_failed_update_tells_which_version_is_in_force_and_which_failed(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("1.1.0/install", "echo no such disk; exit 7")
    machine.want(version="1.1.0")

    status = machine.ends("Failed")

    assert (status["installedVersion"], status["failedVersion"], status["reason"]) == (
        "1.0.0",
        "1.1.0",
        "InstallFailed",
    )
    assert "version 1.1.0 failed, 1.0.0 is back in force" in status["message"]
    assert "no such disk" in status["message"]


def test_a_failed_way_back_tells_both_outputs(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("1.1.0/install", "echo no such disk; exit 7")
    machine.does("1.0.0/install", "echo nor that one; exit 8")
    machine.want(version="1.1.0")

    status = machine.ends("Failed")

    assert status["reason"] == "RollbackFailed"
    assert "no such disk" in status["message"]
    assert "nor that one" in status["message"]


def test_a_change_whose_record_was_lost_goes_back(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("1.1.0/install", GATE)
    machine.want(version="1.1.0")
    eventually(lambda: "1.1.0 install 2" in machine.order())
    machine.guest.write(f"/var/lib/vmext/moves/{HANDLER}.json", b"\xff rubbish")

    machine.kill_agent()
    machine.open_gate()

    machine.ends("Succeeded")
    log = machine.log()
    assert "A record can't be read" in log
    assert "the old version is put back" in log
    assert machine.guest.exists(f"/var/lib/vmext/moves/{HANDLER}.json.corrupt-1")

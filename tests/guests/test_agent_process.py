"""The agent as a process on a machine: its start, its neighbours, its token, an API server that goes away."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
import simulated_guest
from development import credentials
from development.api import Api
from development.house import agent_service
from guests import agent_machine
from guests.agent_machine import ANCHOR_UID, CONFIG, GATE, HANDLER, TOKEN_FILE, Machine, eventually

STATUS = f"/var/lib/waagent/{HANDLER}-1.0.0/status/1.status"


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path) as running:
        yield running


@pytest.fixture
def bare(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    """A machine on which no agent has been started."""
    with agent_machine.running(cluster, api, tmp_path, start=False) as running:
        yield running


def run_agent(machine: Machine) -> subprocess.CompletedProcess[bytes]:
    service = agent_service()
    return machine.guest.run(service.argv, env=service.env, check=False, timeout=20)


def test_a_second_agent_says_who_holds_the_lock_and_ends(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    done = run_agent(machine)

    assert done.returncode == 3
    assert f"pid {machine.guest.service_pid('agent')} holds" in done.stderr.decode()


def test_it_does_not_start_beside_the_azure_agent(bare: Machine) -> None:
    bare.guest.write("/usr/sbin/waagent", b"#!/bin/sh\nwhile :; do sleep 1; done\n", mode=0o755)
    pid = bare.guest.start_service(simulated_guest.Service("azure", ["/bin/sh", "/usr/sbin/waagent", "-daemon"]))

    done = run_agent(bare)

    assert done.returncode == 3
    assert f"(pid {pid})" in done.stderr.decode()


def test_a_bad_configuration_ends_it_with_one_line(bare: Machine) -> None:
    bare.guest.write(CONFIG, b'{"server": "https://127.0.0.1:1"}')

    done = run_agent(bare)

    assert done.returncode == 2
    assert done.stderr.decode() == f"vmext-agent: {CONFIG}: caFile is missing\n"


def test_it_says_its_version_in_three_lines(bare: Machine) -> None:
    service = agent_service()
    lines = bare.guest.run([*service.argv[:3], "--version"], env=service.env).stdout.decode().splitlines()

    assert [line.partition(" ")[0] for line in lines] == [lines[0].partition(" ")[0], "Python:", "Goal"]
    assert lines[0].startswith("vmext-agent-")
    assert " running on " in lines[0]


def test_a_worker_without_a_parent_ends(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    old = machine.worker()

    machine.guest.kill_service("agent")

    eventually(lambda: not Path(f"/proc/{old}").exists())


def test_a_result_arrives_after_the_api_server_was_away(
    own_cluster: control_plane.ControlPlane, machine: Machine
) -> None:
    machine.does("enable", GATE + "report success through")
    machine.want()
    eventually(lambda: "1.0.0 enable 1" in machine.order())

    own_cluster.stop_api_server()
    try:
        machine.open_gate()
        eventually(lambda: machine.guest.exists(STATUS))
        eventually(lambda: "can't be reported" in machine.log())
    finally:
        own_cluster.start_api_server()

    assert machine.ends("Succeeded", timeout_s=60)["extensionStatus"]["message"] == "through"
    machine.want()
    machine.ends("Succeeded", timeout_s=60)
    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1", "1.0.0 enable 2"]


def test_a_token_that_is_replaced_is_read_again(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    good = machine.guest.read(TOKEN_FILE)
    machine.guest.write(TOKEN_FILE, b"bad.token.here")
    machine.kill_worker()
    eventually(lambda: "401" in machine.log())

    machine.guest.write(TOKEN_FILE, credentials.issue(machine.api, machine.name, ANCHOR_UID).encode())
    machine.want()
    machine.ends("Succeeded", timeout_s=60)

    log = machine.log().encode()
    assert good not in log
    assert b"bad.token.here" not in log


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{not json", "code 1012"),
        (b"\xff\xfe\x00", "code 1012"),
        (b"[" * 50_000, "code 1012"),
        (b'{"status": {"status": "success"}}', "code 1012"),
        (b" " * (2 << 20), "code 1012"),
    ],
)
def test_a_malformed_status_file_is_an_error_with_the_contracts_code(
    machine: Machine, content: bytes, words: str
) -> None:
    machine.want()
    machine.ends("Succeeded")

    machine.guest.write(STATUS, content)

    status = machine.ends("Failed")
    assert words in status["message"]
    assert status["extensionStatus"]["code"] == 1012


def test_a_huge_status_is_cut_and_taken_by_the_api_server(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    message = {"formattedMessage": {"message": "\u20ac\u0000\u001b" * 30_000}}
    part = {"name": "n" * 999, "status": "error", "code": "x"}
    parts = [{**part, "formattedMessage": {"message": "x" * 5000}}] * 100
    document = [{"timestampUTC": "yesterday", "status": {"status": "failed", **message, "substatus": parts}}]

    machine.guest.write(STATUS, json.dumps(document).encode())

    status = machine.ends("Failed")
    assert len(json.dumps(status, ensure_ascii=False).encode()) <= 16 << 10


def test_a_status_that_changes_its_text_all_the_time_is_not_written_all_the_time(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    with machine.watched("other", 2) as seen:
        for number in range(20):
            message = {"message": f"beat {number}"}
            document = [{"status": {"status": "transitioning", "formattedMessage": message}}]
            machine.guest.write(STATUS, json.dumps(document).encode())
        machine.want("other", handler="Test.Other")
        machine.ends("Succeeded", "other")

    told = [obj["status"]["extensions"]["one"]["extensionStatus"]["message"] for obj in seen]
    # As it was; that it is no longer final; and what goes along with the other's end.
    assert len(set(told)) <= 3
    assert told[-1] == "beat 19"


def test_it_costs_little_memory_and_no_time_when_idle(machine: Machine) -> None:
    for number in range(9):
        machine.want(f"e{number}", handler=f"Test.H{number}")
    for number in range(9):
        machine.ends("Succeeded", f"e{number}")
    agent = [one.pid for one in machine.guest.processes() if "run" in one.argv or "worker" in one.argv]

    anonymous_kb = sum(field(pid, "smaps_rollup", "Anonymous:") for pid in agent)
    switches = sum(field(pid, "status", "voluntary_ctxt_switches:") for pid in agent)

    assert len(agent) == 2
    assert anonymous_kb < 18_000
    # Nothing is due: not even one turn of the loop.
    with pytest.raises(AssertionError, match="in vain"):
        eventually(
            lambda: sum(field(pid, "status", "voluntary_ctxt_switches:") for pid in agent) > switches + 2, timeout_s=3
        )


def field(pid: int, file: str, name: str) -> int:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

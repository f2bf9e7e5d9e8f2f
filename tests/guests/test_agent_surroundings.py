"""What stands between a goal and its commands on the machine: policy, package managers, heartbeats, long statuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import HANDLER, Machine, eventually, tracer_zip
from simulated_guest import Service, python

POLICY = "/etc/vmext/policy.json"
#: Holds dpkg's lock as dpkg does, until there is /var/gate.
HOLD = """
import fcntl, os, time
fd = os.open("/var/lib/dpkg/lock", os.O_RDWR | os.O_CREAT, 0o640)
fcntl.lockf(fd, fcntl.LOCK_EX)
open("/var/held", "w").close()
while not os.path.exists("/var/gate"):
    time.sleep(0.02)
"""


@pytest.fixture
def machine(
    cluster: control_plane.Cluster, api: Api, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Machine]:
    agent = getattr(request, "param", {})
    with agent_machine.running(cluster, api, tmp_path, agent={"killAfterSeconds": 1, **agent}) as running:
        yield running


def allow(machine: Machine, **rules: Any) -> None:
    machine.guest.write(POLICY, json.dumps({"version": 1, **rules}).encode(), mode=0o644)


# -- policy


def test_what_policy_denies_is_neither_downloaded_nor_run_until_it_is_allowed(machine: Machine) -> None:
    allow(machine, handlers={"deny": [HANDLER.upper()]})
    machine.want()

    status = machine.ends("Failed")
    assert status["reason"] == "PolicyForbids"
    assert POLICY in status["message"]
    assert machine.order() == []
    assert not machine.guest.exists(f"/var/lib/waagent/{HANDLER}-1.0.0")
    allow(machine)

    machine.ends("Succeeded")


def test_policy_lets_other_handlers_run(machine: Machine) -> None:
    allow(machine, publishers={"allow": ["Good"]})
    machine.want("bad")
    machine.want("good", handler="Good.Tracer")

    machine.ends("Succeeded", "good")
    assert machine.ends("Failed", "bad")["reason"] == "PolicyForbids"


def test_downloads_come_only_from_hosts_that_policy_allows(machine: Machine) -> None:
    allow(machine, downloads={"hosts": ["packages.example"]})
    machine.want()

    status = machine.ends("Failed")
    assert status["reason"] == "PolicyForbids"
    assert "127.0.0.1" in status["message"]


def test_a_policy_that_can_not_be_read_lets_nothing_new_run_and_leaves_alone_what_runs(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.guest.write(POLICY, b'{"version": 1, "handler": {}}', mode=0o644)
    machine.want("other", handler="Test.Other")

    status = machine.ends("Failed", "other")
    assert status["reason"] == "PolicyInvalid"
    assert "handler" in status["message"]
    assert machine.ends("Succeeded")["handlerStatus"]["status"] == "Ready"
    machine.guest.reboot()
    eventually(lambda: machine.order()[2:] == ["1.0.0 enable 1"])


def test_what_policy_denies_is_not_uninstalled_by_its_own_commands(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    ran = machine.order()
    allow(machine, handlers={"deny": [HANDLER]})

    machine.remove()

    assert machine.ends("Failed")["reason"] == "PolicyForbids"
    assert machine.order() == ran


# -- package managers


def hold(machine: Machine) -> None:
    machine.guest.write("/opt/unattended-upgrade", HOLD.encode(), mode=0o755)
    machine.guest.start_service(Service("holder", [python(), "/opt/unattended-upgrade"]))
    eventually(lambda: machine.guest.exists("/var/held"))


def test_a_package_manager_at_work_is_waited_for_and_named(machine: Machine) -> None:
    hold(machine)
    machine.want()

    status = machine.wait(lambda one: one.get("reason") == "WaitingForPackageManager")
    assert status["outcome"] == "Running"
    assert "waiting for dpkg, held by pid" in status["message"]
    assert "unattended-upgrade" in status["message"]
    assert machine.order() == []
    machine.open_gate()

    machine.ends("Succeeded")


def test_what_installs_nothing_and_what_removes_do_not_wait_for_package_managers(machine: Machine) -> None:
    hold(machine)
    entry = machine.want("light", handler="Test.Light")
    entry["handler"]["installsPackages"] = False
    machine.apply()

    machine.ends("Succeeded", "light")
    machine.remove("light")
    machine.ends("Removed", "light")
    machine.open_gate()


@pytest.mark.parametrize("machine", [{"packageLockSeconds": 1}], indirect=True)
def test_a_package_manager_that_never_ends_is_waited_for_so_long_and_no_longer(machine: Machine) -> None:
    hold(machine)
    machine.want()

    machine.ends("Succeeded")
    machine.open_gate()
    assert "has been at work for too long" in machine.log()


# -- heartbeats


def test_a_heartbeat_is_reported_and_so_is_its_silence(machine: Machine) -> None:
    beat = '[{"version": 1.0, "heartbeat": {"status": "ready", "code": 3, "formattedMessage": {"message": "well"}}}]'
    machine.does("enable", f"echo '{beat}' > heartbeat.log; report success ok")
    machine.want(package=machine.package(tracer_zip(reportHeartbeat=True)))

    machine.wait(lambda one: one.get("handlerStatus") == {"status": "Ready", "code": 3, "message": "well"})
    machine.guest.run(["touch", "-d", "20 minutes ago", f"/var/lib/waagent/{HANDLER}-1.0.0/heartbeat.log"])
    machine.kill_agent()

    machine.wait(lambda one: one["handlerStatus"]["status"] == "Unresponsive")


# -- exit codes


def test_an_interpreter_that_is_missing_is_named(machine: Machine) -> None:
    content = agent_machine.zipped(
        {"HandlerManifest.json": agent_machine.manifest(), "handler": b"#!/usr/bin/env python2.4\nprint(1)\n"}
    )
    machine.want(package=machine.package(content))

    status = machine.ends("Failed")
    assert status["reason"] == "MissingInterpreter"
    assert "python2.4" in status["message"]


def test_a_busy_package_manager_is_tried_again_and_then_given_up(machine: Machine) -> None:
    machine.does("install", "test -e /var/second && exit 0; touch /var/second; exit 56")
    machine.want()
    machine.ends("Succeeded")
    assert machine.order()[:2] == ["1.0.0 install 1", "1.0.0 install 1"]

    machine.does("enable", "exit 56")
    machine.want(timeout_s=1)
    assert machine.wait(lambda one: one.get("reason") == "PackageManagerBusy")["handlerStatus"]["code"] == 1009
    machine.wait(lambda one: one["outcome"] == "Failed" and "tried again" not in one["message"])


# -- long statuses


def test_fifty_extensions_with_long_statuses_all_report(machine: Machine) -> None:
    long = """python3 - <<'END'
import json, os
message = {"lang": "en-US", "message": "x" * 131000}
status = {"operation": "enable", "status": "success", "code": 0, "formattedMessage": message}
with open("status/.new", "w") as file:
    json.dump([{"version": 1.0, "timestampUTC": "2026-01-01T00:00:00Z", "status": status}], file)
os.rename("status/.new", "status/%s.status" % os.environ["ConfigSequenceNumber"])
END"""
    machine.does("enable", long)
    package = machine.package(tracer_zip())
    for number in range(50):
        machine.last += 1
        machine.entries[f"e{number}"] = {
            "name": f"e{number}",
            "uid": f"uid-{number}",
            "state": "enabled",
            "sequenceNumber": machine.last,
            "settings": "{}",
            "timeoutSeconds": 60,
            "handler": {"name": f"Test.E{number}", "version": "1.0.0", "package": package},
        }
    machine.apply()

    for number in range(50):
        machine.ends("Succeeded", f"e{number}", timeout_s=60)
    reported = machine.state()["status"]
    assert len(json.dumps(reported)) < 512 << 10
    assert all("left out" in one["extensionStatus"]["message"] for one in reported["extensions"].values())

"""From ``kubectl apply`` to a script that ran on a machine, and back into the resource's status."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from development.api import Object, condition
from development.house import House, extension


def apply(home: House, vm: str, name: str | None = None, *, timeout: str | None = None, **settings: Any) -> str:
    """Declare a CustomScript for a machine; return its name."""
    name = name or f"script-{vm}"
    home.api.apply(extension(name, vm, settings=settings, **({"timeout": timeout} if timeout else {})))
    return name


def counts(machine: Object | None) -> dict[str, int]:
    found: dict[str, int] = (machine or {}).get("status", {}).get("extensions", {})
    return found


def first_status(obj: Object) -> dict[str, Any]:
    (status,) = obj["status"]["statuses"]
    assert isinstance(status, dict)
    return status


def test_a_script_runs_as_root_and_its_output_stands_in_the_status(home: House, vm: str) -> None:
    name = apply(home, vm, commandToExecute="id -u; hostname; echo careful >&2; echo done > /root/proof")
    status = home.api.wait_ready(name)["status"]
    assert status["provisioningState"] == "Succeeded"
    assert status["typeHandlerVersion"] == "2.1.0"
    assert status["sequenceNumber"] == 1
    assert status["handlerStatus"] == {"status": "Ready", "code": 0, "message": "Plugin enabled"}
    assert {key: status["statuses"][0][key] for key in ("code", "level", "displayStatus", "message")} == {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "message": f"Enable succeeded: \n[stdout]\n0\n{vm}\n\n[stderr]\ncareful\n",
    }
    assert home.guests[vm].read("/root/proof") == b"done\n"
    machine = home.api.wait("VirtualMachine", vm, lambda obj: counts(obj).get("ready") == 1)
    assert machine is not None
    assert machine["status"]["extensions"] == {"total": 1, "ready": 1, "failed": 0}
    assert machine["status"]["guest"]["hostname"] == vm


def test_the_classic_typo_reads_as_azures(home: House, vm: str) -> None:
    obj = home.api.wait_stalled(apply(home, vm, commandToExecute="ech hello"), "ExecutionFailed")
    status = first_status(obj)
    assert (status["code"], status["displayStatus"], status["level"]) == (
        "ProvisioningState/failed/0",
        "Provisioning failed",
        "Error",
    )
    assert status["message"] == (
        "Enable failed: failed to execute command: command terminated with exit status=127\n"
        "[stdout]\n\n[stderr]\n/bin/sh: 1: ech: not found\n"
    )
    assert obj["status"]["handlerStatus"]["status"] == "Ready"
    assert obj["status"]["provisioningState"] == "Failed"


def test_a_failed_script_that_is_mended_runs_again_and_recovers(home: House, vm: str) -> None:
    name = apply(home, vm, commandToExecute="echo one >> /root/runs; exit 3")
    assert "exit status=3" in first_status(home.api.wait_stalled(name))["message"]
    apply(home, vm, commandToExecute="echo two >> /root/runs")
    assert home.api.wait_ready(name)["status"]["sequenceNumber"] == 2
    assert home.guests[vm].read("/root/runs") == b"one\ntwo\n"


def test_a_tag_runs_it_again_and_a_neighbours_change_does_not(home: House, vm: str) -> None:
    settings = {"commandToExecute": "echo ran >> /root/runs"}
    name = f"script-{vm}"
    home.api.apply(extension(name, vm, settings=settings))
    home.api.wait_ready(name)
    home.api.apply(extension(name, vm, settings=settings, forceUpdateTag="again"))
    home.api.wait_ready(name)
    home.api.apply(extension(name, vm, settings=settings, forceUpdateTag="again", tags={"a": "b"}))
    home.api.wait_ready(name)
    home.api.apply(extension("neighbour", vm, type="Nothing", typeHandlerVersion="1"))
    home.api.wait("VirtualMachineExtension", "neighbour", lambda obj: condition(obj, "Ready") is not None)
    assert home.guests[vm].read("/root/runs") == b"ran\nran\n"
    home.api.delete("VirtualMachineExtension", "neighbour")


def test_a_script_that_hangs_is_ended_at_its_timeout_and_says_so(home: House, vm: str) -> None:
    name = apply(home, vm, timeout="2s", commandToExecute="echo before; sleep 3600")
    found = condition(home.api.wait_stalled(name, timeout_s=60), "Ready")
    assert found is not None
    assert found["reason"] == "TimedOut"
    commands = [" ".join(process.argv) for process in home.guests[vm].processes()]
    assert not [command for command in commands if "sleep 3600" in command]
    apply(home, vm, timeout="20s", commandToExecute="echo after")
    home.api.wait_ready(name)


def test_a_hundred_megabytes_of_output_are_cut_and_marked(home: House, vm: str) -> None:
    apply(home, vm, commandToExecute="echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last")
    obj = home.api.wait_ready(f"script-{vm}", timeout_s=60)
    message = first_status(obj)["message"]
    assert len(message) < 16 * 1024
    assert "first\n" in message
    assert "\nlast\n" in message
    used = home.guests[vm].run(["du", "-sm", "/var/lib/waagent", "/var/log", "/var/lib/vmext"]).stdout.decode()
    assert sum(int(size) for size in re.findall(r"^(\d+)", used, re.MULTILINE)) < 40


def test_output_that_is_no_utf_8_reaches_the_status_readably(home: House, vm: str) -> None:
    apply(home, vm, commandToExecute=r"printf 'caf\351 \000\001\377 ok\n'; printf 'gr\303\274n\n'")
    message = first_status(home.api.wait_ready(f"script-{vm}"))["message"]
    assert "caf" in message
    assert " ok\n" in message
    assert "grün\n" in message


def test_deleting_uninstalls_and_what_is_made_again_runs_again(home: House, vm: str) -> None:
    name = apply(home, vm, commandToExecute="echo ran >> /root/runs")
    home.api.wait_ready(name)
    guest = home.guests[vm]
    assert guest.exists("/var/lib/waagent/VMExt.CustomScript-2.1.0/HandlerManifest.json")
    home.api.delete("VirtualMachineExtension", name)
    home.api.wait_gone("VirtualMachineExtension", name)
    assert not guest.exists("/var/lib/waagent/VMExt.CustomScript-2.1.0")
    goal = home.api.wait("GoalState", vm, lambda obj: not (obj or {})["spec"]["extensions"])
    assert goal is not None
    assert goal["spec"]["lastSequenceNumber"] == 1
    apply(home, vm, commandToExecute="echo ran >> /root/runs")
    assert home.api.wait_ready(name)["status"]["sequenceNumber"] == 2
    assert guest.read("/root/runs") == b"ran\nran\n"


def test_an_orphaned_extension_stays_on_its_machine(home: House, vm: str) -> None:
    name = f"script-{vm}"
    home.api.apply(extension(name, vm, settings={"commandToExecute": "true"}, deletionPolicy="Orphan"))
    home.api.wait_ready(name)
    home.api.delete("VirtualMachineExtension", name)
    home.api.wait_gone("VirtualMachineExtension", name)
    home.api.wait("GoalState", vm, lambda obj: not (obj or {})["spec"]["extensions"])
    assert home.guests[vm].exists("/var/lib/waagent/VMExt.CustomScript-2.1.0/HandlerManifest.json")


def test_a_machine_that_never_comes_back_does_not_hold_a_deletion_past_its_deadline(home: House, vm: str) -> None:
    name = f"script-{vm}"
    home.api.apply(extension(name, vm, settings={"commandToExecute": "true"}, deletionTimeout="3s"))
    home.api.wait_ready(name)
    home.guests[vm].stop()
    began = time.monotonic()
    home.api.delete("VirtualMachineExtension", name)
    home.api.wait_gone("VirtualMachineExtension", name)
    assert time.monotonic() - began > 2
    events = home.cluster.kubectl("get", "events", "-n", home.api.namespace, "-o", "jsonpath={.items[*].message}")
    assert f"left on {vm}: it did not uninstall it in time" in events


def test_a_deleted_machine_uninstalls_what_is_deleted_with_it(home: House, vm: str) -> None:
    name = apply(home, vm, commandToExecute="true")
    home.api.wait_ready(name)
    home.api.delete("VirtualMachineExtension", name)
    home.api.delete("VirtualMachine", vm)
    home.api.wait_gone("VirtualMachineExtension", name)
    home.api.wait_gone("VirtualMachine", vm)
    home.api.wait_gone("GoalState", vm)
    assert not home.guests[vm].exists("/var/lib/waagent/VMExt.CustomScript-2.1.0")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "commandToExecute"),
        ({"commandToExecute": "true", "script": "ZWNobyBoaQ=="}, "script"),
        ({"commandToExecute": 7}, "commandToExecute"),
        ({"commandToExecute": "true", "nonsense": 1}, "nonsense"),
    ],
)
def test_settings_that_the_extension_refuses_name_the_field(
    home: House, vm: str, settings: dict[str, Any], said: str
) -> None:
    obj = home.api.wait_stalled(apply(home, vm, **settings))
    found = condition(obj, "Ready")
    assert found is not None
    assert found["reason"] == "InvalidConfiguration"
    assert said in first_status(obj)["message"]

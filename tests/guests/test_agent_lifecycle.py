"""The agent carries out goals on a machine as extension packages expect it: order, files, environment."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import HANDLER, Machine, eventually

KIND = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/goalstates.vmext.dev"
FOLDER = f"/var/lib/waagent/{HANDLER}-1.0.0"


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path) as running:
        yield running


def mode(machine: Machine, path: str) -> str:
    return machine.guest.run(["stat", "-c", "%a", path]).stdout.decode().strip()


def test_an_extension_is_installed_and_enabled_and_its_status_reported(machine: Machine) -> None:
    machine.want(settings={"greeting": "hello"})

    status = machine.ends("Succeeded")

    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1"]
    assert status["operation"] == "Enable"
    assert status["installedVersion"] == "1.0.0"
    assert status["handlerStatus"] == {"status": "Ready", "code": 0, "message": "Plugin enabled"}
    said = status["extensionStatus"]
    assert (said["status"], said["message"]) == ("success", "enabled 1")
    assert said["substatuses"] == [{"name": "StdOut", "status": "success", "code": 0, "message": "enabled 1"}]
    assert status["startTime"] <= status["endTime"]
    whole = machine.state()["status"]
    assert whole["observedGeneration"] == machine.state()["metadata"]["generation"]
    assert whole["guest"]["hostname"] == "web-1"


def test_a_handler_finds_the_folders_and_files_of_the_contract(machine: Machine) -> None:
    machine.want(settings={"greeting": "h\u00e9llo"})
    machine.ends("Succeeded")

    text = machine.guest.read(f"{FOLDER}/HandlerEnvironment.json").decode()
    assert text.startswith(
        f'[{{"name": "{HANDLER}", "version": 1.0, "handlerEnvironment": {{"logFolder": "/var/log/azure/'
    )
    (environment,) = json.loads(text)
    assert environment["handlerEnvironment"] == {
        "logFolder": f"/var/log/azure/{HANDLER}",
        "configFolder": f"{FOLDER}/config",
        "statusFolder": f"{FOLDER}/status",
        "heartbeatFile": f"{FOLDER}/heartbeat.log",
        "eventsFolder": f"/var/log/azure/{HANDLER}/events",
        "eventsFolder_preview": f"/var/log/azure/{HANDLER}/events",
    }
    settings = json.loads(machine.guest.read(f"{FOLDER}/config/1.settings"))
    assert settings == {
        "runtimeSettings": [
            {
                "handlerSettings": {
                    "publicSettings": {"greeting": "h\u00e9llo"},
                    "protectedSettings": None,
                    "protectedSettingsCertThumbprint": None,
                }
            }
        ]
    }
    assert machine.guest.read(f"{FOLDER}/config/HandlerState") == b"Enabled"
    status = json.loads(machine.guest.read(f"{FOLDER}/config/HandlerStatus"))
    assert (status["name"], status["status"], status["code"]) == (HANDLER, "Ready", 0)
    modes = {
        f"{FOLDER}/config": "700",
        f"{FOLDER}/status": "700",
        f"{FOLDER}/config/1.settings": "600",
        f"{FOLDER}/handler": "744",
        f"/var/log/azure/{HANDLER}": "755",
        f"/var/log/azure/{HANDLER}/events": "700",
        "/var/lib/waagent": "700",
    }
    assert {path: mode(machine, path) for path in modes} == modes
    assert not machine.guest.exists(f"/var/lib/waagent/{HANDLER}__1.0.0.zip")
    assert "Exit code: 0" in machine.guest.read(f"/var/log/azure/{HANDLER}/CommandExecution.log").decode()


def test_commands_get_a_clean_environment_and_their_own_folder(machine: Machine) -> None:
    machine.does("enable", "pwd > /var/log/tracer.pwd; ps -o sid= -p $$ > /var/log/tracer.sid; report success ok")
    machine.want()
    machine.ends("Succeeded")

    assert machine.guest.read("/var/log/tracer.pwd").decode().strip() == FOLDER
    environment = machine.environment(1)
    for own in ("PWD", "OLDPWD", "SHLVL", "_"):
        environment.pop(own, None)
    assert environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/var/lib/vmext/empty",
        "AZURE_GUEST_AGENT_EXTENSION_PATH": FOLDER,
        "AZURE_GUEST_AGENT_EXTENSION_VERSION": "1.0.0",
        "AZURE_GUEST_AGENT_WIRE_PROTOCOL_ADDRESS": "127.0.0.1",
        "AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES": '[{"Key": "ExtensionTelemetryPipeline", "Value": "1.0"}]',
        "AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE": "NOT_RUN",
        "ConfigSequenceNumber": "1",
    }


def test_a_new_goal_costs_one_write_of_the_status(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    with machine.watched("one", 3) as seen:
        for _ in range(2):
            machine.want()
            machine.ends("Succeeded")

    # What was there at first, and twice the goal and its status.
    assert len(seen) == 5


def test_the_same_goal_again_runs_nothing(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.want("other", handler="Test.Other")
    machine.ends("Succeeded", "other")

    machine.want(same_number=True, timeout_s=120)
    eventually(lambda: machine.state()["status"]["observedGeneration"] == machine.state()["metadata"]["generation"])

    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1", "1.0.0 install 2", "1.0.0 enable 2"]


def test_an_agent_that_is_restarted_runs_nothing_again(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    before = machine.state()["metadata"]["resourceVersion"]

    machine.kill_agent()
    machine.kill_worker()
    machine.want("other", handler="Test.Other")
    machine.ends("Succeeded", "other")

    assert machine.order()[:2] == ["1.0.0 install 1", "1.0.0 enable 1"]
    assert len(machine.order()) == 4
    assert machine.state()["metadata"]["resourceVersion"] != before


def test_a_reboot_enables_again_and_the_status_stays_ready(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    machine.guest.reboot()
    eventually(lambda: machine.order()[2:] == ["1.0.0 enable 1"])

    machine.want("other", handler="Test.Other")
    machine.ends("Succeeded", "other")
    assert machine.status()["outcome"] == "Succeeded"
    assert machine.order().count("1.0.0 enable 1") == 2


def test_a_new_sequence_number_enables_and_nothing_more(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    machine.want()
    status = machine.ends("Succeeded")

    assert machine.order()[2:] == ["1.0.0 enable 2"]
    assert status["extensionStatus"]["message"] == "enabled 2"


def test_settings_that_a_handler_has_changed_are_written_anew(machine: Machine) -> None:
    machine.does(
        "enable", "cat config/$ConfigSequenceNumber.settings >> /var/log/seen; : > config/1.settings; report success x"
    )
    machine.want(settings={"a": 1})
    machine.ends("Succeeded")

    machine.guest.reboot()
    eventually(lambda: machine.order().count("1.0.0 enable 1") == 2)
    eventually(lambda: machine.guest.read("/var/log/seen").count(b'{"a": 1}') == 2)


def test_an_update_keeps_the_order_of_the_contract_and_carries_mrseq(machine: Machine) -> None:
    machine.does("1.0.0/enable", "echo 1 > mrseq; report success old")
    machine.want()
    machine.ends("Succeeded")

    machine.want(version="1.1.0")
    status = machine.ends("Succeeded")

    assert machine.order()[2:] == [
        "1.0.0 disable 2",
        "1.1.0 update 2",
        "1.0.0 uninstall 2",
        "1.1.0 install 2",
        "1.1.0 enable 2",
    ]
    assert status["installedVersion"] == "1.1.0"
    new = f"/var/lib/waagent/{HANDLER}-1.1.0"
    assert machine.guest.read(f"{new}/mrseq") == b"1\n"
    assert machine.guest.exists(f"{new}/status/1.status")
    assert not machine.guest.exists(FOLDER)
    update = machine.environment(3)
    assert update["VERSION"] == "1.1.0"
    assert update["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"] == "1.0.0"
    assert update["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "0"
    assert machine.environment(6)["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "0"


def test_an_update_without_install_enables_at_once(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    content = agent_machine.tracer_zip(updateMode="UpdateWithoutInstall")
    machine.want(version="1.1.0", package=machine.package(content, "other.zip"))
    machine.ends("Succeeded")

    assert machine.order()[2:] == ["1.0.0 disable 2", "1.1.0 update 2", "1.0.0 uninstall 2", "1.1.0 enable 2"]


def test_a_downgrade_runs_update_in_the_old_folder(machine: Machine) -> None:
    machine.want(version="1.1.0")
    machine.ends("Succeeded")

    machine.want(version="1.0.0")
    machine.ends("Succeeded")

    assert machine.order()[2:] == [
        "1.1.0 disable 2",
        "1.1.0 update 2",
        "1.1.0 uninstall 2",
        "1.0.0 install 2",
        "1.0.0 enable 2",
    ]
    assert machine.environment(3)["VERSION"] == "1.0.0"


def test_an_uninstall_disables_uninstalls_and_leaves_no_folder(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    machine.remove()
    status = machine.ends("Removed")

    assert machine.order()[2:] == ["1.0.0 disable 1", "1.0.0 uninstall 1"]
    assert not machine.guest.exists(FOLDER)
    assert not status.keys() & {"installedVersion", "extensionStatus", "reason", "keptBy"}


def test_a_removal_says_that_the_handler_stays_and_who_has_it(machine: Machine) -> None:
    package = machine.package(agent_machine.tracer_zip(supportsMultipleExtensions=True))
    for name in ("a", "b"):
        machine.want(name, package=package, several=True)
    for name in ("a", "b"):
        # The tracer's status file is that of a handler of one extension: how it ended is not looked at.
        machine.wait(lambda one: one.get("handlerStatus", {}).get("status") == "Ready", name)

    machine.remove("b")

    status = machine.ends("Removed", "b")
    assert (status["reason"], status["keptBy"], status["installedVersion"]) == ("HandlerKept", "a", "1.0.0")
    machine.remove("a")
    assert "reason" not in machine.ends("Removed", "a")
    assert not machine.guest.exists(FOLDER)


def test_a_removal_of_what_can_not_be_used_says_that_no_uninstall_was_run(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.guest.run(["rm", f"{FOLDER}/HandlerManifest.json"])
    machine.kill_agent()

    machine.remove()

    status = machine.ends("Removed")
    assert status["reason"] == "NotUninstalled"
    assert "1.0.0 uninstall 1" not in machine.order()
    assert not machine.guest.exists(FOLDER)


def test_what_leaves_the_goal_leaves_the_status_and_stays_on_the_machine(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    machine.want("other", handler="Test.Other")
    machine.ends("Succeeded", "other")

    del machine.entries["one"]
    machine.apply()
    eventually(lambda: machine.state()["status"]["extensions"].keys() == {"other"})

    assert "1.0.0 uninstall" not in " ".join(machine.order())
    assert machine.guest.exists(f"{FOLDER}/handler")


def test_an_orphan_stays_on_the_machine(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")

    machine.remove(state="orphan")
    machine.ends("Removed")

    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1"]
    assert machine.guest.exists(f"{FOLDER}/handler")


def test_an_extension_made_again_is_installed_again(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.remove()
    machine.ends("Removed")

    machine.want(uid="uid-again")
    machine.ends("Succeeded")

    assert machine.order()[4:] == ["1.0.0 install 2", "1.0.0 enable 2"]


def test_an_entry_that_makes_no_sense_fails_alone(machine: Machine) -> None:
    machine.want("bad", handler="../../etc")
    machine.want("good")

    machine.ends("Succeeded", "good")
    status = machine.ends("Failed", "bad")

    assert status["reason"] == "InvalidGoalState"
    assert "handler.name" in status["message"]


def test_a_state_of_a_newer_operators_is_reported_and_the_others_go_on(machine: Machine) -> None:
    machine.want("known")
    machine.ends("Succeeded", "known")
    before = machine.api.request("GET", KIND)["spec"]["versions"]
    after = copy.deepcopy(before)
    spec = after[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["extensions"]["items"]["properties"]["state"]["enum"].append("hibernate")
    machine.api.request("PATCH", KIND, {"spec": {"versions": after}}, "application/merge-patch+json")
    try:
        # It is refused until the API server has the kind's new schema.
        eventually(lambda: machine.want("known", state="hibernate"))
        machine.want("other", handler="Test.Other")

        machine.ends("Succeeded", "other")
        status = machine.ends("Failed", "known")
    finally:
        machine.api.request("PATCH", KIND, {"spec": {"versions": before}}, "application/merge-patch+json")
    assert (status["state"], status["reason"]) == ("hibernate", "InvalidGoalState")
    assert "update the agent" in status["message"]
    assert [line.split()[1] for line in machine.order()] == ["install", "enable", "install", "enable"]


def test_a_record_that_cannot_be_read_is_set_aside_and_made_again_from_the_folders(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.guest.write("/var/lib/vmext/extensions/one.json", b"\0" * 100)

    machine.kill_worker()
    machine.want()
    machine.ends("Succeeded")

    assert machine.order()[2:] in (["1.0.0 enable 2"], ["1.0.0 enable 1", "1.0.0 enable 2"])
    assert machine.guest.exists("/var/lib/vmext/extensions/one.json.corrupt-1")
    assert "record can't be read" in machine.log()


def test_a_goal_state_that_does_not_exist_yet_is_waited_for(machine: Machine) -> None:
    eventually(lambda: "There is no goal state yet" in machine.log())

    machine.want()

    machine.ends("Succeeded")

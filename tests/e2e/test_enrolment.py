"""A machine from its declaration to its first script, by the commands that people run; and one that is revoked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

import simulated_guest
from development.api import ApiError, Object
from development.house import House, agent_service, extension
from kubectl_vmext import __main__ as plugin
from kubectl_vmext import errors
from support import declaring, tokens
from support.guests import skipping
from support.waiting import eventually


@pytest.fixture
def guest(home: House, request: pytest.FixtureRequest) -> simulated_guest.Guest:
    """A guest of its own, with a VirtualMachine of its name declared, and no credential."""
    name = "enrol-" + request.node.name.replace("_", "-")[-40:].strip("-")
    with skipping():
        made = home.add_guest(name)
    home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
    return made


def kubectl_vmext(home: House, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the plugin as the administrator; return what it printed."""
    capsys.readouterr()
    where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
    code = plugin.main([arguments[0], *where, *arguments[1:]])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def credential(machine: Object | None) -> Mapping[str, Any]:
    return ((machine or {}).get("status") or {}).get("credential") or {}


def bundle(printed: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(printed.split("<<'VMEXT'\n")[1].split("\nVMEXT\n")[0])
    return found


def secret(home: House, name: str) -> Object | None:
    try:
        return home.api.request("GET", f"/api/v1/namespaces/{home.api.namespace}/secrets/{name}")
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def enrol(home: House, guest: simulated_guest.Guest, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Paste what the plugin prints into a shell on the machine; return what the agent says there."""
    printed = kubectl_vmext(home, capsys, "enroll", guest.name, *options)
    return guest.run(["sh", "-c", printed]).stdout.decode()


def is_acknowledged(home: House, name: str) -> bool:
    """Tell whether a machine uses a token that it was given in its goal."""
    goal = home.api.get("GoalState", name) or {}
    held = (goal.get("status") or {}).get("credential") or {}
    given = goal.get("spec", {}).get("credential") or {}
    return "id" in held and held["id"] == given.get("id")


def test_a_machine_is_enrolled_by_what_is_pasted_and_runs_its_first_script(
    home: House, guest: simulated_guest.Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    said = enrol(home, guest, capsys)
    guest.start_service(agent_service())

    found = home.api.wait("VirtualMachine", guest.name, lambda vm: "expiresAt" in credential(vm))
    assert credential(found)["thumbprint"] in said
    # What was pasted is of no use any more.
    eventually(lambda: secret(home, f"vmext-vm-{guest.name}-enroll") is None)
    assert is_acknowledged(home, guest.name)
    home.api.apply(extension(guest.name, guest.name, settings={"commandToExecute": "echo hello"}))
    home.api.wait_ready(guest.name)


def test_a_machine_that_is_revoked_is_shut_out_until_it_is_enrolled_again(
    home: House, guest: simulated_guest.Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(home, guest, capsys)
    guest.start_service(agent_service())
    before = credential(home.api.wait("VirtualMachine", guest.name, lambda vm: "expiresAt" in credential(vm)))
    write(home, guest, "once")
    home.api.wait_ready(guest.name)

    token = guest.read("/etc/vmext/token").decode()
    own = home.api.path("GoalState", guest.name)
    assert tokens.answer(home.cluster, token, own) == 200

    said = kubectl_vmext(home, capsys, "revoke", guest.name)
    assert "its tokens end within 10 s" in said
    eventually(lambda: tokens.answer(home.cluster, token, own) == 401, timeout_s=15)
    vm = home.api.get("VirtualMachine", guest.name)
    assert "certificate" not in credential(vm)
    write(home, guest, "twice")
    declaring.wait_reason(home.api, guest.name, "Reconciling", "NotEnrolled")
    # The agent goes on with a watch that was open before, and is told nothing by it.
    eventually(lambda: "401" in guest.read("/var/log/waagent.log").decode())
    assert guest.read("/root/ran") == b"once\n"

    enrol(home, guest, capsys, "--again")
    found = home.api.wait("VirtualMachine", guest.name, lambda one: "expiresAt" in credential(one), timeout_s=60)
    assert credential(found)["anchorUID"] != before["anchorUID"]
    home.api.wait_ready(guest.name, timeout_s=60)
    assert guest.read("/root/ran") == b"once\ntwice\n"

    # What was not changed does not run again for it.
    second = credential(home.api.get("VirtualMachine", guest.name))["anchorUID"]
    enrol(home, guest, capsys, "--again")

    def has_answered(goal: Object | None) -> bool:
        answers = ((goal or {}).get("status") or {}).get("extensions") or {}
        is_another = goal is not None and goal["spec"]["anchorUID"] != second
        return is_another and (answers.get(guest.name) or {}).get("outcome") == "Succeeded"

    home.api.wait("GoalState", guest.name, has_answered, timeout_s=60)
    home.api.wait_ready(guest.name, timeout_s=60)
    assert guest.read("/root/ran") == b"once\ntwice\n"


def write(home: House, guest: simulated_guest.Guest, word: str) -> None:
    """Declare an extension that appends a word to a file on the machine."""
    home.api.apply(extension(guest.name, guest.name, settings={"commandToExecute": f"echo {word} >> /root/ran"}))


def test_what_can_not_be_done_is_said_in_one_line(home: House, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
    for code, arguments, words in (
        (errors.NOT_FOUND, ["enroll", *where, "nowhere"], "has no VirtualMachine nowhere; declare it first"),
        (errors.USAGE, ["enroll", *where], "name them, or select them by -l"),
        (errors.NOT_FOUND, ["enroll", *where, "-l", "no=such"], "has the labels no=such"),
        (errors.USAGE, ["enroll", *where, "--minutes", "1", "x"], "--minutes 1 is not between"),
        (errors.NO_CLUSTER, ["revoke", "--kubeconfig", "/nowhere", "x"], "no cluster"),
    ):
        assert plugin.main(arguments) == code
        complained = capsys.readouterr().err
        assert words in complained, complained
        assert complained.count("\n") == 1


def test_a_fleet_is_enrolled_by_labels_for_automation(home: House, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"fleet-{number}" for number in range(3)]
    for name in names:
        kind = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine"}
        home.api.apply(kind | {"metadata": {"name": name, "labels": {"fleet": "yes"}}})

    found = json.loads(kubectl_vmext(home, capsys, "enroll", "-l", "fleet=yes", "-o", "json"))

    assert sorted(one["name"] for one in found) == names
    assert len({one["token"] for one in found}) == 3

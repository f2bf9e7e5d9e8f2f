"""The walk-throughs of Azure's documentation of VM extensions, through kubectl vmext, on a whole house.

What is compared is what that documentation shows: the fields of each output by name, and their values where they are
the same anywhere. What only Azure has (ids, regions, resource groups) is there under its name.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from development.api import is_ready
from development.house import House
from kubectl_vmext import errors
from support.plugin import Plugin

#: ``az vm extension image list``.
IMAGE = {"name", "publisher", "version"}
#: ``az vm extension set`` and ``show``.
EXTENSION = {
    "autoUpgradeMinorVersion", "enableAutomaticUpgrade", "forceUpdateTag", "id", "instanceView", "location", "name",
    "protectedSettings", "provisionAfterExtensions", "provisioningState", "publisher", "resourceGroup", "settings",
    "suppressFailures", "tags", "type", "typeHandlerVersion", "typePropertiesType",
}  # fmt: skip
#: ``az vm get-instance-view --query instanceView.extensions``, and one of its statuses.
VIEW = {"name", "statuses", "substatuses", "type", "typeHandlerVersion"}
STATUS = {"code", "displayStatus", "level", "message", "time"}

RUN = ("set", "--name", "CustomScript", "--publisher", "VMExt", "--version", "2.1", "-o", "json", "--timeout", "3m")


@pytest.fixture
def typed(home: House) -> Plugin:
    """The plugin, on the house."""
    return Plugin(home.cluster.kubeconfig, home.api.namespace)


def settings(command: str) -> tuple[str, str]:
    return "--settings", f'{{"commandToExecute": "{command}"}}'


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def test_discover_extensions(typed: Plugin) -> None:
    listed = typed.good("image", "list", "--location", "westus", "-o", "json").json
    assert {"name": "CustomScript", "publisher": "VMExt", "version": "2.1.0"} in listed
    assert all(set(one) == IMAGE and all(map(is_text, one.values())) for one in listed)

    head, *rows = typed.good("image", "list", "--location", "westus", "--output", "table").out.splitlines()
    assert head.split() == ["Name", "Publisher", "Version"]
    assert ["CustomScript", "VMExt", "2.1.0"] in [row.split() for row in rows]


def test_run_a_script_see_it_fail_look_into_it_delete_it_and_run_it_again(typed: Plugin, home: House, vm: str) -> None:
    on = ("--vm-name", vm)

    # Run: az vm extension set.
    made = typed.good(*RUN, *on, *settings("echo ran >> /root/runs")).json
    assert set(made) - {"vmName"} == EXTENSION
    assert {name: made[name] for name in ("provisioningState", "publisher", "typePropertiesType", "type")} == {
        "provisioningState": "Succeeded",
        "publisher": "VMExt",
        "typePropertiesType": "CustomScript",
        "type": "Microsoft.Compute/virtualMachines/extensions",
    }
    assert made["settings"] == {"commandToExecute": "echo ran >> /root/runs"}
    assert made["protectedSettings"] is None
    assert made["autoUpgradeMinorVersion"] is True
    assert made["typeHandlerVersion"] == "2.1"
    assert home.guests[vm].read("/root/runs") == b"ran\n"

    # The classic typo: it fails at once, and says where to look.
    failed = typed.run(*RUN, *on, *settings("ech hello"))
    assert failed.code == errors.FAILED
    assert failed.err.count("\n") == 1
    assert "ExecutionFailed" in failed.err

    # Look into it: az vm get-instance-view.
    name = made["name"]
    (view,) = typed.good("get-instance-view", "--name", vm, "--query", "instanceView.extensions").json
    assert set(view) == VIEW
    (status,) = view["statuses"]
    assert set(status) == STATUS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*", status["time"])
    assert {key: value for key, value in status.items() if key != "time"} == {
        "code": "ProvisioningState/failed/0",
        "displayStatus": "Provisioning failed",
        "level": "Error",
        "message": "Enable failed: failed to execute command: command terminated with exit status=127\n"
        "[stdout]\n\n[stderr]\n/bin/sh: 1: ech: not found\n",
    }
    assert view["substatuses"] is None or all(set(one) == STATUS for one in view["substatuses"])
    assert (view["name"], view["type"], view["typeHandlerVersion"]) == (name, "VMExt.CustomScript", "2.1.0")
    shown = typed.good("show", *on, "--name", "CustomScript", "--instance-view").json
    assert shown["instanceView"] == view
    assert "ech: not found" in typed.good("logs", *on, "--name", "CustomScript").out

    # The machine as a whole: its agent and its handlers. Its status is written once a second at most.
    home.api.wait("VirtualMachine", vm, is_ready)
    whole = typed.good("instance-view", vm).json["instanceView"]
    agent = whole["vmAgent"]
    assert set(agent) == {"extensionHandlers", "statuses", "vmAgentVersion"}
    assert {key: agent["statuses"][0][key] for key in ("code", "displayStatus", "level", "message")} == {
        "code": "ProvisioningState/succeeded",
        "displayStatus": "Ready",
        "level": "Info",
        "message": "Guest Agent is running",
    }
    (handler,) = agent["extensionHandlers"]
    assert set(handler) == {"status", "type", "typeHandlerVersion"}
    assert (handler["type"], handler["typeHandlerVersion"]) == ("VMExt.CustomScript", "2.1.0")
    assert (handler["status"]["displayStatus"], handler["status"]["message"]) == ("Ready", "Plugin enabled")

    # Run it again: az vm extension delete, and set once more.
    assert (
        typed.good("delete", *on, "--name", "CustomScript", "--timeout", "2m").out
        == f"{name} is deleted: uninstalled from {vm}\n"
    )
    assert typed.good("list", *on, "-o", "json").json == []
    typed.good(*RUN, *on, *settings("echo ran >> /root/runs"))
    assert home.guests[vm].read("/root/runs") == b"ran\nran\n"
    typed.good("wait", *on, "--name", "CustomScript", "--created", "--timeout", "1m")

    # Or without deleting it.
    typed.good(*RUN, *on, "--force-update")
    assert home.guests[vm].read("/root/runs") == b"ran\nran\nran\n"

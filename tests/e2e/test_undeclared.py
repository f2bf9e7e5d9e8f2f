"""What is on a machine and declared nowhere: shown, taken over when it is declared, removed when that is deleted."""

from __future__ import annotations

import hashlib
from typing import Any

from development.api import Object, condition
from development.house import House, extension
from guests.agent_machine import tracer_zip
from support.plugin import Plugin
from support.waiting import eventually

KIND = "VirtualMachineExtension"


def offer(home: House, vm: str) -> str:
    """Enter a type of the test's own into the catalog, of which the tracer is the handler; return it."""
    content, type_ = tracer_zip(), "stray" + vm.replace("-", "")
    (home.served / f"{type_}.zip").write_bytes(content)
    package = {
        "urls": [f"{home.url}/{type_}.zip"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "sizeBytes": len(content),
    }
    kind = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachineExtensionImage"}
    spec = {"publisher": "Test", "type": type_, "version": "1.0.0", "package": package}
    home.api.apply(kind | {"metadata": {"name": f"test.{type_}-1.0.0"}, "spec": spec})
    return type_


def declare(home: House, vm: str, type_: str, name: str, **spec: Any) -> str:
    own = {"publisher": "Test", "type": type_, "typeHandlerVersion": "1.0"}
    home.api.apply(extension(f"{name}-{vm}", vm, **(own | spec)))
    return f"{name}-{vm}"


def delete(home: House, name: str) -> None:
    home.api.delete(KIND, name)
    home.api.wait_gone(KIND, name)


def order(home: House, vm: str) -> list[str]:
    lines = home.guests[vm].read("/var/log/tracer.order").decode().splitlines()
    return [line.split()[1] for line in lines]


def shown(home: House, vm: str, *names: str | None) -> Object:
    """Wait until the machine shows just those as undeclared, None for one without a name; return it."""

    def is_shown(obj: Object | None) -> bool:
        status = (obj or {}).get("status") or {}
        return [one.get("extension") for one in status.get("undeclared") or ()] == list(names)

    found = home.api.wait("VirtualMachine", vm, is_shown)
    assert found is not None
    assert bool(condition(found, "Undeclared")) == bool(names)
    return found


def events(home: House, name: str) -> list[str]:
    listed = home.api.request("GET", f"/api/v1/namespaces/{home.api.namespace}/events")["items"]
    return [one["message"] for one in listed if one["involvedObject"]["name"] == name]


def test_what_is_left_on_purpose_is_shown_and_taken_over_by_declaring_it(home: House, vm: str) -> None:
    type_ = offer(home, vm)
    one = declare(home, vm, type_, "one", deletionPolicy="Orphan")
    home.api.wait_ready(one)

    delete(home, one)

    # It was told to forget the extension: what is left is the handler.
    machine = shown(home, vm, None)
    found, ready = condition(machine, "Undeclared"), condition(machine, "Ready")
    assert found is not None
    assert ready is not None
    assert f"Test.{type_} 1.0.0. It is left alone" in found["message"]
    assert ready["status"] == "True"
    typed = Plugin(home.cluster.kubeconfig, home.api.namespace)
    # An operator that is no Pod has its Lease elsewhere: what matters is the line.
    assert f"Test.{type_} 1.0.0 is on it and declared nowhere" in typed.run("doctor", "--vm-name", vm).out

    home.api.wait_ready(declare(home, vm, type_, "two"))
    shown(home, vm)
    assert order(home, vm) == ["install", "enable", "enable"]

    delete(home, f"two-{vm}")
    eventually(lambda: f"uninstalled from {vm}" in events(home, f"two-{vm}"))
    assert order(home, vm)[3:] == ["disable", "uninstall"]
    assert not home.guests[vm].exists(f"/var/lib/waagent/Test.{type_}-1.0.0")
    shown(home, vm)


def test_what_a_snapshot_brought_back_is_removed_by_one_command_and_without_a_catalog(home: House, vm: str) -> None:
    type_, guest = offer(home, vm), home.guests[vm]
    one = declare(home, vm, type_, "one")
    home.api.wait_ready(one)
    guest.run(["sh", "-c", "mkdir /snapshot && cp -a /var/lib/waagent /var/lib/vmext /snapshot"])
    delete(home, one)
    home.api.delete("VirtualMachineExtensionImage", f"test.{type_}-1.0.0")

    guest.run(
        ["sh", "-c", "rm -rf /var/lib/waagent /var/lib/vmext && cp -a /snapshot/* /var/lib && rm /var/log/tracer.order"]
    )
    guest.kill_service("agent")
    shown(home, vm, one)
    typed = Plugin(home.cluster.kubeconfig, home.api.namespace)
    done = typed.good("remove-undeclared", vm, f"test.{type_}", "--timeout", "60")

    assert done.out == f"Test.{type_} is removed: uninstalled from {vm}\n"
    assert order(home, vm) == ["disable", "uninstall"]
    assert not guest.exists(f"/var/lib/waagent/Test.{type_}-1.0.0")
    assert home.api.get(KIND, f"remove-{vm}-{type_}") is None
    typed.refused(3, "reports nothing that is declared nowhere", "remove-undeclared", vm, f"Test.{type_}")

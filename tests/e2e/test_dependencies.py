"""Extensions that depend on each other, from kubectl to the order in which their commands ran."""

from __future__ import annotations

import hashlib
from typing import Any

from development.api import Object, condition
from development.house import House, extension
from guests.agent_machine import tracer_zip
from support.waiting import eventually

KIND = "VirtualMachineExtension"
#: The tracer as three handlers, told apart in what they write by their versions.
VERSIONS = {"first": "1.0.1", "middle": "1.0.2", "last": "1.0.3"}
FAILS = 'report error "no such volume"'


def offer(home: House) -> None:
    content = tracer_zip()
    (home.served / "chain.zip").write_bytes(content)
    package = {"urls": [f"{home.url}/chain.zip"], "sha256": hashlib.sha256(content).hexdigest()}
    for name, version in VERSIONS.items():
        home.api.apply(
            {
                "apiVersion": "vmext.dev/v1alpha1",
                "kind": "VirtualMachineExtensionImage",
                "metadata": {"name": f"test.{name}-{version}"},
                "spec": {
                    "publisher": "Test",
                    "type": name,
                    "version": version,
                    "package": package | {"sizeBytes": len(content)},
                },
            }
        )


def declare(home: House, vm: str, name: str, *depends_on: str, **spec: Any) -> str:
    base = {"publisher": "Test", "type": name, "typeHandlerVersion": "1.0"}
    if depends_on:
        spec["dependsOn"] = [f"{other}-{vm}" for other in depends_on]
    home.api.apply(extension(f"{name}-{vm}", vm, **(base | spec)))
    return f"{name}-{vm}"


def enables(home: House, vm: str) -> list[str]:
    """Return which extensions were enabled, in their order."""
    try:
        lines = home.guests[vm].read("/var/log/tracer.order").decode().splitlines()
    except FileNotFoundError:
        return []
    by_version = {version: name for name, version in VERSIONS.items()}
    return [by_version[line.split()[0]] for line in lines if line.split()[1] == "enable"]


def does(home: House, vm: str, name: str, script: str) -> None:
    home.guests[vm].write(f"/etc/tracer/{VERSIONS[name]}/enable", script.encode(), mode=0o644)


def words(obj: Object | None) -> str:
    found = condition(obj, "Ready")
    return "" if found is None else str(found["message"])


def test_three_are_carried_out_in_their_order_whatever_order_they_come_in(home: House, vm: str) -> None:
    offer(home)
    last = declare(home, vm, "last", "middle")
    waiting = home.api.wait(KIND, last, lambda obj: "middle" in words(obj))
    assert f"middle-{vm}, on which it depends, is not declared for {vm}" in words(waiting)
    declare(home, vm, "middle", "first")
    declare(home, vm, "first")
    home.api.wait_ready(last)
    assert enables(home, vm) == ["first", "middle", "last"]

    # Deleted together, those that depend on others leave first.
    home.operator.stop()
    for name in VERSIONS:
        home.api.delete(KIND, f"{name}-{vm}")
    home.operator.start()
    for name in VERSIONS:
        home.api.wait_gone(KIND, f"{name}-{vm}")
    lines = home.guests[vm].read("/var/log/tracer.order").decode().splitlines()
    left = [line.split()[0] for line in lines if line.split()[1] == "uninstall"]
    assert left == [VERSIONS["last"], VERSIONS["middle"], VERSIONS["first"]]


def test_a_failing_middle_stops_those_that_depend_on_it_and_nobody_else(home: House, vm: str) -> None:
    offer(home)
    does(home, vm, "middle", FAILS)
    middle = declare(home, vm, "middle")
    last = declare(home, vm, "last", "middle")
    first = declare(home, vm, "first")
    home.api.wait_ready(first)
    home.api.wait_stalled(middle, "ExecutionFailed")
    stalled = home.api.wait_stalled(last, "DependencyFailed")
    assert f"{middle}, on which it depends, failed" in words(stalled)
    assert f"{middle}: ExecutionFailed: no such volume" in words(stalled)
    assert "last" not in enables(home, vm)

    does(home, vm, "middle", 'report success "mended"')
    declare(home, vm, "middle", forceUpdateTag="again")
    home.api.wait_ready(last)
    assert enables(home, vm)[-2:] == ["middle", "last"]


def test_a_suppressed_failure_holds_nobody_back_and_counts_as_ready(home: House, vm: str) -> None:
    offer(home)
    does(home, vm, "middle", FAILS)
    middle = declare(home, vm, "middle", suppressFailures=True)
    last = declare(home, vm, "last", "middle")
    home.api.wait_ready(last)
    ready = home.api.wait_ready(middle)
    found = condition(ready, "Ready")
    assert found is not None
    assert found["reason"] == "FailureSuppressed"
    assert "no such volume" in found["message"]
    assert ready["status"]["provisioningState"] == "Succeeded"
    assert ready["status"]["statuses"][0]["code"].startswith("ProvisioningState/failed")
    assert enables(home, vm) == ["middle", "last"]


def test_a_circle_is_named_whole_and_recovers(home: House, vm: str) -> None:
    offer(home)
    first, middle = declare(home, vm, "first", "middle"), declare(home, vm, "middle", "first")
    last = declare(home, vm, "last", "middle")
    assert f"{first} -> {middle} -> {first}" in words(home.api.wait_stalled(first, "DependencyCycle"))
    assert f"{middle} -> {first} -> {middle}" in words(home.api.wait_stalled(middle, "DependencyCycle"))
    assert "DependencyCycle" in words(home.api.wait_stalled(last, "DependencyFailed"))
    home.api.apply(extension(first, vm, publisher="Test", type="first", typeHandlerVersion="1.0", dependsOn=[]))
    home.api.wait_ready(last)
    eventually(lambda: enables(home, vm) == ["first", "middle", "last"])

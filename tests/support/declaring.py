"""What tests of the operator declare, and what they wait for: plain functions on the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from development.api import Api, Object, condition
from development.house import extension
from support import objects
from vmext_operator.api.goal_state import name_of

SHA = "ab" * 32


def image(type_: str, version: str, **spec: Any) -> Object:
    """Return a catalog entry of publisher Test."""
    package = {"urls": [f"http://127.0.0.1:9/{version}.zip"], "sha256": SHA, "sizeBytes": 1}
    return {
        "apiVersion": "vmext.dev/v1alpha1",
        "kind": "VirtualMachineExtensionImage",
        "metadata": {"name": f"test.{type_}-{version}".lower()},
        "spec": {"publisher": "Test", "type": type_, "version": version, "package": package} | spec,
    }


def declare(api: Api, name: str, type_: str, *, vm: str = "web-1", **spec: Any) -> Object:
    """Declare an extension of it, of version 1 unless said otherwise."""
    return api.apply(extension(name, vm, **({"publisher": "Test", "type": type_, "typeHandlerVersion": "1"} | spec)))


def machine(api: Api, name: str = "web-1", **spec: Any) -> Object:
    """Declare a machine."""
    kind = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine"}
    return api.apply(kind | {"metadata": {"name": name}, "spec": spec})


def goal(vm: str = "web-1", **spec: Any) -> Object:
    """Return a machine's GoalState as an operator would write it."""
    base = {"vmName": vm, "vmUID": "u", "anchorUID": objects.ANCHOR, "modelHash": "h", "lastSequenceNumber": 0}
    return {
        "apiVersion": "vmext.dev/v1alpha1",
        "kind": "GoalState",
        "metadata": {"name": name_of(vm, objects.ANCHOR)},
        "spec": {**base, "extensions": [], **spec},
    }


def entries(goal: Object | None) -> dict[str, Object]:
    """Return the entries of a goal by their names."""
    return {} if goal is None else {entry["name"]: entry for entry in goal["spec"]["extensions"]}


def wait_entry(api: Api, name: str, *, vm: str = "web-1", **fields: Any) -> Object:
    """Wait until a goal has an entry with those fields; return it."""

    def there(goal: Object | None) -> bool:
        entry = entries(goal).get(name)
        return entry is not None and all(entry.get(field) == value for field, value in fields.items())

    return entries(api.wait("GoalState", vm, there))[name]


def wait_reason(api: Api, name: str, kind: str, reason: str, timeout_s: float = 30.0) -> Object:
    """Wait until an extension has a condition with that reason; return the extension."""

    def there(obj: Object | None) -> bool:
        found = condition(obj, kind)
        return found is not None and found["reason"] == reason

    obj = api.wait("VirtualMachineExtension", name, there, timeout_s=timeout_s)
    assert obj is not None
    return obj


def report(
    api: Api, vm: str = "web-1", *, outcome: str | None = None, installed: str | None = None, **status: Any
) -> Object:
    """Report in the place of a machine's agent: all entries of its goal with an outcome, or just that it is there."""
    goal = api.get("GoalState", vm)
    assert goal is not None
    version = {} if installed is None else {"installedVersion": installed}
    every = {} if outcome is None else entries(goal)
    answers = {name: objects.answer(one, outcome or "", **version) for name, one in every.items()}
    base: Mapping[str, Any] = {"observedGeneration": goal["metadata"]["generation"], "agentVersion": "0.1.0"}
    return api.patch_status("GoalState", vm, {**base, "extensions": answers, **status})

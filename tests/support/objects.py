"""Objects as the API server gives them, with as little said as a test needs to say."""

from __future__ import annotations

import itertools
from typing import Any

from vmext_operator.api import API_VERSION
from vmext_operator.api.goal_state import name_of

_versions = itertools.count(1)
CREATED = "2026-01-01T00:00:00Z"
#: UID of the Secret that a machine's tokens are bound to.
ANCHOR = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def meta(name: str, *, namespace: str = "default", uid: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return metadata with a resourceVersion higher than any before it."""
    base: dict[str, Any] = {
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(next(_versions)),
        "generation": 1,
        "creationTimestamp": CREATED,
    }
    if namespace:
        base["namespace"] = namespace
    return base | fields


def machine(name: str = "web-1", *, spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """Return a VirtualMachine."""
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachine",
        "metadata": meta(name, **metadata),
        "spec": spec or {},
        "status": {"observedGeneration": -1, "credential": {"anchorUID": ANCHOR}},
    }


def extension(
    name: str = "hello",
    *,
    vm: str = "web-1",
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """Return a VirtualMachineExtension of VMExt.CustomScript 2.1."""
    base = {"vmName": vm, "publisher": "VMExt", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineExtension",
        "metadata": meta(name, **metadata),
        "spec": base | (spec or {}),
        "status": {"observedGeneration": -1} if status is None else status,
    }


def image(
    version: str = "2.1.0", *, publisher: str = "VMExt", type_: str = "CustomScript", **spec: Any
) -> dict[str, Any]:
    """Return a VirtualMachineExtensionImage."""
    package = {
        "urls": [f"http://127.0.0.1/{publisher}.{type_}__{version}.zip"],
        "sha256": f"{abs(hash(version)):064x}"[-64:],
        "sizeBytes": 1000,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineExtensionImage",
        "metadata": meta(f"{publisher}.{type_}-{version}".lower(), namespace=""),
        "spec": {"publisher": publisher, "type": type_, "version": version, "package": package} | spec,
    }


def goal_state(
    name: str, spec: dict[str, Any], status: dict[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    """Return the GoalState of a machine by that name."""
    spec = {"vmName": name, "anchorUID": ANCHOR} | spec
    own = meta(name_of(name, spec["anchorUID"]), **metadata)
    obj = {"apiVersion": API_VERSION, "kind": "GoalState", "metadata": own, "spec": spec}
    return obj if status is None else obj | {"status": status}


def answer(entry: dict[str, Any], outcome: str = "Succeeded", **fields: Any) -> dict[str, Any]:
    """Return what a machine says of an entry of its goal."""
    return {
        "uid": entry["uid"],
        "state": entry["state"],
        "sequenceNumber": entry["sequenceNumber"],
        "version": entry["handler"]["version"],
        "outcome": outcome,
    } | fields

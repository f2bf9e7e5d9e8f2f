"""Raw writes: what a machine's and its extensions' life writes, in kind and number, by a client that decides nothing.

Every write but an Event is a server-side apply. The watches that a fleet has are open meanwhile. What was written is
taken away again before anything else begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.fleet import agents, wire
from benchmarks.fleet.declared import BASE, EACH, Machine
from vmext_operator.api import API_VERSION, virtual_machine
from vmext_operator.api.goal_state import name_of
from vmext_operator.api.meta import Key
from vmext_operator.cluster.identities import SECRETS, path
from vmext_operator.core import identity

NAMESPACE = "raw"
#: UID of the Secret that is every machine's anchor here.
ANCHOR = "0" * 36
#: As many reports as an agent sends of five extensions that succeed.
_REPORTS = 3
_OURS = ("virtualmachineextensions", "virtualmachines", "goalstates")


class Write(NamedTuple):
    """One write; it is a POST where it has no manager."""

    target: str
    obj: dict[str, Any]
    manager: str = "vmext-operator"


def machines(count: int) -> list[Machine]:
    """Return machines that are there for raw writes alone."""
    return [Machine(NAMESPACE, f"raw-{number:05}") for number in range(count)]


def life(machine: Machine) -> Iterator[Write]:
    """Yield the writes of one machine's life, up to the last of its extensions' being ready."""
    vm = machine.path("virtualmachines")
    yield Write(vm, machine.manifest(), "user")
    for number in range(1, EACH + 1):
        yield Write(_extension(machine, number), machine.extension(number), "user")
    yield Write(vm, _marked(machine.manifest()))
    yield from _belongings(machine)
    yield Write(f"{vm}/status", machine.manifest() | {"status": {"credential": {"anchorUID": ANCHOR}}})
    for number in range(1, EACH + 1):
        # Instead of a finalizer, which nobody would take off.
        yield Write(_extension(machine, number), _marked(machine.extension(number)))
    yield Write(machine.path("goalstates", _goal_name(machine)), _goal(machine))
    for report in range(1, _REPORTS + 1):
        yield Write(
            f"{machine.path('goalstates', _goal_name(machine))}/status", _report(machine, report), "vmext-agent"
        )
    for number in range(1, EACH + 1):
        status = {"metadata": machine.extension(number)["metadata"], "status": _extension_status(number)}
        obj = {"apiVersion": API_VERSION, "kind": "VirtualMachineExtension"} | status
        yield Write(f"{_extension(machine, number)}/status", obj)
        yield Write(f"/api/v1/namespaces/{NAMESPACE}/events", _event(machine, number), "")
    yield Write(f"{vm}/status", machine.manifest() | {"status": {"extensions": {"total": 5, "ready": 5, "failed": 0}}})


def change(machine: Machine) -> Iterator[Write]:
    """Yield the writes of a change of one extension on a machine that has had its life."""
    vmx = _extension(machine, 1)
    yield Write(vmx, machine.extension(1, run=1), "user")
    goal = _goal(machine)
    goal["spec"]["extensions"][0] |= {"sequenceNumber": EACH + 1, "settings": "{}"}
    yield Write(machine.path("goalstates", _goal_name(machine)), goal)
    report = _report(machine, _REPORTS)
    report["status"] |= {"observedGeneration": 2, "highestSequenceNumber": EACH + 1}
    yield Write(f"{machine.path('goalstates', _goal_name(machine))}/status", report, "vmext-agent")
    head = {"apiVersion": API_VERSION, "kind": "VirtualMachineExtension"}
    status = {"metadata": machine.extension(1)["metadata"], "status": _extension_status(EACH + 1)}
    yield Write(f"{vmx}/status", head | status)
    yield Write(f"/api/v1/namespaces/{NAMESPACE}/events", _event(machine, 1), "")


async def write(pool: wire.Pool, written: Write) -> None:
    """Make one of these writes. Raises RequestError."""
    if written.manager:
        query = f"fieldManager={written.manager}&force=true"
        await pool.request("PATCH", f"{written.target}?{query}", written.obj, wire.APPLY)
    else:
        await pool.request("POST", written.target, written.obj)


async def take_away(pool: wire.Pool) -> None:
    """Delete all that was written, and return when our kinds of it are gone."""
    for plural in _OURS:
        target = f"{BASE}/namespaces/{NAMESPACE}/{plural}"
        await pool.request("DELETE", target)
        while (await pool.get(f"{target}?limit=1"))["items"]:
            await asyncio.sleep(0.1)
    await pool.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


def _extension(machine: Machine, number: int) -> str:
    return machine.path("virtualmachineextensions", machine.extension_name(number))


def _marked(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj["metadata"] | {"annotations": {"example.com/mark": "vmext.dev/uninstall"}}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata} | (
        {"spec": {"vmName": obj["spec"]["vmName"], **_identifying(obj["spec"])}} if "spec" in obj else {}
    )


def _identifying(spec: dict[str, Any]) -> dict[str, Any]:
    return {name: spec[name] for name in ("publisher", "type", "typeHandlerVersion")}


def _belongings(machine: Machine) -> Iterator[Write]:
    metadata = {"name": machine.name, "namespace": NAMESPACE, "uid": "0" * 36, "resourceVersion": "1"}
    parsed = virtual_machine.parse({"metadata": metadata | {"creationTimestamp": "2026-01-01T00:00:00Z"}})
    own = identity.anchor(parsed)
    for kind, obj in zip((*identity.KINDS, SECRETS), (*identity.belongings(parsed, ANCHOR), own), strict=True):
        yield Write(path(kind, Key(NAMESPACE, obj["metadata"]["name"])), obj)


def _goal_name(machine: Machine) -> str:
    return name_of(machine.name, ANCHOR)


def _goal(machine: Machine) -> dict[str, Any]:
    spec = {
        "vmName": machine.name,
        "vmUID": "0" * 36,
        "anchorUID": ANCHOR,
        "modelHash": "0" * 32,
        "lastSequenceNumber": EACH,
    }
    entries = [_entry(machine, number) for number in range(1, EACH + 1)]
    metadata = {"name": _goal_name(machine), "namespace": NAMESPACE}
    obj = {"apiVersion": API_VERSION, "kind": "GoalState", "metadata": metadata}
    return obj | {"spec": spec | {"extensions": entries}}


def _entry(machine: Machine, number: int) -> dict[str, Any]:
    package = {"urls": ["http://127.0.0.1:9/package.zip"], "sha256": f"{number}" * 64, "sizeBytes": 1000}
    return {
        "name": machine.extension_name(number),
        "uid": "0" * 36,
        "state": "enabled",
        "sequenceNumber": number,
        "settings": str(machine.extension(number)["spec"]["settings"]),
        "timeoutSeconds": 1200,
        "handler": {"name": f"Bench.Extension{number}", "version": "1.0.0", "package": package},
    }


def _report(machine: Machine, report: int) -> dict[str, Any]:
    done = EACH * report // _REPORTS
    entries = [_entry(machine, number) for number in range(1, done + 1)]
    answers = {entry["name"]: agents.document(entry, agents.now()) for entry in entries}
    status = {"observedGeneration": 1, "highestSequenceNumber": done, "extensions": answers}
    head = {name: value for name, value in _goal(machine).items() if name != "spec"}
    return head | {"status": status | agents.facts(machine.name)}


def _extension_status(number: int) -> dict[str, Any]:
    at = agents.now()
    named = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "raw has it"}
    said = {"level": "Info", "displayStatus": "Provisioning succeeded", "message": "Enable succeeded", "time": at}
    return {
        "observedGeneration": 1,
        "provisioningState": "Succeeded",
        "typeHandlerVersion": "1.0.0",
        "sequenceNumber": number,
        "startTime": at,
        "endTime": at,
        "handlerStatus": {"status": "Ready", "code": 0, "message": "Plugin enabled"},
        "statuses": [said | {"code": "ProvisioningState/succeeded"}],
        "substatuses": [said | {"code": "ComponentStatus/StdOut/succeeded"}],
        "conditions": [named | {"observedGeneration": 1, "lastTransitionTime": at}],
    }


def _event(machine: Machine, number: int) -> dict[str, Any]:
    about = {"apiVersion": API_VERSION, "kind": "VirtualMachineExtension", "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{machine.extension_name(number)}.", "namespace": NAMESPACE},
        "involvedObject": about | {"name": machine.extension_name(number), "uid": "0" * 36},
        "type": "Normal",
        "reason": "Succeeded",
        "message": "raw has it",
        "source": {"component": "vmext-operator"},
        "count": 1,
    }

"""Machines and extensions as the az command prints them, so that scripts written against it keep working.

The fields are those of Azure's documented output; what only Azure has is null or left out, never made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

_READY = ("ProvisioningState/succeeded", "Ready", "Info")
_NOT_READY = ("ProvisioningState/failed", "Not Ready", "Error")
#: What az shows for a machine whose agent does not report.
_UNKNOWN = ("ProvisioningState/Unavailable", "Not Ready", "Warning")
_TYPE = "Microsoft.Compute/virtualMachines/extensions"


def extension(obj: Object, machine: Object | None = None, *, with_view: bool = False) -> dict[str, Any]:
    """Return an extension as ``az vm extension show`` prints it.

    Args:
        obj: the VirtualMachineExtension.
        machine: its VirtualMachine, for the location.
        with_view: as ``--instance-view`` does.
    """
    spec, status, name = obj["spec"], obj.get("status") or {}, obj["metadata"]["name"]
    namespace = obj["metadata"].get("namespace")
    return {
        "autoUpgradeMinorVersion": spec.get("autoUpgradeMinorVersion", True),
        "enableAutomaticUpgrade": spec.get("enableAutomaticUpgrade", False),
        "forceUpdateTag": spec.get("forceUpdateTag"),
        "id": f"/resourceGroups/{namespace}/providers/vmext.dev/virtualMachines/{spec['vmName']}/extensions/{name}",
        "instanceView": extension_view(obj) if with_view else None,
        "location": ((machine or {}).get("spec") or {}).get("location"),
        "name": name,
        # As in Azure: what is protected does not come back.
        "protectedSettings": None,
        "provisionAfterExtensions": spec.get("dependsOn") or None,
        "provisioningState": status.get("provisioningState", "Creating"),
        "publisher": spec["publisher"],
        "resourceGroup": namespace,
        "settings": spec.get("settings"),
        "suppressFailures": spec.get("suppressFailures"),
        "tags": spec.get("tags"),
        "type": _TYPE,
        "typeHandlerVersion": spec["typeHandlerVersion"],
        "typePropertiesType": spec["type"],
        "vmName": spec["vmName"],
    }


def extension_view(obj: Object) -> dict[str, Any]:
    """Return an entry of ``instanceView.extensions``."""
    spec, status = obj["spec"], obj.get("status") or {}
    return {
        "name": obj["metadata"]["name"],
        "statuses": _statuses(status.get("statuses")) or _by_condition(status),
        "substatuses": _statuses(status.get("substatuses")) or None,
        "type": f"{spec['publisher']}.{spec['type']}",
        "typeHandlerVersion": status.get("typeHandlerVersion") or spec["typeHandlerVersion"],
    }


def machine(obj: Object, extensions: Iterable[Object]) -> dict[str, Any]:
    """Return a machine as ``az vm get-instance-view`` prints it."""
    status, name, namespace = obj.get("status") or {}, obj["metadata"]["name"], obj["metadata"].get("namespace")
    known = sorted(extensions, key=lambda one: str(one["metadata"]["name"]))
    guest = status.get("guest") or {}
    return {
        "id": f"/resourceGroups/{namespace}/providers/vmext.dev/virtualMachines/{name}",
        "instanceView": {
            "computerName": guest.get("hostname"),
            "extensions": [extension_view(one) for one in known] or None,
            "osName": guest.get("os"),
            "osVersion": guest.get("version"),
            "statuses": [_machine_status(known)],
            "vmAgent": {
                "extensionHandlers": _handlers(known),
                "statuses": [_agent_status(status)],
                "vmAgentVersion": status.get("agentVersion", "Unknown"),
            },
        },
        "location": (obj.get("spec") or {}).get("location"),
        "name": name,
        "resourceGroup": namespace,
        "tags": obj["metadata"].get("labels"),
        "type": "Microsoft.Compute/virtualMachines",
        "vmId": obj["metadata"].get("uid"),
    }


def image(obj: Object) -> dict[str, Any]:
    """Return a catalog entry as ``az vm extension image list`` prints it."""
    spec = obj["spec"]
    return {"name": spec["type"], "publisher": spec["publisher"], "version": spec["version"]}


def _statuses(given: Sequence[Object] | None) -> list[dict[str, Any]]:
    return [
        {name: one.get(name) for name in ("code", "displayStatus", "level", "message", "time")} for one in given or ()
    ]


def _by_condition(status: Object) -> list[dict[str, Any]]:
    """Say of an extension that its machine has said nothing of what Azure would: what its condition says."""
    ready = condition(status, "Ready")
    if condition(status, "Stalled"):
        code, display, level = "ProvisioningState/failed/0", "Provisioning failed", "Error"
    elif status.get("provisioningState") == "Updating":
        code, display, level = "ProvisioningState/updating", "Updating", "Info"
    else:
        code, display, level = "ProvisioningState/creating", "Creating", "Info"
    said = None if ready is None else f"{ready['reason']}: {ready['message']}"
    return [_status(code, display, level, said, None)]


def _machine_status(extensions: Sequence[Object]) -> dict[str, Any]:
    states = {(one.get("status") or {}).get("provisioningState", "Creating") for one in extensions}
    if states & {"Creating", "Updating", "Deleting"}:
        return _status("ProvisioningState/updating", "Updating", "Info", None, None)
    if "Failed" in states:
        return _status("ProvisioningState/failed", "Provisioning failed", "Error", None, None)
    return _status("ProvisioningState/succeeded", "Provisioning succeeded", "Info", None, None)


def _agent_status(status: Object) -> dict[str, Any]:
    found = condition(status, "Ready")
    reachable = condition(status, "AgentReachable")
    if found is not None and found["status"] == "True" and (reachable is None or reachable["status"] == "True"):
        return _status(*_READY, "Guest Agent is running", (reachable or found).get("lastTransitionTime"))
    blamed = reachable if reachable is not None and reachable["status"] != "True" else found
    if blamed is None:
        return _status(*_UNKNOWN, "VM status blob is not found or not yet populated.", None)
    return _status(*_UNKNOWN, f"{blamed['reason']}: {blamed['message']}", blamed.get("lastTransitionTime"))


def _handlers(extensions: Sequence[Object]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in extensions:
        status = one.get("status") or {}
        handler = status.get("handlerStatus")
        if handler is None:
            continue
        view = extension_view(one)
        form = _READY if handler.get("status") == "Ready" else _NOT_READY
        # Several extensions of one handler are one line, as there.
        found.setdefault(
            view["type"].lower(),
            {
                "status": _status(*form, handler.get("message"), None),
                "type": view["type"],
                "typeHandlerVersion": view["typeHandlerVersion"],
            },
        )
    return list(found.values())


def _status(code: str, display: str, level: str, message: str | None, time: str | None) -> dict[str, Any]:
    return {"code": code, "displayStatus": display, "level": level, "message": message, "time": time}


def condition(status: Object, kind: str) -> Mapping[str, str] | None:
    """Return a status' condition of that type, None for none."""
    return next((one for one in status.get("conditions") or () if one.get("type") == kind), None)

"""What is known of how an extension ran, in the order in which one who looks for a fault reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubectl_vmext import azure_view


def of(obj: Mapping[str, Any]) -> str:
    """Return all that an extension's status keeps, and where the rest of it is on its machine."""
    return "\n".join(_lines(obj)) + "\n"


def _lines(obj: Mapping[str, Any]) -> Iterator[str]:
    spec, status = obj["spec"], obj.get("status") or {}
    handler = f"{spec['publisher']}.{spec['type']}"
    version = status.get("typeHandlerVersion")
    state = status.get("provisioningState", "not seen by the operator yet")
    run = f", run {status['sequenceNumber']}" if "sequenceNumber" in status else ""
    shown = f"{handler} {version or spec['typeHandlerVersion']} on {spec['vmName']}"
    yield f"{obj['metadata']['name']}: {shown}: {state}{run}"
    if status.get("startTime"):
        yield f"began {status['startTime']}" + (f", ended {status['endTime']}" if status.get("endTime") else "")
    yield from _conditions(status)
    said = status.get("handlerStatus")
    if said:
        yield f"handler {said.get('status')} (code {said.get('code', 0)}): {str(said.get('message', '')).rstrip()}"
    for one in (*(status.get("statuses") or ()), *(status.get("substatuses") or ())):
        yield ""
        yield f"{one['code']} [{one['level']}] {one.get('time') or ''}".rstrip()
        if one.get("message"):
            yield str(one["message"]).rstrip("\n")
    if not status.get("statuses") and azure_view.condition(status, "Ready") is None:
        yield "its machine has said nothing of it yet; see kubectl vmext doctor --vm-name " + spec["vmName"]
    yield ""
    yield f"On {spec['vmName']}, in full:"
    yield f"  /var/log/azure/{handler}/            the handler's own logs, CommandExecution.log among them"
    if version:
        yield f"  /var/lib/waagent/{handler}-{version}/status/   its status files"
    yield "  /var/log/waagent.log                 the agent's log"


def _conditions(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield the conditions; what stands below as a status too, or was said just above, is not said again."""
    said = {str(one.get("message", "")).strip() for one in status.get("statuses") or ()}
    for condition in status.get("conditions") or ():
        message = condition["message"].strip()
        yield f"{condition['type']}={condition['status']} {condition['reason']}" + (
            "" if message in said else f": {message}"
        )
        said.add(message)

"""How the demo's two extensions should end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from development import api

GREETING = "hello from web-1\n"


def of_success(obj: Mapping[str, Any] | None, content: str) -> Iterator[str]:
    """Yield what is wrong with the extension that should succeed, and with the file that its script writes."""
    if obj is None or not api.is_ready(obj):
        yield f"hello is not Ready: {_ready(obj)}"
    if content != GREETING:
        yield f"the file in the guest holds {content!r}, not {GREETING!r}"


def of_typo(obj: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what is wrong with the extension that should fail, as Azure's would."""
    status = (obj or {}).get("status") or {}
    first = (status.get("statuses") or [{}])[0]
    expected = {"code": "ProvisioningState/failed/0", "displayStatus": "Provisioning failed", "level": "Error"}
    for field, value in expected.items():
        if first.get(field) != value:
            yield f"typo's {field} is {first.get(field)!r}, not {value!r}"
    message = str(first.get("message"))
    for words in ("exit status=127", "[stderr]", "ech: not found"):
        if words not in message:
            yield f"typo's message lacks {words!r}: {message!r}"
    if api.condition(obj, "Stalled") is None:
        yield f"typo is not Stalled: {_ready(obj)}"


def _ready(obj: Mapping[str, Any] | None) -> str:
    found = api.condition(obj, "Ready")
    return "it has no status" if found is None else f"{found['reason']}: {found['message']}"

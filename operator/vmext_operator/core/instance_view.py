"""Azure's instance view: the codes, levels and words that people and scripts know (contract, section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vmext_operator.api import fields

#: Status of a status file -> (part of the code, level, displayStatus).
_WORDS = {
    "success": ("succeeded", "Info", "Provisioning succeeded"),
    "warning": ("succeeded", "Warning", "Provisioning succeeded"),
    "transitioning": ("transitioning", "Info", "Transitioning"),
    "error": ("failed", "Error", "Provisioning failed"),
}


def statuses(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return ``statuses`` of the instance view from an extension's status as its machine reports it."""
    word, level, display = _WORDS[raw["status"]]
    code = f"ProvisioningState/{word}"
    if word == "failed" or raw.get("code"):
        code += f"/{raw.get('code', 0)}"
    return [_status(code, level, display, raw)]


def failure(code: int, message: str, time: str | None) -> list[dict[str, Any]]:
    """Return ``statuses`` for a failure that the extension itself could not report."""
    _, level, display = _WORDS["error"]
    return [_status(f"ProvisioningState/failed/{code}", level, display, {"message": message, "time": time})]


def substatuses(raw: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return ``substatuses`` of the instance view."""
    rendered = []
    for part in raw:
        word, level, display = _WORDS[part["status"]]
        rendered.append(_status(f"ComponentStatus/{part['name']}/{word}", level, display, part))
    return rendered


def _status(code: str, level: str, display: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    return fields.without_none(
        {
            "code": code,
            "level": level,
            "displayStatus": display,
            "message": raw.get("message"),
            "time": raw.get("time"),
        }
    )

"""What ``az vm extension list`` and ``show`` print, as extensions: for machines whose template nobody has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kubectl_vmext.arm.resources import Extension, Found, Machine

_ID = re.compile(r"/virtualMachines/([^/]+)(?:/extensions/([^/]+))?$", re.IGNORECASE)
#: By which names versions of the az command print the type; ``type`` itself is the resource's there.
_TYPES = ("typePropertiesType", "virtualMachineExtensionType", "typeProperties_type")


def is_output(document: object) -> bool:
    """Tell whether a document is what the az command printed, and no template."""
    first = document[0] if isinstance(document, list) and document else document
    return isinstance(first, dict) and "id" in first and "$schema" not in first


def find(document: object) -> Found:
    """Return machines and extensions of what the az command printed."""
    found = Found()
    objects: list[Any] = document if isinstance(document, list) else [document]
    for one in objects:
        match = _ID.search(str(one.get("id", ""))) if isinstance(one, dict) else None
        if match is None:
            found.lost.append("an object that is neither a machine nor an extension of one")
        elif match[2] is None:
            found.machines.append(Machine(match[1], one.get("location"), {}))
            nested = one.get("resources")
            found.extensions += _all(nested if isinstance(nested, list) else [], found)
        else:
            found.extensions += _all([one], found)
    if found.extensions:
        found.notes.append("Azure never shows protected settings: give them by kubectl vmext set --protected-settings")
    return found


def _all(raw: list[Any], found: Found) -> list[Extension]:
    made = []
    for one in raw:
        match = _ID.search(str(one.get("id", ""))) if isinstance(one, dict) else None
        if match is None or match[2] is None:
            found.lost.append("an extension without an id")
            continue
        after = one.get("provisionAfterExtensions")
        made.append(
            Extension(match[1], match[2], _properties(one), tuple(after if isinstance(after, list) else ()), _tags(one))
        )
    return made


def _properties(one: Mapping[str, Any]) -> dict[str, Any]:
    kind = next((one[name] for name in _TYPES if one.get(name)), None)
    return {**one, "type": kind, "protectedSettings": None}


def _tags(one: Mapping[str, Any]) -> dict[str, str]:
    tags = one.get("tags")
    return {key: value for key, value in tags.items() if isinstance(value, str)} if isinstance(tags, dict) else {}

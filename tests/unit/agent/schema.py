"""Checks a status against the schema that the API server enforces: the parts of it that crds/goalstates.yaml uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_CRD = Path(__file__).resolve().parents[3] / "crds" / "goalstates.yaml"
_TYPES = {"string": str, "integer": int, "object": dict, "array": list, "boolean": bool}


def status_schema() -> dict[str, Any]:
    document = yaml.safe_load(_CRD.read_text())
    found: dict[str, Any] = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    return found


def check(value: Any, schema: dict[str, Any], path: str = "status") -> None:
    kind = _TYPES[schema["type"]]
    assert isinstance(value, kind), f"{path}: {value!r:.80} is no {schema['type']}"
    assert isinstance(value, bool) == (kind is bool), f"{path} is a boolean"
    if "enum" in schema:
        assert value in schema["enum"], f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str):
        bounded = "enum" in schema or schema.get("format") == "date-time"
        assert bounded or len(value) <= schema["maxLength"], f"{path} is {len(value)} characters long"
        assert re.search(schema.get("pattern", ""), value), f"{path}: {value!r} is of another form"
    if isinstance(value, int):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{path} is {value}"
    if isinstance(value, list):
        assert len(value) <= schema["maxItems"], f"{path} has {len(value)} items"
        for index, item in enumerate(value):
            check(item, schema["items"], f"{path}[{index}]")
    if isinstance(value, dict):
        missing = set(schema.get("required", ())) - value.keys()
        assert not missing, f"{path} lacks {missing}"
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            assert inner is not None, f"{path}.{key} is unknown, and would be dropped"
            check(item, inner, f"{path}.{key}")

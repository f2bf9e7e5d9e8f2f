"""Read fields out of an object as it came from the API server, with errors that name the path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from vmext_operator.errors import ParseError

T = TypeVar("T")

_DURATION = re.compile(r"^(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$")


def field(obj: Mapping[str, Any], path: str, name: str, kind: type[T]) -> T:
    """Return a field that must be there. Raises ParseError."""
    value = optional(obj, path, name, kind)
    if value is None:
        raise ParseError(f"{path}.{name}", "is missing")
    return value


def optional(obj: Mapping[str, Any], path: str, name: str, kind: type[T]) -> T | None:
    """Return a field, or None where it is absent or null. Raises ParseError when it is of another type."""
    value = obj.get(name)
    if value is None:
        return None
    # True is an int to Python, and is none to JSON.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ParseError(f"{path}.{name}", f"is a {type(value).__name__}, not a {kind.__name__}")
    return value


def as_object(value: object, path: str) -> Mapping[str, Any]:
    """Return a value that must be an object. Raises ParseError."""
    if not isinstance(value, dict):
        raise ParseError(path, f"is a {type(value).__name__}, not an object")
    return value


def seconds(text: str, path: str) -> int:
    """Turn a duration such as ``1h30m`` into seconds. Raises ParseError."""
    match = _DURATION.match(text)
    if match is None or not any(match.groups()):
        raise ParseError(path, f"{text!r} is no duration; write it like 90s, 20m or 1h30m")
    hours, minutes, secs = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + secs


def time(text: str, path: str) -> datetime:
    """Turn an RFC 3339 time into an aware datetime. Raises ParseError."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ParseError(path, f"{text!r} is no time by RFC 3339") from None
    if value.tzinfo is None:
        raise ParseError(path, f"{text!r} has no time zone")
    return value


def without_none(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping without the fields that are None: Kubernetes leaves out what is not set."""
    return {name: value for name, value in obj.items() if value is not None}

"""Status files of handlers, read as the contract has it (sections A6 and 6), in the form of a GoalState's status."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import text
from vmext_agent.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSITIONING, WARNING, ERROR, SUCCESS = "transitioning", "warning", "error", "success"
_KNOWN = (TRANSITIONING, WARNING, ERROR, SUCCESS)
#: A larger file is malformed.
MAX_BYTES = 1 << 20
_MAX_SUBSTATUSES = 64
_MAX_MESSAGE = 16384
_MAX_NAME = 256
_INT64 = 1 << 63
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Substatus(NamedTuple):
    """A part of a status."""

    name: str
    status: str
    code: int
    message: str


class ExtensionStatus(NamedTuple):
    """What an extension says of itself; empty texts were not given."""

    status: str
    operation: str = ""
    code: int = 0
    message: str = ""
    time: str = ""
    substatuses: tuple[Substatus, ...] = ()

    @property
    def is_final(self) -> bool:
        """Tell whether the extension has ended what it does. A warning is an end, and a good one."""
        return self.status != TRANSITIONING


def parse(data: bytes) -> ExtensionStatus | None:
    """Parse a status file; None where it holds an empty array, which says nothing. Raises StatusError.

    An unknown status counts as an error; an unknown status of a part is malformed, as in the contract.
    """
    try:
        document = json.loads(data.decode("utf-8", "surrogateescape").lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise StatusError(f"it is not JSON: {error}") from None
    if not isinstance(document, list):
        raise StatusError("it is not a JSON array")
    if not document:
        return None
    item = document[0]
    status = item.get("status") if isinstance(item, dict) else None
    if not isinstance(status, dict):
        raise StatusError("[0].status is not an object")
    word = status.get("status")
    if not isinstance(word, str):
        raise StatusError("[0].status.status is not a string")
    word = word.lower()
    parts = status.get("substatus") or []
    if not isinstance(parts, list):
        raise StatusError("[0].status.substatus is not an array")
    return ExtensionStatus(
        status=word if word in _KNOWN else ERROR,
        operation=_text(status.get("operation"), _MAX_NAME),
        code=code_of(status.get("code")),
        message=_message(status),
        time=_time(item.get("timestampUTC")),
        substatuses=tuple(_substatus(index, part) for index, part in enumerate(parts[:_MAX_SUBSTATUSES]) if part),
    )


def _substatus(index: int, part: object) -> Substatus:
    path = f"[0].status.substatus[{index}]"
    if not isinstance(part, dict):
        raise StatusError(f"{path} is not an object")
    name, word = part.get("name"), part.get("status")
    if not isinstance(name, str) or not isinstance(word, str):
        raise StatusError(f"{path} lacks name or status")
    if word.lower() not in _KNOWN:
        raise StatusError(f"{path}.status is {text.clean(word)[:50]!r}, none of {', '.join(_KNOWN)}")
    return Substatus(_text(name, _MAX_NAME) or "-", word.lower(), code_of(part.get("code")), _message(part))


def _message(status: Mapping[str, object]) -> str:
    formatted = status.get("formattedMessage")
    return _text(formatted.get("message"), _MAX_MESSAGE) if isinstance(formatted, dict) else ""


def _text(value: object, limit: int) -> str:
    return text.cut(text.clean(value), limit) if isinstance(value, str) else ""


def code_of(value: object) -> int:
    """Return a code that a handler gave, 0 where it is none."""
    # Handlers write strings, floats and what not; what can't be a number is none.
    try:
        code = int(value) if isinstance(value, (int, float, str)) else 0
    except (ValueError, OverflowError):
        return 0
    return code if -_INT64 <= code < _INT64 else 0


def _time(value: object) -> str:
    """Return a time as RFC 3339, empty where it is none: the API server refuses the whole status otherwise."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return ""
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (1 <= month <= 12 and 1 <= day <= _DAYS[month - 1] and hour < 24 and minute < 60 and second < 60):
        return ""
    if (month, day) == (2, 29) and not leap:
        return ""
    zone = found[8] or "Z"
    if zone != "Z" and (int(zone[1:3]) > 23 or int(zone[4:6]) > 59):
        return ""
    return found[0] if found[8] else found[0] + "Z"

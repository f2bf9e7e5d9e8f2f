"""Heartbeat files of handlers, read as the contract has it (sections A6, 1 and 6)."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from vmext_agent import clock, files, status, text
from vmext_agent.errors import StatusError

#: A heartbeat older than this says that the handler has stopped.
SILENT_S = 600.0
READY, NOT_READY, UNRESPONSIVE = "Ready", "NotReady", "Unresponsive"
_KNOWN = {"ready": READY, "notready": NOT_READY}
_LIMIT = 64 << 10
_MESSAGE = 8192


class Heartbeat(NamedTuple):
    """What a handler says of itself: Ready, NotReady or Unresponsive."""

    status: str
    code: int
    message: str


def read(path: str, silent_s: float) -> Heartbeat:
    """Return a handler's heartbeat; `silent_s` is for how long its file was not written. Raises StatusError."""
    try:
        if silent_s > SILENT_S:
            # Since when, and not for how long: that would be another text at every look.
            return Heartbeat(UNRESPONSIVE, 0, f"no heartbeat since {clock.rfc3339(os.stat(path).st_mtime)}")
        data = files.read(path, _LIMIT)
    except OSError as error:
        raise StatusError(f"Failed to get heart beat file: {error}") from None
    return parse(data)


def parse(data: bytes) -> Heartbeat:
    """Parse a heartbeat file. Raises StatusError."""
    try:
        document = json.loads(data.decode("utf-8", "surrogateescape").lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise StatusError(f"the heartbeat is not JSON: {text.clean(str(error))[:200]}") from None
    item = document[0] if isinstance(document, list) and document else None
    found = item.get("heartbeat") if isinstance(item, dict) else None
    if not isinstance(found, dict):
        raise StatusError("the heartbeat has no [0].heartbeat")
    word = found.get("status")
    if not isinstance(word, str) or word.lower() not in _KNOWN:
        raise StatusError("the heartbeat's status is neither ready nor notready")
    formatted = found.get("formattedMessage")
    message = formatted.get("message") if isinstance(formatted, dict) else None
    words = text.cut(text.clean(message), _MESSAGE) if isinstance(message, str) else ""
    return Heartbeat(_KNOWN[word.lower()], status.code_of(found.get("code")), words)

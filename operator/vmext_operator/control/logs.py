"""Logs as JSON, a line each; what a message names as ``key=%s`` is a field of its own beside it.

kopf's, aiohttp's and asyncio's own are let through from WARNING up only: below it they print whole objects. No error of
ours quotes a body either.
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

#: The machine that is being worked on, as namespace/name: what is said meanwhile is said about it.
about: contextvars.ContextVar[str] = contextvars.ContextVar("about", default="")

_PLACE = re.compile(r"(?:\b(?P<name>[a-z_]+)=)?%(?P<form>%|[-+# 0]*\d*(?:\.\d+)?[a-z])")
_OWN = ("time", "level", "logger", "message", "traceback")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        vm = about.get()
        line |= ({"vm": vm} if vm else {}) | _fields(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what the message names, by the names that it has there."""
    arguments = record.args
    if not isinstance(record.msg, str) or not arguments or isinstance(arguments, Mapping):
        return {}
    places = [match for match in _PLACE.finditer(record.msg) if match["form"] != "%"]
    if len(places) != len(arguments):
        return {}
    return {
        match["name"]: value if isinstance(value, int | float) else str(value)
        for match, value in zip(places, arguments, strict=True)
        if match["name"] and match["name"] not in _OWN
    }


def configure(level: str) -> None:
    """Log to standard error at that level and above."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for chatty in ("kopf", "aiohttp", "asyncio", "kubernetes", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

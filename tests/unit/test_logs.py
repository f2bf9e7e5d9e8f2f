"""Log lines: JSON, with what the message names beside it."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from vmext_operator.api.meta import Key
from vmext_operator.control import logs


def line(message: str, *arguments: object, **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("vmext", logging.INFO, __file__, 1, message, arguments, more.get("exc_info"))
    parsed: dict[str, Any] = json.loads(logs.JsonLines().format(record))
    del parsed["time"]
    return parsed


def test_what_a_message_names_is_a_field_of_its_own() -> None:
    found = line("goal written vm=%s generation=%s extensions=%d after=%.1fs", Key("default", "web-1"), 3, 2, 0.25)
    assert found == {
        "level": "info",
        "logger": "vmext",
        "message": "goal written vm=default/web-1 generation=3 extensions=2 after=0.2s",
        "vm": "default/web-1",
        "generation": 3,
        "extensions": 2,
        "after": 0.25,
    }


def test_what_has_no_name_stays_in_the_message() -> None:
    assert line("%s; ending at 100%% vm=%s", "lost", "a/b") == {
        "level": "info",
        "logger": "vmext",
        "message": "lost; ending at 100% vm=a/b",
        "vm": "a/b",
    }


def test_a_line_in_a_reconcile_is_about_its_machine() -> None:
    token = logs.about.set("default/web-1")
    try:
        assert line("trying again error=%s", "no answer")["vm"] == "default/web-1"
        assert line("goal written vm=%s", "default/web-2")["vm"] == "default/web-2"
    finally:
        logs.about.reset(token)
    assert "vm" not in line("leading")


def test_no_field_hides_one_of_every_line() -> None:
    assert line("x level=%s time=%s", "high", "noon")["level"] == "info"


def test_a_message_of_many_lines_is_one_line_and_a_traceback_is_in_it() -> None:
    try:
        int("of two\nlines")
    except ValueError:
        found = line("failed vm=%s", "a/b", exc_info=sys.exc_info())
    assert found["traceback"].endswith(r"'of two\nlines'")

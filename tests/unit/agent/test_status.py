"""Status files of handlers, good, odd and hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vmext_agent import status
from vmext_agent.errors import StatusError


def file(**fields: Any) -> bytes:
    return json.dumps([{"version": 1.0, "timestampUTC": "2026-01-02T03:04:05Z", "status": fields}]).encode()


def parsed(data: bytes) -> status.ExtensionStatus:
    found = status.parse(data)
    assert found is not None
    return found


def test_a_whole_status_is_read() -> None:
    part = {"name": "StdOut", "status": "success", "code": 1, "formattedMessage": {"lang": "en", "message": "out"}}
    found = parsed(
        file(status="success", operation="Enable", code=3, formattedMessage={"message": "done"}, substatus=[part])
    )

    assert found == status.ExtensionStatus(
        "success", "Enable", 3, "done", "2026-01-02T03:04:05Z", (status.Substatus("StdOut", "success", 1, "out"),)
    )


def test_a_status_of_nothing_but_a_status_is_enough() -> None:
    assert parsed(b'[{"status": {"status": "warning"}}]') == status.ExtensionStatus("warning")


@pytest.mark.parametrize("word", ["failed", "", "SUCCEEDED"])
def test_an_unknown_word_counts_as_an_error(word: str) -> None:
    assert parsed(file(status=word)).status == "error"


@pytest.mark.parametrize(("code", "number"), [("7", 7), ("x", 0), (None, 0), (1e400, 0), (2**80, 0), (2.9, 2), ([], 0)])
def test_codes_of_any_kind_become_numbers(code: object, number: int) -> None:
    assert parsed(file(status="success", code=code)).code == number


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05.123Z", "2026-01-02T03:04:05.123Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T03:04:05+02:00"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("2026-02-29T00:00:00Z", ""),
        ("2026-13-01T00:00:00Z", ""),
        ("2026-01-01T24:00:00Z", ""),
        ("2026-01-01T00:00:00+99:00", ""),
        ("01/02/2026 03:04", ""),
        (5, ""),
    ],
)
def test_times_that_the_api_server_would_refuse_are_left_out(text: object, time: str) -> None:
    data = json.dumps([{"timestampUTC": text, "status": {"status": "success"}}]).encode()

    assert parsed(data).time == time


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\0" * 50, b"[" * 100_000, b"{}", b"3", b"[3]", b"[{}]", b'[{"status": 3}]', b'[{"status": {}}]',
     file(status="success", substatus="x"), file(status="success", substatus=["x"]),
     file(status="success", substatus=[{"name": "x"}]),
     file(status="success", substatus=[{"name": "x", "status": "fine"}])],
)  # fmt: skip
def test_what_is_no_status_is_malformed(data: bytes) -> None:
    with pytest.raises(StatusError):
        status.parse(data)


@pytest.mark.parametrize(
    "data", [b"[]", file(status="success", substatus=None), file(status="success", substatus=[None])]
)
def test_nothing_said_is_no_error(data: bytes) -> None:
    found = status.parse(data)

    assert found is None or found.substatuses == ()


def test_texts_are_made_fit_for_json_and_cut() -> None:
    data = b'[{"status": {"status": "success", "formattedMessage": {"message": "a\\u0000\\ud800\\u001b' + b"x" * 99999
    found = parsed(data + b'"}}}]')

    assert found.message.startswith("a\\x00\\ud800\\x1bxxx")
    assert len(found.message) == 16384
    assert "left out" in found.message


def test_bytes_that_are_no_text_are_shown() -> None:
    assert parsed(b'[{"status": {"status": "success", "operation": "\xff"}}]').operation == "\\xff"

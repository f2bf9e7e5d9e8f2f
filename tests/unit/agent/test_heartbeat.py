"""Heartbeat files of handlers, good, old and hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vmext_agent import heartbeat
from vmext_agent.errors import StatusError
from vmext_agent.heartbeat import Heartbeat


def beat(**fields: Any) -> bytes:
    return json.dumps([{"version": 1.0, "heartbeat": fields}]).encode()


def written(folder: Path, content: bytes) -> str:
    path = folder / "heartbeat.log"
    path.write_bytes(content)
    return str(path)


def test_a_whole_heartbeat_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, beat(status="ready", code=3, formattedMessage={"lang": "en-US", "message": "well"}))

    assert heartbeat.read(path, 0.0) == Heartbeat("Ready", 3, "well")


@pytest.mark.parametrize(
    ("word", "status"), [("ready", "Ready"), ("READY", "Ready"), ("NotReady", "NotReady"), ("notready", "NotReady")]
)
def test_words_count_in_any_case(word: str, status: str) -> None:
    assert heartbeat.parse(beat(status=word)) == Heartbeat(status, 0, "")


def test_a_message_in_the_old_place_is_not_read() -> None:
    assert heartbeat.parse(beat(status="ready", Message="old")).message == ""


@pytest.mark.parametrize("formatted", [None, "x", [], {}, {"message": None}, {"message": 5}])
def test_a_message_of_another_kind_is_none(formatted: object) -> None:
    assert heartbeat.parse(beat(status="ready", formattedMessage=formatted)).message == ""


@pytest.mark.parametrize(("code", "number"), [("7", 7), ("x", 0), (None, 0), (2**80, 0), ([], 0), (1e400, 0)])
def test_codes_of_any_kind_become_numbers(code: object, number: int) -> None:
    assert heartbeat.parse(beat(status="ready", code=code)).code == number


def test_a_byte_order_mark_is_passed_over() -> None:
    assert heartbeat.parse(b"\xef\xbb\xbf" + beat(status="ready")).status == "Ready"


def test_a_message_is_made_fit_for_json_and_cut() -> None:
    message = heartbeat.parse(beat(status="ready", formattedMessage={"message": "a\0\ud800\x1b" + "x" * 99999})).message

    assert message.startswith("a\\x00\\ud800\\x1bxxx")
    assert "left out" in message
    assert len(message) < 10_000


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\0" * 50, b"[" * 100_000, b"{}", b"3", b"[]", b"[3]", b"[{}]", b'[{"heartbeat": "ready"}]', beat(),
     beat(status=3), beat(status=None), beat(status=""), beat(status="fine"), beat(status="ready ")],
)  # fmt: skip
def test_what_is_no_heartbeat_is_refused(data: bytes) -> None:
    with pytest.raises(StatusError):
        heartbeat.parse(data)


@pytest.mark.parametrize(("silent_s", "status"), [(0, "Ready"), (600, "Ready"), (601, "Unresponsive")])
def test_a_handler_that_is_silent_for_ten_minutes_is_unresponsive(tmp_path: Path, silent_s: int, status: str) -> None:
    assert heartbeat.read(written(tmp_path, beat(status="ready")), silent_s).status == status


def test_silence_counts_whatever_the_file_holds(tmp_path: Path) -> None:
    path = written(tmp_path, b"{")
    os.utime(path, (1_800_000_000, 1_800_000_000))

    found = heartbeat.read(path, 3600)

    assert found.status == "Unresponsive"
    assert found.message == "no heartbeat since 2027-01-15T08:00:00Z"


def test_a_silence_reads_the_same_however_long_it_lasts(tmp_path: Path) -> None:
    path = written(tmp_path, beat(status="ready"))

    assert heartbeat.read(path, 601) == heartbeat.read(path, 4201)


def test_a_missing_file_is_told_in_the_words_of_the_contract(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match=r"^Failed to get heart beat file"):
        heartbeat.read(str(tmp_path / "heartbeat.log"), 3600)


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    # A number of a megabyte would keep older Pythons busy for seconds.
    content = b'[{"heartbeat": {"status": "ready", "code": ' + b"9" * 100_000 + b"}}]"

    with pytest.raises(StatusError, match="larger than"):
        heartbeat.read(written(tmp_path, content), 0.0)


def test_a_fifo_in_its_place_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.log"
    os.mkfifo(path)

    with pytest.raises(StatusError, match="not a regular file"):
        heartbeat.read(str(path), 0.0)

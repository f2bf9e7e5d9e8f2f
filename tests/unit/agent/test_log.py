"""The agent's log: others may rename, empty or remove it, and a loss of power may leave rubbish at its end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vmext_agent.log import Log


def messages(path: Path) -> list[str]:
    return [line.split(" ExtHandler ")[-1] for line in path.read_text().splitlines()]


def test_a_line_has_time_level_thread_prefix_message_and_fields(tmp_path: Path) -> None:
    path = tmp_path / "log"
    Log(str(path)).warning("A thing", "[Test-1]", name="a b", count=3)

    line = path.read_text()

    assert line.endswith(' WARNING MainThread [Test-1] A thing name="a b" count=3\n')


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_log_that_was_renamed_is_begun_anew(tmp_path: Path, is_made_again: bool) -> None:
    # As logrotate does, by rename, and by rename and create.
    path, log = tmp_path / "log", Log(str(tmp_path / "log"))
    log.info("first")
    path.rename(tmp_path / "log-20261128")
    if is_made_again:
        path.touch()

    log.info("second")

    assert messages(tmp_path / "log-20261128") == ["first"]
    assert messages(path) == ["second"]


def test_a_log_that_was_emptied_goes_on_at_its_new_end(tmp_path: Path) -> None:
    # As logrotate does by copytruncate.
    path, log = tmp_path / "log", Log(str(tmp_path / "log"))
    log.info("first")
    path.write_bytes(b"")

    log.info("second")

    assert messages(path) == ["second"]


def test_under_systemd_the_journal_has_every_line_with_its_priority(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        log = Log(str(tmp_path / "log"), journal=ours)
        log.info("well", name="a b")
        log.warning("odd")
        log.error("two\nlines", "[Test-1]")

        assert theirs.recv(4096).decode().splitlines() == [
            '<6>ExtHandler well name="a b"',
            "<4>ExtHandler odd",
            "<3>[Test-1] two\\nlines",
        ]
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def test_a_journal_that_does_not_keep_up_or_is_gone_keeps_nobody_waiting(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        log = Log(str(tmp_path / "log"), journal=ours)
        with theirs:
            for _ in range(5000):
                log.info("x" * 1000)
        log.info("last")

    assert messages(tmp_path / "log")[-1] == "last"


SCRIPT = """
import os, sys
from vmext_agent import log
where = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{where.st_dev}:{where.st_ino + int(sys.argv[1])}"
log.Log(None, journal=log.journal()).warning("seen")
"""


@pytest.mark.parametrize(("is_another", "expected"), [(0, b"<4>ExtHandler seen\n"), (1, b"")])
def test_standard_error_is_the_journal_where_systemd_says_that_it_is_this_very_one(
    is_another: int, expected: bytes
) -> None:
    ours, theirs = socket.socketpair()
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    with ours, theirs:
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(is_another)], stderr=ours.fileno(), env=environment, check=True
        )
        ours.shutdown(socket.SHUT_WR)

        assert theirs.recv(4096) == expected


def test_a_log_whose_folder_was_removed_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = Log(str(folder / "log"))
    log.info("first")
    (folder / "log").unlink()
    folder.rmdir()

    log.info("second")

    assert messages(folder / "log") == ["second"]


def test_a_log_is_capped_and_two_before_it_are_kept(tmp_path: Path) -> None:
    path, log = tmp_path / "log", Log(str(tmp_path / "log"))
    for number in range(30):
        log.info("x" * (1 << 20), number=number)

    kept = sorted(one.name for one in tmp_path.iterdir())
    assert kept == ["log", "log.1", "log.2"]
    assert all(one.stat().st_size <= 5 << 20 for one in tmp_path.iterdir())
    assert messages(path)[-1].endswith(" number=29")


@pytest.mark.parametrize("nothing", [1, 4096, 200_000])
@pytest.mark.parametrize(("before", "kept"), [("whole\n", ["whole"]), ("torn", ["torn"]), ("", [])])
def test_what_a_loss_of_power_left_at_the_end_is_cut_off(
    tmp_path: Path, before: str, kept: list[str], nothing: int
) -> None:
    path = tmp_path / "log"
    path.write_bytes(before.encode() + b"\0" * nothing)

    Log(str(path)).info("next")

    assert messages(path) == [*kept, "next"]

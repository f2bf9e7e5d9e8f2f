"""What commands print: capped while it grows, kept while somebody writes."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from vmext_agent import backoff, files, output, text


def test_a_stream_below_its_cap_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"little")

    assert output.trim(str(tmp_path / "stdout")) == 6
    assert (tmp_path / "stdout").read_bytes() == b"little"


def test_a_stream_above_its_cap_keeps_its_first_and_last_part(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"first" + b"x" * 200_000 + b"middle")
        output.trim(str(path), 100_000)
        writer.write(b"y" * 200_000)
        output.trim(str(path), 100_000)
        writer.write(b"last")

    assert path.stat().st_size == 4
    shown = output.excerpt(str(path), 1000)
    assert shown.startswith("firstxxx")
    assert "more was printed" in shown
    assert shown.endswith("yyylast")
    assert len(shown) < 1100


def test_an_excerpt_of_a_long_stream_is_its_two_ends(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"a" * 5000 + b"z" * 5000)

    shown = output.excerpt(str(tmp_path / "stdout"), 100)

    assert shown == "a" * 50 + "\n[... more was printed here ...]\n" + "z" * 50


def test_a_stream_is_kept_while_somebody_writes_to_it_and_no_longer(tmp_path: Path) -> None:
    command, kept = tmp_path / "command", tmp_path / "kept"
    command.mkdir()
    kept.mkdir()
    (command / "stderr").write_bytes(b"done")
    writer = os.open(command / "stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        assert output.keep_open(str(command), str(kept), "one")
        assert (command / "stderr").exists()
        os.write(writer, bytes(output.CAP + 1))
        assert output.sweep(str(kept)) == 1
        assert [path.stat().st_size for path in kept.glob("*stdout")] == [0]
    finally:
        os.close(writer)

    assert output.sweep(str(kept)) == 0
    assert output.sweep(str(kept)) == 0
    assert not list(kept.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record"
    files.write(str(path), b"old", 0o600)

    with pytest.raises(TypeError):
        files.write(str(path), "no bytes", 0o600)  # type: ignore[arg-type]  # that is what is tried
    files.write(str(path), b"new", 0o600)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_removing_a_folder_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_bytes(b"")
    (tmp_path / "gone/deep").mkdir(parents=True)
    (tmp_path / "gone/deep/link").symlink_to(tmp_path / "kept")

    files.remove(str(tmp_path / "gone"))

    assert (tmp_path / "kept/file").exists()
    assert not (tmp_path / "gone").exists()


def test_reading_a_fifo_or_a_large_file_fails_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(11))

    for name in ("fifo", "large"):
        with pytest.raises(OSError, match=name):
            files.read(str(tmp_path / name), 10)


@pytest.mark.parametrize(("length", "limit"), [(100, 100), (101, 100), (10_000, 100), (100, 10), (5, 1)])
def test_a_text_is_never_longer_than_its_limit(length: int, limit: int) -> None:
    cut = text.cut("x" * length, limit)

    assert len(cut) == min(length, limit)


def test_waits_double_up_to_the_limit_and_begin_anew() -> None:
    waits = backoff.Backoff(0.2, 30.0, random.Random(1))
    drawn = [waits.next() for _ in range(200)]

    assert 0.1 <= drawn[0] <= 0.2
    assert all(wait <= 0.2 * 2**number for number, wait in enumerate(drawn[:7]))
    assert 20 < max(drawn) <= 30
    waits.reset()
    assert waits.next() <= 0.2

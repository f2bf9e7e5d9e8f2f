"""The runner of the soak: chunks, figures, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from soak.__main__ import Runner
from soak.ledger import Ledger, code_id
from soak.suite import Failure


class Recorder:
    """A suite that notes what it was asked for."""

    name, full, chunk, note = "recorder", 10, 4, "by hand"

    def __init__(self, *, fails_at: int = -1, interrupted_at: int = -1) -> None:
        self.asked: list[tuple[int, int]] = []
        self._fails_at = fails_at
        self._interrupted_at = interrupted_at

    def run(self, seed: int, count: int) -> list[Failure]:
        if seed == self._interrupted_at:
            raise KeyboardInterrupt
        self.asked.append((seed, count))
        return [Failure(seed, "it broke", "again")] if seed == self._fails_at else []


def complete(
    path: Path, suite: Recorder, *, seed: int | None = None, count: int | None = None, fresh: bool = False
) -> bool:
    return Runner(Ledger(path), Console(quiet=True), seed, 100).complete(suite, count, fresh=fresh)


def figures(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["recorder"]
    return found


def test_a_suite_runs_in_chunks_each_with_a_seed_of_its_own(tmp_path: Path) -> None:
    suite, path = Recorder(), tmp_path / "soak.json"

    assert complete(path, suite)

    assert suite.asked == [(100, 4), (104, 4), (108, 2)]
    assert figures(path) | {"seconds": 0, "code": 0} == {
        "wanted": 10, "done": 10, "seed": 100, "failures": [], "note": "by hand", "code_changed_since": False,
        "seconds": 0, "code": 0,
    }  # fmt: skip


def test_an_interrupted_suite_goes_on_where_it_was(tmp_path: Path) -> None:
    path, rest = tmp_path / "soak.json", Recorder()

    with pytest.raises(KeyboardInterrupt):
        complete(path, Recorder(interrupted_at=104))
    assert figures(path)["done"] == 4
    assert complete(path, rest)

    assert rest.asked == [(104, 4), (108, 2)]


def test_a_complete_suite_is_not_run_again_unless_it_is_to_be_fresh(tmp_path: Path) -> None:
    path, again, fresh, other = tmp_path / "soak.json", Recorder(), Recorder(), Recorder()

    complete(path, Recorder())
    complete(path, again)
    complete(path, fresh, fresh=True)
    complete(path, other, seed=7, count=3)

    assert again.asked == []
    assert fresh.asked == [(100, 4), (104, 4), (108, 2)]
    assert other.asked == [(7, 3)]


def test_what_was_found_stays_found(tmp_path: Path) -> None:
    path = tmp_path / "soak.json"

    assert not complete(path, Recorder(fails_at=104))
    assert not complete(path, Recorder())

    assert figures(path)["failures"] == [{"seed": 104, "what": "it broke", "reproduce": "again"}]


def test_a_change_of_the_code_is_noted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "soak.json")
    entry = ledger.entry("recorder", wanted=10, seed=None, fallback_seed=1, fresh=False)

    ledger.put("recorder", entry.after(4, 1.0, [], "old", ""), "new")

    assert figures(tmp_path / "soak.json")["code_changed_since"]


def test_figures_that_cannot_be_read_count_as_none(tmp_path: Path) -> None:
    path, suite = tmp_path / "soak.json", Recorder()
    path.write_text('{"recorder": {"done": 3}}')

    assert complete(path, suite)

    assert len(suite.asked) == 3


def test_code_is_told_from_other_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = code_id([tmp_path])
    (tmp_path / "a.py").write_text("2")

    assert code_id([tmp_path]) != before

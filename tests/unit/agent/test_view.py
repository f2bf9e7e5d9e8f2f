"""What others are told while one extension's command takes its time."""

from __future__ import annotations

import pytest

from vmext_agent import view


@pytest.mark.parametrize(
    ("minutes", "told", "next_s"),
    [(0.5, None, 30), (1.0, 1, 60), (12.3, 10, 162), (47, 45, 780), (2000, 1440, None)],
)
def test_others_are_told_how_long_it_runs_in_steps_that_grow(
    minutes: float, told: int | None, next_s: float | None
) -> None:
    found = view.running_for(minutes * 60)

    assert found == (told, None if next_s is None else pytest.approx(next_s))

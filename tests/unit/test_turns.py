from __future__ import annotations

import itertools

from vmext_operator.control.turns import Turns


def test_few_have_their_turn_as_often_as_was_asked_for_and_many_more_seldom() -> None:
    turns = Turns(every_s=60.0, apart_s=0.25)
    intervals = []
    for turns.number in (0, 1, 240, 480, 10_000):
        intervals.append(turns.interval_s)
    assert intervals == [60.0, 60.0, 60.0, 120.0, 2500.0]


def test_whoever_comes_at_once_waits_for_those_before_and_nobody_else_does() -> None:
    turns = Turns(every_s=60.0, apart_s=0.25)
    taken = [turns.take(100.0) for _ in range(8)]
    assert taken[0] == 100.0
    assert {later - sooner for sooner, later in itertools.pairwise(taken)} == {0.25}
    assert turns.take(200.0) == 200.0

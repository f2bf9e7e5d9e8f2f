"""A burst, then one at a time, however often somebody would like to."""

from __future__ import annotations

import pytest

from vmext_agent.token_bucket import TokenBucket


def taken(bucket: TokenBucket, begin_s: float, end_s: float, every_s: float) -> list[float]:
    """Return when tokens were taken by one that would like one so often."""
    found, now = [], begin_s
    while now < end_s:
        if bucket.wait_s(now) == 0:
            bucket.take(now)
            found.append(now)
        now += every_s
    return found


def test_a_flood_gets_its_burst_and_then_one_a_second() -> None:
    found = taken(TokenBucket(20, 1.0, 0.0), 0.0, 100.0, 1 / 64)

    assert sum(1 for at in found if at < 1) == 20
    assert sum(1 for at in found if 10 <= at < 100) == 90


def test_who_waits_as_long_as_told_has_a_token() -> None:
    bucket = TokenBucket(1, 3.0, 100.0)
    bucket.take(100.0)

    assert bucket.wait_s(101.0) == pytest.approx(2.0)
    assert bucket.wait_s(101.0 + bucket.wait_s(101.0)) == pytest.approx(0.0)


def test_rest_brings_back_the_burst_and_no_more() -> None:
    bucket = TokenBucket(5, 1.0, 0.0)
    assert len(taken(bucket, 0.0, 1.0, 0.125)) == 5

    assert len(taken(bucket, 1000.0, 1001.0, 0.125)) == 5


def test_what_is_taken_before_it_is_there_is_missing_later() -> None:
    bucket = TokenBucket(1, 1.0, 0.0)
    for _ in range(3):
        bucket.take(0.0)

    assert bucket.wait_s(0.0) == 3.0
    bucket.fill(0.5)
    assert bucket.wait_s(0.5) == 0.0


def test_a_clock_that_stands_or_goes_back_gives_nothing_and_takes_nothing() -> None:
    bucket = TokenBucket(2, 1.0, 10.0)
    bucket.take(10.0)
    bucket.take(9.0)

    assert bucket.wait_s(9.0) == 1.0

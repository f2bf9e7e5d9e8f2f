"""What a machine may cost: a burst, then so much a second; what it costs too much is waited for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmext_operator.core import rate
from vmext_operator.core.rate import Account, Rate


def test_an_account_that_nobody_knows_is_full() -> None:
    assert Rate(5, 1).wait_s(None, 100.0) == 0.0
    assert Rate(5, 1).spend(None, 100.0, 2.0) == Account(3.0, 100.0)


def test_what_was_spent_too_much_is_waited_for_and_no_longer() -> None:
    of = Rate(5, 0.5)
    account = of.spend(None, 0.0, 12.0)

    assert of.wait_s(account, 0.0) == 16.0
    assert of.wait_s(account, 10.0) == 6.0
    assert of.wait_s(account, 16.0) == 0.0
    assert of.level(account, 1000.0) == 5.0


def test_a_clock_that_goes_back_changes_nothing() -> None:
    of = Rate(5, 1)

    assert of.level(Account(2.0, 50.0), 40.0) == 2.0


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0.5, 40)), max_size=60))
def test_whoever_waits_as_long_as_told_spends_no_more_than_the_burst_the_rate_and_the_last_act(
    acts: list[tuple[float, float]],
) -> None:
    of, account, now, spent, costliest = Rate(10, 1), None, 0.0, 0.0, 0.0
    for pause, cost in acts:
        now += pause
        now += of.wait_s(account, now)
        account = of.spend(account, now, cost)
        spent, costliest = spent + cost, max(costliest, cost)

    assert spent <= 10 + now + costliest + 1e-6


@pytest.mark.parametrize("extensions", [1, 5, 30])
def test_a_machine_whose_extensions_become_ready_at_once_is_not_made_to_wait(extensions: int) -> None:
    # For each: finalizer, two statuses, an Event; for the machine: what it is given, goals, its own status.
    account = rate.of_work(extensions).spend(None, 0.0, 4.0 * extensions + 20.0)

    assert rate.of_work(extensions).wait_s(account, 0.0) == 0.0
    assert rate.of_events(extensions).level(None, 0.0) >= 2 * extensions

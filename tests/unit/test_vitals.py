"""When the operator is sick, when it is ready, and which watch hangs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from vmext_operator.control.namespaces import Collection
from vmext_operator.control.watches import Watches
from vmext_operator.core import vitals
from vmext_operator.core.vitals import Vitals
from vmext_operator.errors import WatchHangsError

LEADER = Vitals(leads=True, listed=True, list_age_s=100, list_every_s=300, stalled_s=1, lease_looked_s=1)
STALLED = "the queue has not moved, or one machine has held a worker, for 601 s"
GOALS = Collection("goalstates")
STANDBY = Vitals(leads=False, listed=False, list_age_s=0, list_every_s=300, stalled_s=0, lease_looked_s=1)


@pytest.mark.parametrize(
    ("of", "changed", "sick", "unready"),
    [
        pytest.param(LEADER, {}, "", "", id="a leader that is well"),
        pytest.param(LEADER, {"listed": False}, "", "not everything is listed yet", id="a leader that begins"),
        pytest.param(LEADER, {"list_age_s": 1501}, "no list of everything went well for 1501 s", "", id="no list"),
        pytest.param(LEADER, {"stalled_s": 601}, STALLED, "", id="stuck workers"),
        pytest.param(
            LEADER,
            {"stalled_s": 601, "listed": False},
            "",
            "not everything is listed yet",
            id="workers that wait for it",
        ),
        pytest.param(STANDBY, {}, "", "", id="a standby that is well"),
        pytest.param(STANDBY, {"lease_looked_s": None}, "", "the Lease was never read", id="a standby that begins"),
        pytest.param(STANDBY, {"lease_looked_s": 16.0}, "", "the Lease was not read for 16 s", id="no API server"),
        pytest.param(STANDBY, {"list_age_s": 9999}, "", "", id="a standby lists nothing"),
    ],
)
def test_what_probes_say(of: Vitals, changed: dict[str, Any], sick: str, unready: str) -> None:
    found = dataclasses.replace(of, **changed)
    assert (vitals.sick(found), vitals.unready(found)) == (sick, unready)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_watch_that_brings_what_a_list_had_first_does_not_hang() -> None:
    time = Time()
    watches = Watches(time)
    watches.listed(GOALS, time.now, 3)
    assert watches.owing()
    time.now += 1
    watches.told(GOALS)
    assert not watches.owing()
    time.now += 100
    watches.check(60)


def test_a_list_that_brings_nothing_new_says_nothing_of_a_watch() -> None:
    time = Time()
    watches = Watches(time)
    watches.listed(GOALS, time.now, 0)
    time.now += 1000
    assert not watches.owing()
    watches.check(60)


def test_a_watch_that_told_something_since_the_list_began_was_only_slower() -> None:
    time = Time()
    watches = Watches(time)
    begun = time.now
    time.now += 5
    watches.told(GOALS)
    watches.listed(GOALS, begun, 1)
    assert not watches.owing()


def test_a_watch_that_owes_something_for_too_long_hangs() -> None:
    time = Time()
    watches = Watches(time)
    watches.told(GOALS)
    time.now += 1
    watches.listed(GOALS, time.now, 1)
    watches.check(60)
    time.now += 60
    watches.told(Collection("virtualmachines"))
    with pytest.raises(WatchHangsError, match=r"the watch of goalstates hangs: .* not told for 60 s"):
        watches.check(60)


def test_a_namespace_that_is_left_owes_nothing_and_another_one_still_does() -> None:
    time = Time()
    watches = Watches(time)
    watches.listed(Collection("goalstates", "a"), time.now, 1)
    watches.listed(Collection("goalstates", "b"), time.now, 1)
    watches.left("a")
    time.now += 60
    with pytest.raises(WatchHangsError, match="the watch of goalstates of b hangs"):
        watches.check(60)
    watches.left("b")
    watches.check(60)

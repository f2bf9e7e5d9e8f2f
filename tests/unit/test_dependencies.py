from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import objects
from support.compiling import compiled, reported
from vmext_operator.api.goal_state import EntryState
from vmext_operator.core.goal_compile import Compiled
from vmext_operator.core.reasons import Reason

NAMES = ("a", "b", "c", "d", "e")
IMAGES = [objects.image(type_=f"T{name}") for name in NAMES]


def one(name: str, *depends_on: str, generation: int = 1, deleted: bool = False, **spec: Any) -> dict[str, Any]:
    """Return an extension with a handler of its own."""
    metadata: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:09:00Z"} if deleted else {}
    spec = {"type": f"T{name}", "dependsOn": list(depends_on)} | spec
    return objects.extension(name, spec=spec, generation=generation, **metadata)


def why(result: Compiled) -> dict[str, tuple[Reason, float | None]]:
    return {uid.removeprefix("uid-"): (held.reason, held.patience_s) for uid, held in result.held.items()}


def names(result: Compiled) -> list[str]:
    return [entry.name for entry in result.goal.extensions]


def test_what_an_extension_depends_on_stands_in_its_entry() -> None:
    goal = compiled(one("a"), one("b", "a", suppressFailures=True), images=IMAGES).goal
    first, second = (entry.render() for entry in goal.extensions)
    assert {"dependsOn", "suppressFailures"}.isdisjoint(first)
    assert (second["dependsOn"], second["suppressFailures"]) == (["a"], True)


def test_another_order_runs_nothing_again() -> None:
    first = compiled(one("a"), one("b"), images=IMAGES).goal
    second = compiled(one("a"), one("b", "a", generation=2, suppressFailures=True), images=IMAGES, last=first).goal
    assert [entry.sequence_number for entry in second.extensions] == [1, 2]
    assert second.extensions[1].depends_on == ("a",)


def test_those_that_wait_for_each_other_say_the_whole_circle_and_those_behind_it_say_so_too() -> None:
    result = compiled(one("a", "c"), one("b", "a"), one("c", "b"), one("d", "c"), one("e", "d"), images=IMAGES)
    cycle, failed = (Reason.DEPENDENCY_CYCLE, 0.0), (Reason.DEPENDENCY_FAILED, 0.0)
    assert why(result) == {"a": cycle, "b": cycle, "c": cycle, "d": failed, "e": failed}
    assert "a -> c -> b -> a" in result.held["uid-a"].message
    assert "b -> a -> c -> b" in result.held["uid-b"].message
    assert "c, on which it depends, is held back: DependencyCycle: they wait" in result.held["uid-d"].message
    assert "d, on which it depends, is held back: DependencyFailed: c" in result.held["uid-e"].message
    assert not result.goal.extensions


def test_two_circles_and_what_is_between_them() -> None:
    result = compiled(one("a", "b"), one("b", "a"), one("c", "a"), one("d", "c", "e"), one("e", "d"), images=IMAGES)
    kinds = {name: reason for name, (reason, _) in why(result).items()}
    assert kinds == {
        "a": Reason.DEPENDENCY_CYCLE,
        "b": Reason.DEPENDENCY_CYCLE,
        "c": Reason.DEPENDENCY_FAILED,
        "d": Reason.DEPENDENCY_CYCLE,
        "e": Reason.DEPENDENCY_CYCLE,
    }


def test_a_missing_one_is_waited_for_however_long() -> None:
    result = compiled(one("b", "a"), images=IMAGES)
    assert why(result) == {"b": (Reason.WAITING_FOR_DEPENDENCY, None)}
    assert "a, on which it depends, is not declared for web-1" in result.held["uid-b"].message
    assert names(compiled(one("a"), one("b", "a"), images=IMAGES, last=result.goal)) == ["a", "b"]


def test_one_of_another_machine_is_refused_also_where_nothing_is_to_run() -> None:
    first = compiled(one("b"), images=IMAGES).goal
    result = compiled(one("b", "a", generation=2), images=IMAGES, last=first, elsewhere={"a": "db-1"})
    assert why(result) == {"b": (Reason.INVALID_DEPENDENCY, 0.0)}
    assert "dependsOn names a, which is for db-1" in result.held["uid-b"].message
    assert result.goal.extensions == first.extensions


@pytest.mark.parametrize("suppress", [True, False])
def test_what_is_held_back_holds_back_what_would_begin_after_it(suppress: bool) -> None:
    unknown = one("a", typeHandlerVersion="9", suppressFailures=suppress)
    result = compiled(unknown, one("b", "a"), images=IMAGES)
    assert why(result) == {"a": (Reason.UNKNOWN_IMAGE, 60.0), "b": (Reason.DEPENDENCY_FAILED, 60.0)}
    assert "a, on which it depends, is held back: UnknownImage: the catalog has" in result.held["uid-b"].message


def test_what_the_machine_has_stays_ready_whatever_becomes_of_what_it_depends_on() -> None:
    first = compiled(one("a"), one("b", "a"), images=IMAGES).goal
    for others in ([], [one("a", deleted=True)], [one("a", typeHandlerVersion="9", generation=2)]):
        result = compiled(*others, one("b", "a"), images=IMAGES, last=first, gone=frozenset({"uid-a"}))
        assert "uid-b" not in result.held, others
        assert result.goal.entry("b") == first.entry("b")


def test_what_is_to_run_anew_waits_for_one_that_is_being_deleted() -> None:
    first = compiled(one("a"), one("b", "a"), images=IMAGES).goal
    changed = one("b", "a", settings={"x": 1}, generation=2)
    result = compiled(one("a", deleted=True), changed, images=IMAGES, last=first)
    assert why(result) == {"b": (Reason.WAITING_FOR_DEPENDENCY, None)}
    assert "a, on which it depends, is being deleted" in result.held["uid-b"].message
    assert result.goal.entry("b") == first.entry("b")
    leaving = result.goal.entry("a")
    assert leaving is not None
    assert leaving.state is EntryState.UNINSTALL


def test_an_entry_from_before_lets_go_of_what_now_depends_on_it() -> None:
    first = compiled(one("a", "b"), one("b"), images=IMAGES).goal
    # a no longer depends on b, but can't be carried out; b depends on a now, and has run already.
    held = one("a", typeHandlerVersion="9", generation=2)
    result = compiled(held, one("b", "a", generation=2), images=IMAGES, last=first)
    assert [(entry.name, entry.depends_on) for entry in result.goal.extensions] == [("a", ()), ("b", ("a",))]


@st.composite
def declared(draw: st.DrawFn) -> list[dict[str, Any]]:
    present = draw(st.sets(st.sampled_from(NAMES)))
    return [
        one(
            name,
            *draw(st.sets(st.sampled_from([other for other in NAMES if other != name]))),
            generation=draw(st.integers(1, 2)),
            settings={"x": draw(st.integers(0, 1))},
            typeHandlerVersion=draw(st.sampled_from(["2", "9"])),
            deleted=draw(st.booleans()),
        )
        for name in sorted(present)
    ]


@given(first=declared(), second=declared(), order=st.randoms(use_true_random=False))
def test_no_goal_ever_has_a_circle_and_compiling_again_changes_nothing(
    first: list[dict[str, Any]], second: list[dict[str, Any]], order: Any
) -> None:
    before = compiled(*first, images=IMAGES).goal
    once = compiled(*second, images=IMAGES, last=before, report=reported(before, "Succeeded"))
    again = compiled(*order.sample(second, len(second)), images=IMAGES, last=once.goal)
    assert again.goal.extensions == once.goal.extensions
    left = {entry.name: set(entry.depends_on) for entry in once.goal.extensions}
    while left:
        free = {name for name, others in left.items() if not others & left.keys()}
        assert free, f"they wait for each other: {left}"
        left = {name: others for name, others in left.items() if name not in free}

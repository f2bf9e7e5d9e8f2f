"""Random lives of what is declared, and what holds of every goal in them: for the unit tests and the soak."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from support import objects
from support.compiling import NOW
from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.goal_state import EntryState, Goal, Report
from vmext_operator.core.declared import Declared
from vmext_operator.core.goal_compile import compile_goal

NAMES = ("a", "b", "c", "d", "e", "f")
TYPES = {"a": "One", "b": "Two", "c": "Three", "d": "One", "e": "Several", "f": "Several"}
#: What a machine may say is on it and declared nowhere.
STRAYS: list[dict[str, Any]] = [
    {"handler": "VMExt.One", "version": "1.0.0", "extension": "a"},
    {"handler": "vmext.two", "version": "9"},
    {"handler": "VMExt.Several", "version": "1.1.0", "extension": "e", "multiConfig": True},
]
GUESTS: list[dict[str, str]] = [{}, {"os": "debian", "version": "12", "arch": "x86_64"}, {"os": "rhel"}]


@dataclass(frozen=True)
class Step:
    """What is declared at one moment, and what the machine has said by then of the goal before it."""

    machine: dict[str, Any]
    extensions: list[dict[str, Any]]
    images: list[dict[str, Any]]
    outcomes: dict[str, str] | None
    guest: dict[str, str]
    behind: int
    goal_lost: bool
    paused: bool
    undeclared: list[dict[str, Any]]


@st.composite
def extensions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw extensions; what can't be changed of one is a function of its name and UID."""
    found = []
    for name in sorted(draw(st.sets(st.sampled_from(NAMES)))):
        life = draw(st.integers(1, 2))
        others = st.sets(
            st.sampled_from([other for other in (*NAMES, "missing", "beside") if other != name]), max_size=2
        )
        spec = {
            "type": TYPES[name],
            "typeHandlerVersion": draw(st.sampled_from(["1", "1.1", "1.1.0", "2"])),
            "autoUpgradeMinorVersion": draw(st.booleans()),
            "enableAutomaticUpgrade": draw(st.booleans()),
            "forceUpdateTag": draw(st.sampled_from(["", "again"])),
            "settings": {"x": draw(st.integers(0, 1))},
            "dependsOn": sorted(draw(others)),
            "suppressFailures": draw(st.booleans()),
            "deletionPolicy": draw(st.sampled_from(["Uninstall", "Uninstall", "Orphan"])),
            "deletionTimeout": draw(st.sampled_from(["30m", "1s"])),
        }
        metadata: dict[str, Any] = {"generation": draw(st.integers(1, 3)), "uid": f"uid-{name}-{life}"}
        metadata["creationTimestamp"] = f"2026-01-01T00:00:0{draw(st.integers(0, 1))}Z"
        if draw(st.integers(0, 3)) == 0:
            metadata["deletionTimestamp"] = "2026-01-01T00:09:00Z"
        status = draw(st.sampled_from([None, {"sequenceNumber": 5, "typeHandlerVersion": "1.0.0"}]))
        found.append(objects.extension(name, spec=spec, status=status, **metadata))
    return found


@st.composite
def images(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for type_ in sorted(set(TYPES.values())):
        for version in sorted(draw(st.sets(st.sampled_from(["1.0.0", "1.1.0", "1.1.1", "2.0.0"])))):
            spec: dict[str, Any] = {
                "hotfix": draw(st.booleans()),
                "withdrawn": draw(st.booleans()),
                "multiConfig": type_ == "Several",
                "supports": draw(st.sampled_from([{}, {}, {"os": ["debian"]}])),
                "locations": draw(st.sampled_from([[], [], ["rack-7"]])),
            }
            found.append(objects.image(version, type_=type_, **spec))
    return found


@st.composite
def steps(draw: st.DrawFn) -> Step:
    spec = {
        "paused": draw(st.integers(0, 4)) == 0,
        "location": draw(st.sampled_from(["rack-7", "rack-8"])),
        "deletionPolicy": draw(st.sampled_from(["Orphan", "Uninstall"])),
    }
    going = {"deletionTimestamp": "2026-01-01T00:09:30Z"} if draw(st.integers(0, 5)) == 0 else {}
    outcome = st.sampled_from(["Running", "Succeeded", "Failed", "Removed", "SequenceBehind", "another entry"])
    return Step(
        objects.machine(spec=spec, generation=draw(st.integers(1, 3)), **going),
        draw(extensions()),
        draw(images()),
        draw(st.none() | st.fixed_dictionaries(dict.fromkeys(NAMES, outcome))),
        draw(st.sampled_from(GUESTS)),
        draw(st.integers(0, 20)),
        draw(st.integers(0, 5)) == 0,
        draw(st.integers(0, 5)) == 0,
        draw(st.lists(st.sampled_from(STRAYS), max_size=3)),
    )


def report(step: Step, last: Goal | None) -> Report | None:
    if step.outcomes is None or last is None:
        return None
    answers = {}
    for entry in last.extensions:
        outcome, rendered = step.outcomes[entry.name], entry.render()
        if outcome == "SequenceBehind":
            answers[entry.name] = objects.answer(rendered, "Running", reason=outcome)
        elif outcome == "another entry":
            answers[entry.name] = objects.answer(rendered | {"uid": "another"}, "Succeeded")
        else:
            answers[entry.name] = objects.answer(rendered, outcome)
    status = {"guest": step.guest, "extensions": answers, "highestSequenceNumber": step.behind}
    status["undeclared"] = step.undeclared
    return goal_state.parse(objects.goal_state("web-1", last.render(), status)).report


def declared(step: Step, last: Goal | None) -> Declared:
    catalog: dict[str, list[extension_image.ExtensionImage]] = {}
    for obj in step.images:
        image = extension_image.parse(obj)
        catalog.setdefault(image.handler_key, []).append(image)
    present = {one["metadata"]["uid"] for one in step.extensions}
    gone = {entry.uid for entry in last.extensions if entry.uid not in present} if last is not None else set()
    return Declared(
        machine=virtual_machine.parse(step.machine),
        extensions=[virtual_machine_extension.parse(one) for one in step.extensions],
        catalog=catalog,
        last=last,
        report=report(step, last),
        gone=frozenset(gone),
        now=NOW,
        elsewhere={"beside": "web-2"},
        paused=step.paused,
    )


def shuffled(given: Declared, seed: int) -> Declared:
    order = random.Random(seed)
    return replace(
        given,
        extensions=order.sample(list(given.extensions), len(given.extensions)),
        catalog={name: order.sample(list(found), len(found)) for name, found in given.catalog.items()},
    )


#: Steps, and what puts them into another order.
LIVES = st.tuples(st.lists(steps(), min_size=1, max_size=4), st.integers(0, 1000))


def live(life: list[Step], seed: int) -> None:
    """Live through some steps; AssertionError where something does not hold of a goal."""
    last: Goal | None = None
    for step in life:
        if step.goal_lost:
            last = None
        given_ = declared(step, last)
        compiled = compile_goal(given_)
        goal = compiled.goal

        assert compile_goal(given_) == compiled, "the same input, another output"
        assert compile_goal(shuffled(given_, seed)) == compiled, "another order, another output"
        assert compile_goal(replace(given_, last=goal)).goal == goal, "compiling its own result changes it"

        _numbers_never_fall(given_, goal)
        _nothing_leaves_that_nobody_deleted(given_, goal)
        _every_held_one_stays_as_it_was(given_, goal, compiled.held)
        written = goal_state.parse(objects.goal_state("web-1", goal.render()))
        assert written.goal == goal, "what is written reads as something else"
        last = goal


def _numbers_never_fall(given_: Declared, goal: Goal) -> None:
    last = given_.last
    numbers = [entry.sequence_number for entry in goal.extensions]
    assert all(number <= goal.last_sequence_number for number in numbers)
    if last is not None:
        assert goal.last_sequence_number >= last.last_sequence_number
        for entry in goal.extensions:
            before = last.entry(entry.name)
            if before is not None and before.uid == entry.uid:
                assert entry.sequence_number >= before.sequence_number
            else:
                assert entry.sequence_number > last.last_sequence_number, "made anew, and no higher"


def _nothing_leaves_that_nobody_deleted(given_: Declared, goal: Goal) -> None:
    before = {} if given_.last is None else {entry.uid: entry for entry in given_.last.extensions}
    deleted = {one.meta.uid for one in given_.extensions if given_.leaves_since(one) is not None}
    for entry in goal.extensions:
        if entry.state is EntryState.UNINSTALL:
            told = entry.uid in before and before[entry.uid].state is EntryState.UNINSTALL
            assert entry.uid in deleted or told, f"{entry.uid} is uninstalled, and nobody deleted it"
    kept = {entry.uid for entry in goal.extensions}
    names = {entry.name for entry in goal.extensions}
    for uid, entry in before.items():
        done = uid in given_.gone or uid in deleted
        assert uid in kept or done or entry.name in names, f"{uid} is missing, and nobody is done with it"


def _every_held_one_stays_as_it_was(given_: Declared, goal: Goal, held: Any) -> None:
    for extension in given_.extensions:
        before, after = given_.before(extension), goal.entry(extension.meta.key.name)
        if extension.meta.uid not in held or before is None or given_.leaves_since(extension) is not None:
            continue
        assert after is not None
        same = replace(after, depends_on=before.depends_on, sequence_number=before.sequence_number)
        assert same == before

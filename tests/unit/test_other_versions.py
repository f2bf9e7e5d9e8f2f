"""Objects that an older or a newer operator has written: what is not understood takes nothing away."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from support import objects
from support.compiling import compiled, reported
from vmext_operator.api import goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.goal_state import EntryState
from vmext_operator.api.meta import Key
from vmext_operator.control.store import Store

DELETED: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:09:00Z"}


def test_unknown_fields_are_left_out() -> None:
    extension = objects.extension(spec={"later": {"x": 1}})
    machine = objects.machine(spec={"later": [1]})
    assert compiled(extension, machine=machine).goal.extensions == compiled(objects.extension()).goal.extensions
    first = compiled(objects.extension()).goal.render()
    first["later"] = True
    first["extensions"][0]["later"] = True
    parsed = goal_state.parse(objects.goal_state("web-1", first)).goal
    assert parsed == compiled(objects.extension()).goal


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (None, EntryState.UNINSTALL),
        ("Uninstall", EntryState.UNINSTALL),
        ("Orphan", EntryState.ORPHAN),
        ("ArchiveFirst", EntryState.ORPHAN),
    ],
)
def test_a_deletion_policy_of_a_later_version_takes_nothing_off_a_machine(
    policy: str | None, state: EntryState
) -> None:
    first = compiled(objects.extension()).goal
    leaving = objects.extension(spec={"deletionPolicy": policy}, **DELETED)
    assert compiled(leaving, last=first, report=reported(first, "Succeeded")).goal.extensions[0].state is state


def test_words_of_a_later_version_mean_the_safe_thing() -> None:
    machine = virtual_machine.parse(objects.machine(spec={"readiness": "Perhaps", "deletionPolicy": "Archive"}))
    assert (machine.allows_offline, machine.uninstalls) == (False, False)


@pytest.mark.parametrize(("field", "value"), [("outcome", "Dreaming"), ("state", "archived"), ("sequenceNumber", "3")])
def test_an_answer_that_is_not_understood_is_as_good_as_none(field: str, value: Any) -> None:
    first = compiled(objects.extension()).goal
    answer = objects.answer(first.extensions[0].render()) | {field: value}
    status = {"agentVersion": "9.0.0", "extensions": {"hello": answer}}
    report = goal_state.parse(objects.goal_state("web-1", first.render(), status)).report
    assert report is not None
    assert (report.agent_version, report.answers) == ("9.0.0", {})
    assert compiled(objects.extension(), last=first, report=report).goal == first


def test_what_is_not_understood_leaves_what_was_known_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(lambda key, lane: None)
    store.observe("virtualmachineextensions", objects.extension())
    known = store.extension(Key("default", "hello"))
    with caplog.at_level(logging.ERROR):
        store.observe("virtualmachineextensions", objects.extension(spec={"typeHandlerVersion": "latest"}))
    assert store.extension(Key("default", "hello")) is known
    assert "object not understood" in caplog.text


def test_an_object_of_before_this_version_has_all_defaults() -> None:
    extension = objects.extension()
    parsed = virtual_machine_extension.parse(extension)
    assert (parsed.depends_on, parsed.suppress_failures, parsed.orphan_on_delete) == ((), False, False)
    machine = objects.machine()
    del machine["spec"]
    assert virtual_machine.parse(machine).heartbeat_s == 100

from __future__ import annotations

from typing import Any

import pytest

from support import objects
from vmext_operator.api.meta import Key
from vmext_operator.control.namespaces import Collection
from vmext_operator.control.queue import Lane
from vmext_operator.control.store import Store

WEB_1 = Key("default", "web-1")
GOAL: dict[str, Any] = {"vmUID": "u", "modelHash": "h", "lastSequenceNumber": 0, "extensions": []}


class Changes(list[Key]):
    """The machines that something changed for, and how soon each is to be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: list[Lane] = []

    def note(self, key: Key, lane: Lane) -> None:
        self.append(key)
        self.lanes.append(lane)

    def taken(self) -> list[Key]:
        taken = list(self)
        self.clear()
        return taken


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def store(changes: Changes) -> Store:
    return Store(changes.note)


def test_an_older_object_does_not_replace_a_newer_one(store: Store, changes: Changes) -> None:
    older, newer = objects.extension(spec={"forceUpdateTag": "old"}), objects.extension(generation=2)
    store.observe("virtualmachineextensions", newer)
    store.observe("virtualmachineextensions", older)
    assert [one.force_update_tag for one in store.extensions_of(WEB_1)] == [None]
    assert changes.taken() == [WEB_1]


def test_a_late_event_does_not_bring_back_what_was_deleted(store: Store) -> None:
    first, late, deletion = objects.machine(), objects.machine(), objects.machine()
    store.observe("virtualmachines", first)
    store.observe("virtualmachines", deletion, deleted=True)
    store.observe("virtualmachines", late)
    assert store.machine(WEB_1) is None
    store.observe("virtualmachines", objects.machine(uid="made-anew"))
    assert store.machine(WEB_1) is not None


def test_the_deletion_of_an_older_namesake_is_not_that_of_the_newer_one(store: Store) -> None:
    deletion = objects.machine(uid="old")
    store.observe("virtualmachines", objects.machine(uid="new"))
    store.observe("virtualmachines", deletion, deleted=True)
    assert store.machine(WEB_1) is not None


def test_the_echo_of_a_status_is_no_change(store: Store, changes: Changes) -> None:
    store.observe("virtualmachineextensions", objects.extension())
    changes.clear()
    store.observe("virtualmachineextensions", objects.extension(status={"observedGeneration": 1}))
    assert not changes
    assert store.extensions_of(WEB_1)[0].status == {"observedGeneration": 1}
    store.observe("virtualmachineextensions", objects.extension(generation=2))
    store.observe("virtualmachineextensions", objects.extension(generation=2, finalizers=["x"]))
    assert changes.taken() == [WEB_1, WEB_1]


def test_what_a_machine_reports_is_a_change(store: Store, changes: Changes) -> None:
    store.observe("goalstates", objects.goal_state("web-1", GOAL))
    changes.clear()
    store.observe("goalstates", objects.goal_state("web-1", GOAL, {"agentVersion": "1"}))
    assert changes.taken() == [WEB_1]
    store.observe("goalstates", objects.goal_state("web-1", GOAL, {"agentVersion": "1"}))
    assert not changes


def test_a_catalog_entry_concerns_the_machines_that_have_its_handler(store: Store, changes: Changes) -> None:
    store.observe("virtualmachineextensions", objects.extension("a", vm="web-1"))
    store.observe("virtualmachineextensions", objects.extension("b", vm="web-2", spec={"publisher": "vmext"}))
    store.observe("virtualmachineextensions", objects.extension("c", vm="web-3", spec={"type": "Other"}))
    changes.clear()
    store.observe("virtualmachineextensionimages", objects.image())
    assert sorted(changes.taken()) == [Key("default", "web-1"), Key("default", "web-2")]
    assert [one.version.text for one in store.catalog(["vmext.customscript"])["vmext.customscript"]] == ["2.1.0"]


def test_a_full_list_brings_the_deletions_that_no_watch_told(store: Store, changes: Changes) -> None:
    gone, stays = objects.extension("gone"), objects.extension("stays")
    for obj in (gone, stays):
        store.observe("virtualmachineextensions", obj)
    list_version = objects.meta("any")["resourceVersion"]
    store.observe("virtualmachineextensions", objects.extension("younger-than-the-list"))
    changes.clear()
    assert store.retain(Collection("virtualmachineextensions"), {Key("default", "stays")}, list_version) == 1
    assert [one.meta.key.name for one in store.extensions_of(WEB_1)] == ["stays", "younger-than-the-list"]
    assert changes.taken() == [WEB_1]


def test_a_list_of_one_namespace_says_nothing_of_another(store: Store) -> None:
    for namespace in ("a", "b"):
        store.observe("virtualmachines", objects.machine("web-1", namespace=namespace))
        late = objects.machine("late", namespace=namespace)
        store.observe("virtualmachines", objects.machine("late", namespace=namespace), deleted=True)
        assert not store.observe("virtualmachines", late)
    list_version = objects.meta("any")["resourceVersion"]
    older = objects.machine("late", namespace="b", resourceVersion="1")

    assert store.retain(Collection("virtualmachines", "a"), set(), list_version) == 1
    assert store.machine_keys() == {Key("b", "web-1")}
    assert not store.observe("virtualmachines", older), "what was deleted in b is remembered"


def test_what_we_write_ourselves_is_no_change(store: Store, changes: Changes) -> None:
    store.observe("virtualmachineextensions", objects.extension())
    store.observe("goalstates", objects.goal_state("web-1", GOAL))
    changes.clear()
    store.observe("virtualmachineextensions", objects.extension(finalizers=["x"]), ours=True)
    store.observe("goalstates", objects.goal_state("web-1", GOAL, generation=2), ours=True)
    assert not changes
    assert store.extensions_of(WEB_1)[0].meta.finalizers == ("x",)


def test_what_is_declared_now_comes_first_then_what_is_reported_then_lists_and_the_catalog(
    store: Store, changes: Changes
) -> None:
    store.observe("virtualmachineextensions", objects.extension(), listed=True)
    store.observe("virtualmachineextensionimages", objects.image())
    store.observe("goalstates", objects.goal_state("web-1", GOAL, {"agentVersion": "1"}))
    store.observe("virtualmachineextensions", objects.extension(generation=2))
    store.observe("virtualmachines", objects.machine("web-1"))
    assert changes.taken() == [WEB_1] * 5
    assert changes.lanes == [Lane.BULK, Lane.BULK, Lane.ONGOING, Lane.URGENT, Lane.URGENT]


def test_an_object_that_is_not_understood_is_told_and_passed_over(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    broken = objects.extension()
    broken["spec"]["typeHandlerVersion"] = "two"
    store.observe("virtualmachineextensions", broken)
    assert store.extensions_of(WEB_1) == []
    assert "spec.typeHandlerVersion: 'two' is no version" in caplog.text


def test_machines_are_found_by_the_secret_that_their_extensions_name_now(store: Store) -> None:
    def declare(name: str, vm: str, secret: str | None, namespace: str = "default") -> None:
        given = {"protectedSettings": {"secretRef": {"name": secret, "key": "k"}}} if secret else {}
        obj = objects.extension(name, spec={"vmName": vm, **given}, namespace=namespace)
        store.observe("virtualmachineextensions", obj)

    db = Key("default", "db")
    declare("one", "web-1", "db")
    declare("two", "web-2", "db")
    declare("three", "web-1", "other")
    declare("four", "web-1", "db", namespace="elsewhere")
    assert store.machines_naming(db) == {WEB_1, Key("default", "web-2")}
    declare("two", "web-2", None)
    declare("three", "web-1", "db")
    assert store.machines_naming(db) == {WEB_1}
    for name in ("one", "three"):
        store.observe("virtualmachineextensions", objects.extension(name), deleted=True)
    assert store.machines_naming(db) == set()

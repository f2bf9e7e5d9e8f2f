"""Goal states as they come from the API server, and what is no use in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.agent.goals import HANDLER, raw_entry, raw_goal
from vmext_agent import goal_state, manifest
from vmext_agent.errors import GoalStateError, ManifestError


def handler(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = raw_entry()["handler"] | fields
    return found


def test_a_goal_is_parsed_in_order_of_names() -> None:
    other = handler(name="Test.Other")
    goal = goal_state.parse(raw_goal(raw_entry(name="b", handler=other), raw_entry(name="a", extra="ignored")))

    assert [entry.name for entry in goal.entries] == ["a", "b"]
    assert (goal.uid, goal.generation) == ("uid-goal", 3)
    assert goal.entries[0].handler == HANDLER
    assert goal.entries[0].key == ("uid-1", "enabled", 1, "1.0.0")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": "../x"}, "name"),
        ({"name": "A"}, "name"),
        ({"name": ".."}, "name"),
        ({"name": "a" * 81}, "name"),
        ({"name": "a\n"}, "name"),
        ({"handler": handler(name="../../x")}, "handler.name"),
        ({"handler": handler(name="A..B")}, "handler.name"),
        ({"handler": handler(name="A-B")}, "handler.name"),
        ({"handler": handler(version="1.0/..")}, "handler.version"),
        ({"handler": handler(version="1.0\n")}, "handler.version"),
        ({"handler": handler(package={"urls": [], "sha256": "A" * 64, "sizeBytes": 1})}, "handler.package.sha256"),
        ({"handler": handler(package={"urls": [1], "sha256": "a" * 64, "sizeBytes": 1})}, "handler.package.urls"),
        ({"settings": "[]"}, "settings"),
        ({"settings": "{"}, "settings"),
        ({"settings": "[" * 100_000}, "settings"),
        ({"settings": None}, "settings"),
        ({"timeoutSeconds": 0}, "timeoutSeconds"),
        ({"timeoutSeconds": True}, "timeoutSeconds"),
        ({"state": "gone"}, "state"),
        ({"sequenceNumber": -1}, "sequenceNumber"),
        ({"dependsOn": "other"}, "dependsOn"),
        ({"dependsOn": ["one"]}, "dependsOn"),
        ({"suppressFailures": "yes"}, "suppressFailures"),
        ({"handler": handler(multiConfig=1)}, "handler.multiConfig"),
        ({"handler": handler(limits=[])}, "handler.limits"),
        ({"handler": handler(limits={"cpuMillicores": "1"})}, "handler.limits.cpuMillicores"),
        ({"protectedSettings": "e30="}, "protectedSettings"),
        ({"thumbprint": "A" * 40}, "protectedSettings"),
        ({"protectedSettings": "{}", "thumbprint": "A" * 40}, "protectedSettings"),
        ({"protectedSettings": "e30=", "thumbprint": "../" + "A" * 37}, "thumbprint"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused_alone_and_says_where(fields: dict[str, Any], path: str) -> None:
    goal = goal_state.parse(raw_goal(raw_entry(**fields), raw_entry(name="good")))

    assert [entry.name for entry in goal.entries] == ["good"]
    (refused,) = goal.refused
    assert f"spec.extensions[0].{path}" in refused.why or path in refused.why


def test_settings_are_never_quoted() -> None:
    goal = goal_state.parse(raw_goal(raw_entry(settings='{"password": "canary", }')))

    assert "canary" not in goal.refused[0].why


def test_a_name_that_is_there_twice_is_refused_the_second_time() -> None:
    goal = goal_state.parse(raw_goal(raw_entry(), raw_entry(uid="uid-2")))

    assert [entry.key.uid for entry in goal.entries] == ["uid-1"]
    assert [refused.key.uid for refused in goal.refused] == ["uid-2"]


def test_a_handler_is_one_extensions_and_a_second_one_is_refused() -> None:
    goal = goal_state.parse(raw_goal(raw_entry(name="a"), raw_entry(name="b"), raw_entry(name="c", state="uninstall")))

    assert [entry.name for entry in goal.entries] == ["a", "c"]
    assert [(refused.name, "is a's already" in refused.why) for refused in goal.refused] == [("b", True)]


@pytest.mark.parametrize(
    "obj", [{}, {"spec": []}, {"metadata": {}, "spec": {"extensions": {}}}, raw_goal(3), raw_goal({"name": "x"})]
)
def test_what_is_no_goal_state_is_refused_as_a_whole(obj: dict[str, Any]) -> None:
    with pytest.raises(GoalStateError):
        goal_state.parse(obj)


COMMANDS = {f"{name}Command": f"./{name}" for name in manifest.COMMANDS}


def parsed(**fields: object) -> manifest.Manifest:
    return manifest.parse(json.dumps([{"handlerManifest": COMMANDS | fields}]).encode(), "path")


@pytest.mark.parametrize(
    ("fields", "with_install"),
    [({}, True), ({"updateMode": "UPDATEWITHINSTALL"}, True), ({"updateMode": "UpdateWithoutInstall"}, False),
     ({"updateMode": 3}, False), ({"updateMode": None}, True)],
)  # fmt: skip
def test_the_update_mode_is_read_as_azures_agent_reads_it(fields: dict[str, object], with_install: bool) -> None:
    assert parsed(**fields).update_with_install is with_install


@pytest.mark.parametrize(
    ("value", "truth", "odd"), [(True, True, 0), ("TRUE", True, 1), ("no", False, 1), (1, False, 1)]
)
def test_booleans_that_are_none_are_read_and_noted(value: object, truth: bool, odd: int) -> None:
    found = parsed(continueOnUpdateFailure=value)

    assert found.continue_on_update_failure is truth
    assert len(found.oddities) == odd


def test_a_byte_order_mark_before_a_manifest_is_no_harm() -> None:
    data = b"\xef\xbb\xbf" + json.dumps([{"handlerManifest": COMMANDS}]).encode()

    assert manifest.parse(data, "path").commands["enable"] == "./enable"


def test_a_command_with_a_null_is_refused() -> None:
    with pytest.raises(ManifestError, match="enableCommand is no command"):
        parsed(enableCommand="a\0b")


def test_entries_come_by_level_and_each_knows_what_it_depends_on() -> None:
    names = {"a": ["c", "b"], "b": ["d"], "c": [], "d": ["gone"]}
    entries = [
        raw_entry(name=name, dependsOn=others, handler=handler(name=f"Test.{name.upper()}"))
        for name, others in names.items()
    ]

    goal = goal_state.parse(raw_goal(*entries))

    assert [(entry.name, entry.level) for entry in goal.entries] == [("c", 0), ("d", 0), ("b", 1), ("a", 2)]
    assert goal.entries[-1].depends_on == ("b", "c")


def test_those_that_wait_for_each_other_are_refused_with_the_way_round() -> None:
    names = {"a": ["b"], "b": ["c"], "c": ["b"], "d": []}
    entries = [
        raw_entry(name=name, dependsOn=others, handler=handler(name=f"Test.{name.upper()}"))
        for name, others in names.items()
    ]

    goal = goal_state.parse(raw_goal(*entries))

    assert [entry.name for entry in goal.entries] == ["d"]
    assert [refused.why for refused in goal.refused] == [
        "dependsOn: they wait for each other: b -> c -> b",
        "dependsOn: they wait for each other: b -> c -> b",
        "dependsOn: they wait for each other: c -> b -> c",
    ]


def test_a_handler_takes_several_extensions_where_all_say_so_and_want_one_version() -> None:
    several = handler(multiConfig=True)
    both = goal_state.parse(raw_goal(raw_entry(name="a", handler=several), raw_entry(name="b", handler=several)))
    mixed = goal_state.parse(raw_goal(raw_entry(name="a", handler=several), raw_entry(name="b")))
    newer = raw_entry(name="b", handler=several | {"version": "1.1.0"})
    differ = goal_state.parse(raw_goal(raw_entry(name="a", handler=several), newer))

    assert len(both.entries) == 2
    assert [refused.name for refused in (*mixed.refused, *differ.refused)] == ["b", "b"]
    assert "has 1.0.0 of the same handler" in differ.refused[0].why


def test_settings_that_differ_in_anything_have_another_digest() -> None:
    found = [
        goal_state.parse(raw_goal(raw_entry(**fields))).entries[0].settings.digest
        for fields in (
            {},
            {"settings": '{"a": 1}'},
            {"protectedSettings": "e30=", "thumbprint": "A" * 40},
            {"protectedSettings": "e31=", "thumbprint": "A" * 40},
            {"protectedSettings": "e30=", "thumbprint": "B" * 40},
        )
    ]

    assert len(set(found)) == 5

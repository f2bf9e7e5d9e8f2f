from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import objects
from support.compiling import compiled, reported
from vmext_operator.api import goal_state
from vmext_operator.api.goal_state import EntryState, Goal, Report
from vmext_operator.core.reasons import Reason


def test_a_new_extension_gets_the_first_number_and_the_catalogs_package() -> None:
    goal = compiled(objects.extension(spec={"settings": {"b": 1, "a": {"ä": True}}})).goal
    (entry,) = goal.extensions
    assert (entry.state, entry.sequence_number, goal.last_sequence_number) == (EntryState.ENABLED, 1, 1)
    assert entry.settings == '{"a":{"ä":true},"b":1}'
    assert (entry.handler.name, entry.handler.version) == ("VMExt.CustomScript", "2.1.0")
    assert entry.timeout_seconds == 90 * 60


def test_changed_settings_or_tag_or_uid_raise_the_number_and_nothing_else_does() -> None:
    first = compiled(objects.extension(spec={"settings": {"x": 1}})).goal
    for spec in ({"tags": {"a": "b"}}, {"timeout": "5m"}, {"enableAutomaticUpgrade": True}, {"deletionTimeout": "1m"}):
        again = compiled(objects.extension(spec={"settings": {"x": 1}} | spec, generation=2), last=first).goal
        assert again.extensions[0].sequence_number == 1, spec
    for extension in (
        objects.extension(spec={"settings": {"x": 2}}),
        objects.extension(spec={"settings": {"x": 1}, "forceUpdateTag": "again"}),
        objects.extension(spec={"settings": {"x": 1}}, uid="made-anew"),
    ):
        again = compiled(extension, last=first).goal
        assert (again.extensions[0].sequence_number, again.last_sequence_number) == (2, 2)


def test_the_number_is_above_all_that_was_ever_seen() -> None:
    goal = compiled(objects.extension(status={"sequenceNumber": 41})).goal
    assert goal.extensions[0].sequence_number == 42
    report = reported(goal, "Succeeded")
    assert compiled(objects.extension(uid="made-anew"), report=report).goal.extensions[0].sequence_number == 43


def test_a_version_is_kept_until_the_model_changes() -> None:
    first = compiled(objects.extension()).goal
    newer = [objects.image("2.1.0"), objects.image("2.2.0")]
    assert compiled(objects.extension(), images=newer, last=first).goal == first
    changed = compiled(objects.extension(generation=2, spec={"tags": {"a": "b"}}), images=newer, last=first).goal
    assert changed.extensions[0].handler.version == "2.2.0"
    assert changed.extensions[0].sequence_number == 1


def test_automatic_upgrade_follows_the_catalog() -> None:
    extension = objects.extension(spec={"enableAutomaticUpgrade": True})
    first = compiled(extension).goal
    newer = compiled(extension, images=[objects.image("2.1.0"), objects.image("2.2.0")], last=first).goal
    assert newer.extensions[0].handler.version == "2.2.0"


def test_a_moved_package_reaches_machines_without_a_change_of_the_model() -> None:
    first = compiled(objects.extension()).goal
    moved = objects.image()
    moved["spec"]["package"]["urls"] = ["http://127.0.0.1/elsewhere.zip"]
    again = compiled(objects.extension(), images=[moved], last=first).goal
    assert again.extensions[0].handler.package.urls == ("http://127.0.0.1/elsewhere.zip",)
    assert again.extensions[0].sequence_number == 1


def test_an_unknown_image_waits_a_minute_and_keeps_what_is_in_force() -> None:
    held = compiled(objects.extension(), images=[]).held["uid-hello"]
    assert (held.reason, held.patience_s) == (Reason.UNKNOWN_IMAGE, 60.0)
    first = compiled(objects.extension()).goal
    wants_more = compiled(objects.extension(generation=2, spec={"typeHandlerVersion": "9"}), last=first)
    assert wants_more.held["uid-hello"].reason is Reason.UNKNOWN_IMAGE
    assert wants_more.goal.extensions == first.extensions


def facts(**guest: str) -> Report:
    report = goal_state.parse(objects.goal_state("web-1", compiled().goal.render(), {"guest": guest})).report
    assert report is not None
    return report


def test_what_is_not_for_this_machine_is_stalled_and_one_of_which_nothing_is_known_is_waited_for() -> None:
    images = [objects.image(supports={"os": ["debian"]})]
    unknown = compiled(objects.extension(), images=images)
    held = unknown.held["uid-hello"]
    assert (held.reason, held.patience_s, held.awaits_machine) == (Reason.AGENT_NEVER_REPORTED, None, True)
    wrong = compiled(objects.extension(), images=images, last=unknown.goal, report=facts(os="rhel"))
    assert (wrong.held["uid-hello"].reason, wrong.held["uid-hello"].patience_s) == (Reason.UNSUPPORTED_OS, 0)
    assert not wrong.goal.extensions
    right = compiled(objects.extension(), images=images, last=wrong.goal, report=facts(os="debian"))
    assert not right.held
    assert len(right.goal.extensions) == 1


def test_a_lower_version_comes_by_asking_for_it() -> None:
    images = [objects.image("2.1.0"), objects.image("2.2.0"), objects.image("1.0.0")]
    first = compiled(objects.extension(), images=images).goal
    assert first.extensions[0].handler.version == "2.2.0"
    lower = {"typeHandlerVersion": "2.1", "autoUpgradeMinorVersion": False}
    second = compiled(objects.extension(spec=lower, generation=2), images=images, last=first).goal
    assert (second.extensions[0].handler.version, second.extensions[0].sequence_number) == ("2.1.0", 1)
    third = compiled(objects.extension(spec={"typeHandlerVersion": "1"}, generation=3), images=images, last=second).goal
    assert third.extensions[0].handler.version == "1.0.0"


@pytest.mark.parametrize("whole", [False, True], ids=["the machine", "the operator"])
def test_nothing_changes_while_it_is_paused_and_everything_afterwards(whole: bool) -> None:
    images = [objects.image(type_=f"T{name}") for name in "abc"]

    def one(name: str, **spec: Any) -> dict[str, Any]:
        return objects.extension(name, spec={"type": f"T{name}"} | spec, generation=2)

    first = compiled(one("a"), one("b"), images=images).goal
    machine = objects.machine(spec={"paused": not whole}, generation=2)
    deleted = one("b") | {"metadata": objects.meta("b", deletionTimestamp="2026-01-01T00:00:00Z", generation=3)}
    changed = [one("a", settings={"x": 1}), deleted, one("c")]
    paused = compiled(*changed, images=images, last=first, machine=machine, paused=whole)
    assert paused.goal == first
    assert {uid: held.reason for uid, held in paused.held.items()} == dict.fromkeys(
        ("uid-a", "uid-b", "uid-c"), Reason.PAUSED
    )
    assert not compiled(one("a"), one("b"), images=images, last=first, machine=machine, paused=whole).held
    after = compiled(*changed, images=images, last=paused.goal)
    assert [(entry.name, entry.state) for entry in after.goal.extensions] == [
        ("a", EntryState.ENABLED),
        ("b", EntryState.UNINSTALL),
        ("c", EntryState.ENABLED),
    ]


def test_a_machine_that_is_paused_from_the_start_has_an_empty_goal() -> None:
    machine = objects.machine(spec={"paused": True})
    result = compiled(objects.extension(), machine=machine)
    assert (result.goal.extensions, result.goal.last_sequence_number) == ((), 0)
    assert compiled(objects.extension(), machine=machine, last=result.goal).goal == result.goal
    assert compiled(objects.extension(), last=result.goal).goal.extensions[0].sequence_number == 1


def test_settings_over_the_size_are_held_back() -> None:
    extension = objects.extension(spec={"settings": {"x": "y" * (256 * 1024)}})
    result = compiled(extension)
    assert result.held["uid-hello"].reason is Reason.INVALID_SETTINGS
    assert result.held["uid-hello"].patience_s == 0
    assert not result.goal.extensions


def test_the_youngest_that_does_not_fit_is_held_back_and_the_others_go_on() -> None:
    images = [objects.image(type_=f"T{number}") for number in range(5)]
    extensions = [
        objects.extension(
            f"e{number}",
            spec={"type": f"T{number}", "settings": {"x": "y" * 250_000}},
            creationTimestamp=f"2026-01-01T00:00:0{number}Z",
        )
        for number in range(5)
    ]
    result = compiled(*reversed(extensions), images=images)
    assert [entry.name for entry in result.goal.extensions] == ["e0", "e1", "e2", "e3"]
    assert result.held["uid-e4"].reason is Reason.GOAL_STATE_FULL


def test_a_deleted_extension_is_uninstalled_and_its_number_stays() -> None:
    first = compiled(objects.extension()).goal
    deleted = objects.extension(deletionTimestamp="2026-01-01T00:00:00Z")
    goal = compiled(deleted, last=first).goal
    assert goal.extensions[0].state is EntryState.UNINSTALL
    assert goal.extensions[0].sequence_number == 1


def test_a_deletion_past_its_deadline_or_with_policy_orphan_leaves_it_on_the_machine() -> None:
    first = compiled(objects.extension()).goal
    for spec in ({"deletionTimeout": "5m"}, {"deletionPolicy": "Orphan"}):
        deleted = objects.extension(deletionTimestamp="2026-01-01T00:00:00Z", spec=spec)
        assert compiled(deleted, last=first).goal.extensions[0].state is EntryState.ORPHAN


def test_what_is_missing_is_left_alone_until_the_server_says_that_it_is_gone_and_then_orphaned() -> None:
    first = compiled(objects.extension()).goal
    report = reported(first, "Succeeded")
    assert compiled(last=first, report=report).goal.extensions == first.extensions
    gone = frozenset({"uid-hello"})
    orphaned = compiled(last=first, report=report, gone=gone).goal
    assert orphaned.extensions[0].state is EntryState.ORPHAN
    done = reported(orphaned, "Removed")
    assert not compiled(last=orphaned, report=done, gone=gone).goal.extensions


def test_an_uninstalled_entry_ends_when_the_machine_has_said_so() -> None:
    first = compiled(objects.extension()).goal
    leaving = compiled(objects.extension(deletionTimestamp="2026-01-01T00:09:00Z"), last=first).goal
    gone = frozenset({"uid-hello"})
    still = compiled(last=leaving, report=reported(leaving, "Running"), gone=gone).goal
    assert still.extensions[0].state is EntryState.UNINSTALL
    ended = compiled(last=leaving, report=reported(leaving, "Removed"), gone=gone).goal
    assert (ended.extensions, ended.last_sequence_number) == ((), 1)


def test_of_two_for_one_handler_the_one_in_force_wins_else_the_older() -> None:
    older = objects.extension("b", creationTimestamp="2026-01-01T00:00:00Z")
    younger = objects.extension("a", creationTimestamp="2026-01-01T00:00:05Z", spec={"publisher": "vmext"})
    result = compiled(older, younger)
    assert [entry.name for entry in result.goal.extensions] == ["b"]
    assert result.held["uid-a"].reason is Reason.HANDLER_CONFLICT
    assert result.held["uid-a"].patience_s == 0
    in_force = compiled(younger).goal
    assert [entry.name for entry in compiled(older, younger, last=in_force).goal.extensions] == ["a"]


def test_who_takes_over_a_handler_waits_until_it_is_uninstalled() -> None:
    first = compiled(objects.extension("a")).goal
    leaving = objects.extension("a", deletionTimestamp="2026-01-01T00:09:00Z")
    result = compiled(leaving, objects.extension("b"), last=first)
    assert [(entry.name, entry.state) for entry in result.goal.extensions] == [("a", EntryState.UNINSTALL)]
    assert result.held["uid-b"].patience_s is None
    after = compiled(
        objects.extension("b"), last=result.goal, report=reported(result.goal, "Removed"), gone=frozenset({"uid-a"})
    ).goal
    assert [(entry.name, entry.sequence_number) for entry in after.extensions] == [("b", 2)]


def several(*versions: str) -> list[dict[str, Any]]:
    return [objects.image(version, multiConfig=True) for version in versions]


def test_a_handler_that_takes_several_extensions_has_the_version_of_the_first_for_all_of_them() -> None:
    older = objects.extension("b", creationTimestamp="2026-01-01T00:00:00Z")
    pinned = {"typeHandlerVersion": "2.1.0", "autoUpgradeMinorVersion": False}
    younger = objects.extension("a", creationTimestamp="2026-01-01T00:00:05Z", spec={"enableAutomaticUpgrade": True})
    other = objects.extension("c", creationTimestamp="2026-01-01T00:00:06Z", spec=pinned)

    first = compiled(older, younger, images=several("2.1.0")).goal
    assert [(entry.name, entry.handler.multi_config) for entry in first.extensions] == [("a", True), ("b", True)]

    # The younger one follows the catalog, and the first one does not: they stay together.
    later = compiled(older, younger, images=several("2.1.0", "2.2.0"), last=first).goal
    assert {entry.handler.version for entry in later.extensions} == {"2.1.0"}
    moved = compiled(older, younger, other, images=several("2.1.0", "2.2.0"), last=first)
    assert {entry.handler.version for entry in moved.goal.extensions} == {"2.2.0"}
    assert moved.held["uid-c"].reason is Reason.HANDLER_CONFLICT
    assert "2.2.0" in moved.held["uid-c"].message


def test_one_of_several_may_leave_while_the_others_stay() -> None:
    first = compiled(objects.extension("a"), objects.extension("b"), images=several("2.1.0")).goal
    leaving_ = objects.extension("a", deletionTimestamp="2026-01-01T00:09:00Z")
    goal = compiled(leaving_, objects.extension("b"), images=several("2.1.0"), last=first).goal
    assert [(entry.name, entry.state) for entry in goal.extensions] == [
        ("a", EntryState.UNINSTALL),
        ("b", EntryState.ENABLED),
    ]


def test_limits_and_what_needs_no_package_manager_come_from_the_catalog_also_later() -> None:
    first = compiled(objects.extension()).goal
    image = objects.image(limits={"cpu": "1500m", "memory": "1Gi"}, installsPackages=False)
    (entry,) = compiled(objects.extension(), images=[image], last=first).goal.extensions
    handler = entry.render()["handler"]
    assert handler["limits"] == {"cpuMillicores": 1500, "memoryBytes": 2**30}
    assert handler["installsPackages"] is False
    assert entry.sequence_number == first.extensions[0].sequence_number
    assert {"limits", "installsPackages", "multiConfig"}.isdisjoint(first.extensions[0].render()["handler"])


def behind(goal: Goal, highest: int) -> Report:
    status = {
        "highestSequenceNumber": highest,
        "extensions": {
            entry.name: objects.answer(entry.render(), "Running", reason="SequenceBehind") for entry in goal.extensions
        },
    }
    report = goal_state.parse(objects.goal_state("web-1", goal.render(), status)).report
    assert report is not None
    return report


def test_a_machine_that_has_taken_higher_numbers_is_answered_with_one_above_them() -> None:
    first = compiled(objects.extension("a"), objects.extension("b", spec={"type": "Other"})).goal
    said = behind(first, 41)
    second = compiled(objects.extension("a"), last=first, report=said).goal
    assert [(entry.name, entry.sequence_number) for entry in second.extensions if entry.name == "a"] == [("a", 42)]
    assert second.last_sequence_number == 42
    # The report speaks of the old number still: nothing rises again for it.
    assert compiled(objects.extension("a"), last=second, report=said).goal == second


def test_a_removal_that_is_behind_is_answered_too() -> None:
    first = compiled(objects.extension("a")).goal
    leaving_ = objects.extension("a", deletionTimestamp="2026-01-01T00:09:00Z")
    told = compiled(leaving_, last=first).goal
    (entry,) = compiled(leaving_, last=told, report=behind(told, 7)).goal.extensions
    assert (entry.state, entry.sequence_number) == (EntryState.UNINSTALL, 8)


def leaving(deleted: bool) -> dict[str, Any]:
    return {"deletionTimestamp": "2026-01-01T00:09:00Z"} if deleted else {}


@st.composite
def declared(draw: st.DrawFn, *, deletions: bool) -> list[dict[str, Any]]:
    """Draw extensions of one machine; what can't be changed of one is a function of its name."""
    numbers = draw(st.sets(st.integers(0, 6)))
    return [
        objects.extension(
            f"e{number}",
            generation=draw(st.integers(1, 3)),
            creationTimestamp=f"2026-01-01T00:00:0{number % 4}Z",
            spec={
                "type": ["CustomScript", "Other", "Third"][number % 3],
                "typeHandlerVersion": draw(st.sampled_from(["2", "2.1", "3"])),
                "autoUpgradeMinorVersion": draw(st.booleans()),
                "settings": {"x": draw(st.integers(0, 2))},
            },
            **leaving(deletions and draw(st.booleans())),
        )
        for number in sorted(numbers)
    ]


IMAGES = [
    objects.image(version, type_=type_)
    for type_ in ("CustomScript", "Other")
    for version in ("2.0.0", "2.1.0", "2.2.0")
]


@given(first=declared(deletions=False), second=declared(deletions=True), order=st.randoms(use_true_random=False))
def test_compiling_is_idempotent_independent_of_order_and_never_takes_back_a_number(
    first: list[dict[str, Any]], second: list[dict[str, Any]], order: Any
) -> None:
    before = compiled(*first, images=IMAGES).goal
    once = compiled(*second, images=IMAGES, last=before)
    shuffled = list(second)
    order.shuffle(shuffled)
    assert compiled(*shuffled, images=IMAGES, last=before) == once
    assert compiled(*second, images=IMAGES, last=once.goal).goal == once.goal
    assert once.goal.last_sequence_number >= before.last_sequence_number
    present = {extension["metadata"]["uid"] for extension in second}
    enabled = [one for one in once.goal.extensions if one.state is EntryState.ENABLED and one.uid in present]
    assert len({entry.handler.name for entry in enabled}) == len(enabled)
    uninstalled = {one.uid for one in once.goal.extensions if one.state is EntryState.UNINSTALL}
    deleted = {one["metadata"]["uid"] for one in (*first, *second) if "deletionTimestamp" in one["metadata"]}
    assert uninstalled <= deleted

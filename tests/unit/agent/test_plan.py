"""What the agent decides to do, from a goal and what is on disk."""

from __future__ import annotations

import json

import pytest

from unit.agent import goals
from unit.agent.goals import Folder, Move, disk, entry, goal, record
from unit.agent.model import Machine
from vmext_agent import plan, records, steps
from vmext_agent.records import Disk, Enabled, Failure
from vmext_agent.steps import Step

INSTALLED, ENABLED = Folder(records.INSTALLED), Folder(records.ENABLED)
NOT_INSTALLED = Folder(records.NOT_INSTALLED)
NEW = entry(version="1.1.0", number=2)
UPDATE = ["begin 1.1.0", "disable 1.0.0", "carry 1.1.0", "update 1.1.0", "uninstall 1.0.0", "aside 1.0.0"]


def planned(wanted: goals.Goal, before: Disk) -> list[Step]:
    return list(plan.plan(wanted, before))


def kinds(found: list[Step]) -> list[str]:
    return [f"{step.kind} {step.version}" for step in found]


def before_update(**new: object) -> Disk:
    folders = {"1.0.0": ENABLED, "1.1.0": NOT_INSTALLED._replace(**new)}  # type: ignore[arg-type]
    return disk(record(entry(), enabled=True), folders=folders)


def run(wanted: goals.Goal, before: Disk, fails: dict[str, int] | None = None) -> Machine:
    """Carry out a plan until nothing is left to do."""
    machine = Machine(
        fails=fails or {},
        records=dict(before.records),
        handlers={name: dict(folders) for name, folders in before.handlers.items()},
        moves=dict(before.moves),
        boot=before.boot,
    )
    machine.take(wanted)
    machine.rest()
    return machine


# -- one version


def test_a_new_extension_is_downloaded_installed_and_enabled() -> None:
    found = planned(goal(entry()), disk())

    assert kinds(found) == ["download 1.0.0", "install 1.0.0", "enable 1.0.0"]
    assert found[1].variables == {"AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE": "NOT_RUN"}


def test_what_is_enabled_is_left_alone() -> None:
    wanted = entry()

    assert planned(goal(wanted), disk(record(wanted, enabled=True), folders={"1.0.0": ENABLED})) == []


def test_a_folder_that_can_not_be_used_is_made_anew_or_only_removed() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": Folder(records.UNUSABLE)})

    assert kinds(planned(goal(entry()), before)) == ["download 1.0.0", "install 1.0.0", "enable 1.0.0"]
    assert kinds(planned(goal(entry(state="uninstall")), before)) == ["remove 1.0.0", "forget 1.0.0"]


@pytest.mark.parametrize("again", [entry(number=2), entry(uid="uid-2", number=2)])
def test_a_new_sequence_number_or_uid_enables_again_and_nothing_more(again: goals.Entry) -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(planned(goal(again), before)) == ["enable 1.0.0"]


def test_settings_encrypted_anew_are_written_and_nothing_runs() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(planned(goal(entry(settings='{"a": 1}')), before)) == ["rewrite 1.0.0"]


def test_another_package_of_a_version_that_was_not_installed_is_downloaded() -> None:
    before = disk(record(entry(), verdict=goals.failed()), folders={"1.0.0": NOT_INSTALLED._replace(sha256="a" * 64)})

    assert kinds(planned(goal(entry(number=2)), before))[0] == "install 1.0.0"
    assert kinds(planned(goal(entry(sha256="b" * 64)), before))[0] == "download 1.0.0"


# -- boots


def test_a_new_boot_enables_again_and_nothing_more() -> None:
    wanted = entry()
    before = disk(record(wanted, enabled=True), folders={"1.0.0": ENABLED}, boot="boot-2")

    assert kinds(planned(goal(wanted), before)) == ["enable 1.0.0"]


def test_a_new_boot_enables_what_was_enabled_before_it_goes_on_to_what_is_wanted() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED}, boot="boot-2")

    (again,) = planned(goal(entry(version="1.1.0", number=2)), before)

    assert (again.kind, again.version, again.key.sequence_number, again.back) == ("enable", "1.0.0", 1, True)


def test_a_new_boot_enables_the_old_version_that_is_in_force_after_a_failed_update() -> None:
    machine = run(goal(NEW), before_update(), {"install 1.1.0": 1})
    machine.reboot()

    assert machine.rest() == ["enable 1.0.0"]


def test_a_new_boot_enables_in_the_order_of_dependencies_and_waits_for_their_end() -> None:
    first, second = entry("a", handler="Test.A"), entry("b", handler="Test.B", uid="uid-b", depends_on=("a",))
    machine = Machine()
    machine.take(goal(first, second))
    machine.rest()
    machine.reboot()
    machine.says = {"1.0.0": "Running"}

    assert machine.rest() == ["enable 1.0.0"]
    machine.outcomes["a"] = "Failed"
    assert machine.rest() == ["enable 1.0.0"]
    assert [ran.step.extension for ran in machine.trace[-2:]] == ["a", "b"]


def during_the_boots_enable(number: int = 1) -> Machine:
    """Return a machine whose new boot is enabling 1.0.0 with a number; it was enabled with 1 before."""
    machine = run(goal(entry()), disk())
    machine.reboot()
    machine.take(goal(entry(number=number)))
    machine.step(lasts=True)
    return machine


def test_a_boots_enable_is_seen_through_before_the_version_changes() -> None:
    machine = during_the_boots_enable()
    machine.fails = {"install 1.1.0": 7}

    machine.take(goal(NEW))
    machine.rest()

    assert [(ran.step.kind, ran.code) for ran in machine.trace[2:4]] == [("enable", 0), ("disable", 0)]
    last = machine.trace[-1].step
    assert (last.kind, last.version, last.key.sequence_number) == ("enable", "1.0.0", 1)


def test_a_boots_enable_is_cancelled_for_a_new_number_or_a_removal() -> None:
    again, leaving = goal(entry(number=2)), goal(entry(number=2, state="uninstall"))

    for wanted in (again, leaving):
        machine = during_the_boots_enable()
        machine.take(wanted)
        assert machine.trace[-1].code == -15
        machine.rest()
        assert machine.trace[-1].step.key == wanted.entries[0].key


def test_the_enable_that_comes_before_another_version_is_cancelled_for_a_removal() -> None:
    machine = run(goal(entry()), disk())
    machine.reboot()
    machine.take(goal(NEW))
    machine.step(lasts=True)
    assert machine.running is not None
    assert (machine.running.version, machine.running.back) == ("1.0.0", True)

    machine.take(goal(entry(version="1.1.0", number=3, state="uninstall")))

    assert machine.trace[-1].code == -15
    assert machine.rest() == ["disable 1.0.0", "uninstall 1.0.0", "remove 1.0.0", "forget 1.1.0"]


def test_what_was_enabled_before_an_enable_that_was_cancelled_is_what_a_failed_update_goes_back_to() -> None:
    machine = during_the_boots_enable(number=2)
    machine.fails = {"install 1.1.0": 7}

    machine.take(goal(entry(version="1.1.0", number=3)))
    machine.rest()

    assert [ran.code for ran in machine.trace[2:4]] == [-15, 0]
    found = machine.records["one"].enabled
    assert found is not None
    assert (found.version, found.sequence_number, found.boot) == ("1.0.0", 1, machine.boot)


def test_a_cancelled_enable_that_is_wanted_again_after_all_runs() -> None:
    machine = Machine()
    machine.take(goal(entry()))
    for _ in range(2):
        machine.step()
    machine.step(lasts=True)
    machine.take(goal(entry(version="1.1.0", depends_on=("nobody",)), generation=2))
    assert machine.trace[-1].code == -15

    machine.take(goal(entry(), generation=3))

    assert machine.rest() == ["enable 1.0.0"]


# -- updates


def test_an_update_keeps_the_order_of_the_contract() -> None:
    found = planned(goal(NEW), before_update())

    assert kinds(found) == [*UPDATE, "install 1.1.0", "enable 1.1.0"]
    (update,) = [step for step in found if step.kind == steps.UPDATE]
    assert update.variables == {
        "VERSION": "1.1.0",
        "AZURE_GUEST_AGENT_UPDATING_FROM_VERSION": "1.0.0",
        "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE": "0",
    }
    assert {step.key.sequence_number for step in found} == {2}


def test_an_update_is_downloaded_before_anything_is_touched() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(planned(goal(NEW), before))[:2] == ["download 1.1.0", "begin 1.1.0"]


def test_an_update_without_install_skips_it() -> None:
    assert "install 1.1.0" not in kinds(planned(goal(NEW), before_update(update_with_install=False)))


def test_a_downgrade_runs_update_in_the_old_folder_and_names_the_target_twice() -> None:
    old = entry(version="1.1.0")
    before = disk(record(old, enabled=True), folders={"1.1.0": ENABLED, "1.0.0": NOT_INSTALLED})

    (update,) = [step for step in planned(goal(entry(number=2)), before) if step.kind == steps.UPDATE]

    assert update.version == "1.1.0"
    assert update.variables["VERSION"] == update.variables["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"] == "1.0.0"


def test_an_update_from_a_handler_that_is_not_enabled_says_that_disable_was_not_run() -> None:
    before = disk(record(entry()), folders={"1.0.0": INSTALLED, "1.1.0": NOT_INSTALLED})

    found = planned(goal(NEW), before)

    assert kinds(found)[:3] == ["begin 1.1.0", "carry 1.1.0", "update 1.1.0"]
    assert found[2].variables["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "NOT_RUN"


def test_the_exit_codes_of_the_old_version_reach_the_new_ones_commands() -> None:
    move = Move(
        goals.HANDLER, "1.0.0", "1.1.0", {}, {"disable one": "7", "carry": "0", "update": "0", "uninstall": "5"}
    )
    half = disk(record(NEW), folders={"1.1.0": NOT_INSTALLED}, moves={goals.HANDLER: move})

    found = planned(goal(NEW), half)

    assert [step.variables["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] for step in found] == ["5", "5"]


def test_an_update_comes_to_rest_with_the_new_version_enabled_and_nothing_else_left() -> None:
    machine = run(goal(NEW), before_update())

    assert machine.done == [*UPDATE, "install 1.1.0", "enable 1.1.0", "settle 1.1.0"]
    assert machine.handlers[goals.HANDLER] == {"1.1.0": Folder(records.ENABLED)}
    assert machine.records["one"].is_enabled
    assert not machine.moves
    assert not any(machine.aside.values())


def test_the_old_version_is_kept_until_the_status_of_the_new_one_is_final() -> None:
    machine = Machine(says={"1.1.0": "Running"})
    machine.take(goal(entry()))
    machine.rest()
    machine.take(goal(NEW))
    machine.rest()

    assert machine.done[-1] == "enable 1.1.0"
    assert "1.0.0" in machine.aside[goals.HANDLER]
    machine.outcomes["one"] = "Failed"
    assert machine.rest() == ["settle 1.1.0"]


def test_an_update_that_a_new_number_interrupts_goes_on_where_it_was() -> None:
    move = Move(goals.HANDLER, "1.0.0", "1.1.0", {}, {"disable one": "0", "carry": "0", "update": "0"})
    folders = {"1.0.0": INSTALLED, "1.1.0": NOT_INSTALLED}
    half = disk(record(NEW), folders=folders, moves={goals.HANDLER: move})

    done = run(goal(entry(version="1.1.0", number=3)), half).done

    assert done == ["uninstall 1.0.0", "aside 1.0.0", "install 1.1.0", "enable 1.1.0", "settle 1.1.0"]


# -- the way back

DISABLED = ["begin 1.1.0", "disable 1.0.0"]
UPDATED = [*DISABLED, "carry 1.1.0", "update 1.1.0"]
GONE_BACK = ["uninstall 1.1.0", "restore 1.0.0", "install 1.0.0", "enable 1.0.0", "return 1.1.0"]
WAYS_BACK = {
    "disable 1.0.0": [*DISABLED, "enable 1.0.0", "return 1.1.0"],
    "update 1.1.0": [*UPDATED, "enable 1.0.0", "return 1.1.0"],
    "uninstall 1.0.0": [*UPDATED, "uninstall 1.0.0", "install 1.0.0", "enable 1.0.0", "return 1.1.0"],
    "install 1.1.0": [*UPDATE, "install 1.1.0", *GONE_BACK],
    "enable 1.1.0": [*UPDATE, "install 1.1.0", "enable 1.1.0", *GONE_BACK],
}
REASONS = {
    "disable 1.0.0": ("DisableFailed", 1008),
    "update 1.1.0": ("UpdateFailed", 1008),
    "uninstall 1.0.0": ("UninstallFailed", 1008),
    "install 1.1.0": ("InstallFailed", 1007),
    "enable 1.1.0": ("EnableFailed", 1009),
}


@pytest.mark.parametrize("failing", WAYS_BACK)
def test_a_failed_update_puts_the_old_version_back_in_force_with_its_own_number(failing: str) -> None:
    machine = run(goal(NEW), before_update(), {failing: 7})

    assert machine.done == WAYS_BACK[failing]
    last = machine.trace[-1].step
    assert (last.kind, last.version, last.key.sequence_number) == ("enable", "1.0.0", 1)
    assert machine.disk.in_force(goals.HANDLER) == "1.0.0"
    found = machine.records["one"]
    assert found.enabled is not None
    assert (found.enabled.version, found.enabled.sequence_number) == ("1.0.0", 1)
    assert found.verdict is not None
    assert (found.verdict.outcome, found.verdict.reason, found.verdict.failed_version) == (
        "Failed",
        REASONS[failing][0],
        "1.1.0",
    )
    assert found.handler_status is not None
    assert found.handler_status.code == REASONS[failing][1]
    assert machine.handlers[goals.HANDLER]["1.1.0"].state == records.FAILED_UPGRADE


def test_a_failed_update_is_tried_again_when_its_own_entry_changes_and_not_before() -> None:
    machine = run(goal(NEW), before_update(), {"update 1.1.0": 7})

    machine.take(goal(NEW, entry("other", handler="Test.Other", number=3)))
    assert all("Test.Other" in step.handler for step in planned(machine.goal, machine.disk))
    machine.rest()
    machine.take(goal(entry(version="1.1.0", number=4)))
    machine.fails = {}

    assert machine.rest() == ["download 1.1.0", *UPDATE, "install 1.1.0", "enable 1.1.0", "settle 1.1.0"]


def test_an_old_version_whose_enable_failed_is_put_back_as_it_was() -> None:
    old = Folder(records.ENABLED, number=1)
    unwell = records.HandlerStatus("NotReady", 1009, "it failed")
    known = record(entry(), verdict=goals.failed("EnableFailed"), handler_status=unwell)
    before = disk(known, folders={"1.0.0": old, "1.1.0": NOT_INSTALLED})

    machine = run(goal(entry(version="1.1.0", number=5)), before, {"install 1.1.0": 7})

    install = machine.trace[-1].step
    assert (install.kind, install.version, install.key.sequence_number) == ("install", "1.0.0", 1)


@pytest.mark.parametrize("lost", ["install 1.0.0", "enable 1.0.0"])
def test_a_way_back_that_fails_too_says_so_with_both_outputs(lost: str) -> None:
    machine = run(goal(NEW), before_update(), {"install 1.1.0": 7, lost: 3})

    verdict = machine.records["one"].verdict
    assert verdict is not None
    assert verdict.reason == "RollbackFailed"
    assert verdict.message.count("said so") == 2
    assert machine.done[-1] == "return 1.1.0"


def test_the_way_back_goes_on_past_an_uninstall_that_fails() -> None:
    machine = run(goal(NEW), before_update(), {"enable 1.1.0": 7, "uninstall 1.1.0": 9})

    assert machine.done[-5:] == GONE_BACK
    assert machine.disk.in_force(goals.HANDLER) == "1.0.0"


def test_an_update_that_is_no_longer_wanted_goes_back_before_anything_else() -> None:
    machine = Machine(fails={"install 1.1.0": 56})
    machine.take(goal(entry()))
    machine.rest()
    machine.take(goal(NEW))
    machine.rest()

    machine.take(goal(entry(version="1.2.0", number=3)))
    machine.rest()

    assert machine.done[: machine.done.index("return 1.1.0") + 1] == [
        "take-back 1.1.0",
        "uninstall 1.1.0",
        "restore 1.0.0",
        "install 1.0.0",
        "enable 1.0.0",
        "return 1.1.0",
    ]
    assert machine.disk.in_force(goals.HANDLER) == "1.2.0"
    assert machine.records["one"].verdict is None
    assert set(machine.handlers[goals.HANDLER]) == {"1.2.0"}


def test_a_change_whose_new_version_is_enabled_is_not_taken_back() -> None:
    machine = Machine(says={"1.1.0": "Running"})
    machine.take(goal(entry()))
    machine.rest()
    machine.take(goal(NEW))
    machine.rest()

    machine.take(goal(entry(version="1.2.0", number=3)))

    assert machine.rest()[:3] == ["settle 1.1.0", "download 1.2.0", "begin 1.2.0"]


@pytest.mark.parametrize("failing", ["disable 1.0.0", "uninstall 1.0.0"])
def test_a_failing_old_version_is_passed_over_where_the_new_one_says_so(failing: str) -> None:
    machine = run(goal(NEW), before_update(continue_on_update_failure=True), {failing: 7})

    assert machine.done == [*UPDATE, "install 1.1.0", "enable 1.1.0", "settle 1.1.0"]
    update = next(ran.step for ran in machine.trace if ran.step.kind == steps.UPDATE)
    install = next(ran.step for ran in machine.trace if ran.step.kind == steps.INSTALL)
    codes = update.variables["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"], install.variables[steps.UNINSTALL_CODE]
    assert codes == (("7", "0") if failing.startswith("disable") else ("0", "7"))


def test_an_adopted_handler_goes_back_to_its_newest_settings() -> None:
    folders = {"1.0.0": ENABLED._replace(number=8), "1.1.0": NOT_INSTALLED}

    machine = run(goal(entry(version="1.1.0", number=9)), disk(folders=folders), {"update 1.1.0": 1})

    assert machine.trace[-1].step.key.sequence_number == 8


def test_a_change_of_which_the_record_was_lost_goes_back() -> None:
    move = Move(goals.HANDLER, "1.0.0", "1.1.0", {}, {}, Failure("", "", "StateLost", 0, "lost"))
    half = disk(record(NEW), folders={"1.1.0": NOT_INSTALLED}, moves={goals.HANDLER: move})
    half = half._replace(aside={goals.HANDLER: frozenset({"1.0.0"})})

    assert kinds(planned(goal(NEW), half)) == ["restore 1.0.0", "return 1.1.0"]


# -- removals


def test_an_uninstall_disables_uninstalls_and_removes_every_version() -> None:
    wanted = entry(state="uninstall")
    folders = {"1.0.0": ENABLED, "0.9.0": Folder(records.FAILED_UPGRADE)}

    found = planned(goal(wanted), disk(record(entry(), enabled=True), folders=folders))

    assert kinds(found) == ["disable 1.0.0", "uninstall 1.0.0", "remove 0.9.0", "remove 1.0.0", "forget 1.0.0"]


def test_an_uninstall_of_what_is_not_there_only_says_so() -> None:
    assert kinds(planned(goal(entry(state="uninstall")), disk())) == ["forget 1.0.0"]


def test_an_uninstall_leaves_a_handler_that_another_extension_has_by_now() -> None:
    other = entry("other", uid="uid-2")
    before = disk(record(entry()), record(other, enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(planned(goal(entry(state="uninstall")), before)) == ["forget 1.0.0"]


def test_an_uninstall_in_the_middle_of_an_update_removes_both_versions() -> None:
    move = Move(goals.HANDLER, "1.0.0", "1.1.0", {}, {"disable one": "0", "carry": "0", "update": "0"})
    half = disk(record(NEW), folders={"1.0.0": INSTALLED, "1.1.0": NOT_INSTALLED}, moves={goals.HANDLER: move})

    machine = run(goal(entry(version="1.1.0", number=2, state="uninstall")), half)

    assert machine.done == [
        "uninstall 1.0.0",
        "uninstall 1.1.0",
        "remove 1.0.0",
        "remove 1.1.0",
        "settle 1.1.0",
        "forget 1.1.0",
    ]


def test_an_orphan_stays_on_the_machine() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(planned(goal(entry(state="orphan")), before)) == ["forget 1.0.0"]


def test_what_is_missing_from_the_goal_is_left_alone() -> None:
    assert planned(goal(), disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})) == []


def test_a_failing_disable_aborts_a_removal_and_a_failing_uninstall_does_not() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})
    wanted = goal(entry(state="uninstall"))

    aborted = run(wanted, before, {"disable 1.0.0": 3})
    swallowed = run(wanted, before, {"uninstall 1.0.0": 3})

    assert aborted.done == ["disable 1.0.0"]
    assert swallowed.done[-2:] == ["remove 1.0.0", "forget 1.0.0"]
    verdict = swallowed.records["one"].verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.reason, verdict.message) == ("Removed", "UninstallFailed", "said so")


# -- order


def test_removals_come_first_then_extensions_by_level_and_name() -> None:
    wanted = goal(
        entry("a", handler="Test.A", depends_on=("z",)),
        entry("b", handler="Test.B"),
        entry("c", state="uninstall", handler="Test.C"),
        entry("d", state="uninstall", handler="Test.D", depends_on=("c",)),
        entry("z", handler="Test.Z"),
    )
    machine = Machine()
    machine.take(wanted)

    machine.rest()

    assert kinds(planned(wanted, disk()))[:2] == ["forget 1.0.0", "forget 1.0.0"]
    assert [step.extension for step in planned(wanted, disk())[:2]] == ["d", "c"]
    assert [ran.step.extension for ran in machine.trace] == ["b", "b", "z", "z", "a", "a"]


@pytest.mark.parametrize(
    ("outcome", "suppress", "reason"),
    [("Failed", False, "DependencyFailed"), ("Failed", True, None), ("Running", True, "WaitingForDependency"),
     ("Succeeded", False, None)],
)  # fmt: skip
def test_what_depends_on_another_waits_for_its_success(outcome: str, suppress: bool, reason: str | None) -> None:
    machine = Machine(says={"1.0.0": outcome})
    machine.take(
        goal(
            entry("a", handler="Test.A", suppress_failures=suppress),
            entry("b", handler="Test.B", uid="uid-b", depends_on=("a",)),
        )
    )
    machine.rest()

    held = machine.held("b")
    assert (held.reason if held is not None else None) == reason
    assert ("b" in {ran.step.extension for ran in machine.trace}) == (reason is None)


def test_a_failure_reaches_those_that_depend_on_it_through_others() -> None:
    machine = Machine(fails={"install 1.0.0": 1})
    chain = [entry("a", handler="Test.A"), entry("b", handler="Test.B", depends_on=("a",))]
    machine.take(goal(*chain, entry("c", handler="Test.C", depends_on=("b",))))
    machine.rest()

    held = machine.held("c")
    assert held is not None
    assert held.failed
    assert "b, on which it depends, failed" in held.message


def test_what_depends_on_something_that_is_not_there_waits() -> None:
    machine = Machine()
    machine.take(goal(entry("b", depends_on=("a",))))

    assert machine.rest() == []
    held = machine.held("b")
    assert held is not None
    assert (held.reason, held.failed) == ("WaitingForDependency", False)


# -- multi-config

MULTI = NOT_INSTALLED._replace(multi_config=True)


def multi(name: str, **fields: object) -> goals.Entry:
    return entry(name, uid=f"uid-{name}", multi_config=True, **fields)  # type: ignore[arg-type]


def two(**fields: object) -> goals.Goal:
    return goal(multi("a", **fields), multi("b", **fields))


def with_two() -> Machine:
    machine = Machine(manifests=dict.fromkeys(("1.0.0", "1.1.0"), MULTI))
    machine.take(two())
    machine.rest()
    return machine


def test_a_multi_config_handler_is_installed_once_and_enabled_for_each() -> None:
    machine = with_two()

    assert machine.done == ["download 1.0.0", "install 1.0.0", "enable 1.0.0", "enable 1.0.0"]
    assert machine.handlers[goals.HANDLER]["1.0.0"].enabled == {"a", "b"}


def test_a_multi_config_extension_leaves_the_others_where_they_are() -> None:
    machine = with_two()
    machine.take(goal(multi("a"), multi("b", state="uninstall", number=1)))

    assert machine.rest() == ["disable 1.0.0", "forget 1.0.0"]
    assert machine.handlers[goals.HANDLER]["1.0.0"] == MULTI._replace(
        state=records.ENABLED, enabled=frozenset({"a"}), sha256="a" * 64
    )


def test_the_last_multi_config_extension_takes_the_handler_with_it() -> None:
    machine = with_two()
    machine.take(two(state="uninstall"))

    assert machine.rest() == [
        "disable 1.0.0",
        "forget 1.0.0",
        "disable 1.0.0",
        "uninstall 1.0.0",
        "remove 1.0.0",
        "forget 1.0.0",
    ]


def test_an_update_of_a_multi_config_handler_disables_all_and_tells_their_codes() -> None:
    machine = with_two()
    machine.take(two(version="1.1.0", number=2))
    machine.rest()

    assert machine.done == [
        "download 1.1.0",
        *("begin 1.1.0", "disable 1.0.0", "disable 1.0.0", "carry 1.1.0", "update 1.1.0", "uninstall 1.0.0"),
        *("aside 1.0.0", "install 1.1.0", "enable 1.1.0", "enable 1.1.0", "settle 1.1.0"),
    ]
    update = next(ran.step for ran in machine.trace if ran.step.kind == steps.UPDATE)
    assert json.loads(update.variables["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODES_MULTIPLE_EXTENSIONS"]) == [
        {"extensionName": "a", "exitCode": "0"},
        {"extensionName": "b", "exitCode": "0"},
    ]


def test_an_update_of_a_multi_config_handler_goes_back_for_all_of_them() -> None:
    machine = with_two()
    machine.fails = {"enable 1.1.0": 7}
    machine.take(two(version="1.1.0", number=2))
    machine.rest()

    assert machine.disk.in_force(goals.HANDLER) == "1.0.0"
    assert machine.handlers[goals.HANDLER]["1.0.0"].enabled == {"a", "b"}
    for name in ("a", "b"):
        verdict = machine.records[name].verdict
        assert verdict is not None
        assert (verdict.reason, verdict.failed_version) == ("EnableFailed", "1.1.0")


def test_an_extension_that_is_new_with_the_new_version_takes_nobody_back_with_it() -> None:
    machine = with_two()
    machine.fails = {"enable 1.1.0": 7}
    move = Move(goals.HANDLER, "1.0.0", "1.1.0", {"a": Enabled("uid-a", "1.0.0", 1, goals.BOOT, 0.0)})
    machine.handlers[goals.HANDLER] = {"1.1.0": MULTI._replace(state=records.ENABLED, enabled=frozenset({"a"}))}
    machine.moves[goals.HANDLER] = move
    one = multi("a", version="1.1.0")
    machine.records = {"a": record(one, enabled=True)}
    machine.outcomes["a"] = "Succeeded"
    machine.take(goal(one, multi("c", version="1.1.0", number=3)))

    assert machine.rest() == ["enable 1.1.0", "settle 1.1.0"]
    assert machine.disk.in_force(goals.HANDLER) == "1.1.0"


# -- sequence numbers


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        pytest.param(goal(entry(number=4), last=9, generation=7), "SequenceBehind", id="below its own"),
        pytest.param(goal(entry(number=5, uid="uid-9"), last=5), "SequenceBehind", id="deleted and made anew"),
        pytest.param(goal(entry(number=5, version="0.9.0"), last=9, generation=2, uid="uid-goal"), "SequenceBehind",
                     id="an older incarnation"),
        pytest.param(goal(entry(number=10), last=10, generation=2), None, id="answered"),
        pytest.param(goal(entry(number=5), last=9, generation=3), None, id="what it has"),
        pytest.param(goal(entry("new", number=8), entry(number=5), last=9, generation=4), None, id="a new one"),
        pytest.param(goal(entry("new", number=6), entry(number=5), last=6, generation=4), "SequenceBehind",
                     id="a new one of a restored counter"),
        pytest.param(goal(entry(number=4, state="uninstall", uid="uid-0"), last=4), "SequenceBehind", id="a removal"),
    ],
)  # fmt: skip
def test_sequence_numbers_never_go_back(wanted: goals.Goal, reason: str | None) -> None:
    own = record(entry(number=5), enabled=True)
    machine = Machine(records={"one": own}, handlers={goals.HANDLER: {"1.0.0": ENABLED}})
    machine.highest, machine.incarnation = 9, ("uid-goal", 3)
    machine.goal = wanted

    held = machine.held("new" if any(one.name == "new" for one in wanted.entries) else "one")

    assert (held.reason if held is not None else None) == reason
    if reason is not None:
        assert "9" in (held.message if held is not None else "")
        assert machine.rest() == []


def test_what_policy_forbids_is_not_run_and_not_removed_by_its_own_commands() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED}, forbidden={"one": ("PolicyForbids", "no")})

    assert planned(goal(entry(number=2)), before) == []
    assert planned(goal(entry(state="uninstall")), before) == []
    assert planned(goal(entry()), before._replace(boot="boot-2")) == []
    nothing = disk(forbidden={"one": ("PolicyForbids", "no")})
    assert kinds(planned(goal(entry(state="uninstall")), nothing)) == ["forget 1.0.0"]


def test_what_can_not_be_read_is_not_run_and_what_it_runs_with_is_left_alone() -> None:
    unreadable = {"one": ("ProtectedSettingsInvalid", "no")}
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED}, unreadable=unreadable)

    assert planned(goal(entry(number=2)), before) == []
    assert planned(goal(entry(settings='{"a": 1}')), before) == []
    assert kinds(planned(goal(entry(number=2)), before._replace(boot="boot-2"))) == ["enable 1.0.0"]
    assert kinds(planned(goal(entry(state="uninstall")), before))[:2] == ["disable 1.0.0", "uninstall 1.0.0"]


# -- failures


def test_a_failure_is_not_tried_again_until_the_entry_changes() -> None:
    before = disk(record(entry(), verdict=goals.failed()), folders={"1.0.0": NOT_INSTALLED})

    assert planned(goal(entry()), before) == []
    assert kinds(planned(goal(entry(number=2)), before)) == ["install 1.0.0", "enable 1.0.0"]
    assert kinds(planned(goal(entry(urls=("http://127.0.0.1/other.zip",))), before))[0] == "install 1.0.0"


def test_a_failure_that_may_pass_is_tried_again() -> None:
    before = disk(record(entry(), verdict=goals.failed("DownloadFailed", retry=True)))

    assert kinds(planned(goal(entry()), before))[0] == "download 1.0.0"


def test_going_back_to_what_is_in_force_is_accepted_without_a_command() -> None:
    enabled = record(entry(), enabled=True)
    tried = enabled._replace(key=entry(version="1.1.0").key, verdict=goals.failed("DownloadFailed"))

    assert kinds(planned(goal(entry()), disk(tried, folders={"1.0.0": ENABLED}))) == ["accept 1.0.0"]


def test_what_an_earlier_enable_started_is_disabled_also_after_one_that_failed() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    machine = run(goal(entry(number=2)), before, {"enable 1.0.0": 3})

    assert machine.records["one"].enabled is None
    assert kinds(planned(goal(entry(number=2, state="uninstall")), machine.disk))[0] == "disable 1.0.0"
    # It is not known to work any more: a way back does not enable it.
    machine.take(goal(entry(version="1.1.0", number=3)))
    machine.fails = {"update 1.1.0": 4}
    assert machine.rest()[:4] == ["download 1.1.0", "begin 1.1.0", "disable 1.0.0", "carry 1.1.0"]
    assert "enable 1.0.0" not in machine.done


def test_a_busy_package_manager_is_waited_for_and_then_given_up() -> None:
    machine = Machine(fails={"install 1.0.0": 56})
    machine.take(goal(entry()))
    machine.rest()

    found = machine.records["one"]
    assert (found.verdict, found.busy_until) == (None, 1.0)
    assert machine.retried == {"one"}


# -- their form on disk


def test_a_record_and_a_move_survive_their_way_to_disk() -> None:
    made = record(entry(), enabled=True, verdict=goals.failed(retry=True))
    failure = Failure("install", "one", "InstallFailed", 1007, "why")
    move = Move(goals.HANDLER, "1.0.0", "1.1.0", {"one": Enabled("u", "1.0.0", 3, "b", 1.5)}, {"carry": "0"}, failure)

    assert records.load(records.dump(made), "one") == made
    assert records.load_move(records.dump(move), goals.HANDLER) == move


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"extension": 3}', b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        records.load(data, "one")
    with pytest.raises(ValueError, match=r".*"):
        records.load_move(data, "one")

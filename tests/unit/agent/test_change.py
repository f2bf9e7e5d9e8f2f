"""How the agent gets from one version of a handler to another, and back."""

from __future__ import annotations

import pytest

from unit.agent import goals
from unit.agent.goals import Folder, Move, disk, entry, goal, record
from unit.agent.model import Machine
from unit.agent.planning import ENABLED, INSTALLED, NEW, NOT_INSTALLED, UPDATE, before_update, kinds, planned, run
from vmext_agent import records, steps
from vmext_agent.records import Failure

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

"""What the agent decides to do, from a goal and what is on disk."""

from __future__ import annotations

import pytest

from unit.agent import goals
from unit.agent.goals import Folder, Move, disk, entry, goal, record
from unit.agent.model import Machine
from unit.agent.planning import ENABLED, INSTALLED, NEW, NOT_INSTALLED, before_update, kinds, planned, run
from vmext_agent import records

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


# -- removals


def test_an_uninstall_disables_uninstalls_and_removes_every_version() -> None:
    wanted = entry(state="uninstall")
    folders = {"1.0.0": ENABLED, "0.9.0": Folder(records.FAILED_UPGRADE)}

    found = planned(goal(wanted), disk(record(entry(), enabled=True), folders=folders))

    assert kinds(found) == ["disable 1.0.0", "uninstall 1.0.0", "remove 0.9.0", "remove 1.0.0", "forget 1.0.0"]


def test_an_uninstall_of_what_is_not_there_only_says_so() -> None:
    assert kinds(planned(goal(entry(state="uninstall")), disk())) == ["forget 1.0.0"]


@pytest.mark.parametrize("state", ["enabled", "orphan"])
def test_an_uninstall_leaves_a_handler_that_another_extension_has_by_now_and_says_so(state: str) -> None:
    other = entry("other", uid="uid-2", number=2, state=state)
    before = disk(record(entry()), record(other, enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(planned(goal(entry(state="uninstall"), other), before))[0] == "forget 1.0.0"
    assert removed(run(goal(entry(state="uninstall"), other), before)) == ("HandlerKept", "other")


def test_an_uninstall_takes_a_handler_that_only_something_declared_nowhere_had() -> None:
    """As after a snapshot: another extension of that handler was deleted since, and is on the machine again."""
    before = disk(record(entry("other", uid="uid-2"), enabled=True), folders={"1.0.0": ENABLED})

    for taken_over in (True, False):
        machine = run(goal(entry(number=2)) if taken_over else goal(), before)
        machine.take(goal(entry(number=2, state="uninstall")))

        assert machine.rest() == ["disable 1.0.0", "uninstall 1.0.0", "remove 1.0.0", "forget 1.0.0"]
        assert removed(machine) == ("", "")


def test_a_way_back_enables_what_had_the_handler_last_and_not_what_that_took_over() -> None:
    before = disk(record(entry("other", uid="uid-2"), enabled=True), folders={"1.0.0": ENABLED})
    machine = run(goal(entry(number=2)), before)
    machine.fails = {"update 1.1.0": 7}
    machine.take(goal(entry(number=3, version="1.1.0")))
    machine.rest()

    back = [ran.step.extension for ran in machine.trace if ran.step.back and ran.step.kind == "enable"]
    assert back == ["one"]


def removed(machine: Machine, name: str = "one") -> tuple[str, str]:
    """Return for which reason a removal is none by the handler's uninstall, and who keeps the handler."""
    verdict = machine.records[name].verdict
    assert verdict is not None
    assert verdict.outcome == "Removed"
    return verdict.reason, verdict.kept_by


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        pytest.param(disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED}), "", id="uninstalled"),
        pytest.param(
            disk(record(entry(), enabled=True), folders={"1.0.0": Folder(records.UNUSABLE)}),
            "NotUninstalled",
            id="unusable",
        ),
        pytest.param(
            disk(record(entry(), enabled=True), folders={"0.9.0": Folder(records.UNUSABLE), "1.0.0": ENABLED}),
            "NotUninstalled",
            id="one version unusable",
        ),
        pytest.param(disk(record(entry(), enabled=True)), "NotUninstalled", id="lost"),
        pytest.param(disk(record(entry())), "NothingInstalled", id="never installed"),
        pytest.param(disk(), "NothingInstalled", id="never heard of"),
        pytest.param(disk(record(entry()), folders={"1.0.0": NOT_INSTALLED}), "NothingInstalled", id="downloaded"),
    ],
)
def test_a_removal_claims_an_uninstall_only_where_one_was_run(before: records.Disk, reason: str) -> None:
    assert removed(run(goal(entry(state="uninstall")), before)) == (reason, "")


def test_what_is_left_as_it_is_claims_nothing() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert removed(run(goal(entry(state="orphan")), before)) == ("", "")


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
    assert (found.verdict, found.busy_until) == (None, records.Deadline(goals.BOOT, 1.0))
    assert machine.retried == {"one"}

"""What the agent decides to do, from a goal and what is on disk."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.agent import goals
from unit.agent.goals import Folder, Move, disk, entry, goal, record
from vmext_agent import lifecycle, plan, records
from vmext_agent.lifecycle import Result
from vmext_agent.plan import Step
from vmext_agent.records import Disk

INSTALLED, ENABLED = Folder(records.INSTALLED), Folder(records.ENABLED)


def kinds(steps: list[Step]) -> list[str]:
    return [f"{step.kind} {step.version}" for step in steps]


def test_a_new_extension_is_downloaded_installed_and_enabled() -> None:
    steps = plan.plan(goal(entry()), disk())

    assert kinds(steps) == ["download 1.0.0", "install 1.0.0", "enable 1.0.0"]
    assert steps[1].variables == {"AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE": "NOT_RUN"}


def test_what_is_enabled_is_left_alone() -> None:
    wanted = entry()

    assert plan.plan(goal(wanted), disk(record(wanted, enabled=True), folders={"1.0.0": ENABLED})) == []


def test_a_folder_that_can_not_be_used_is_made_anew_or_only_removed() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": Folder(records.UNUSABLE)})

    assert kinds(plan.plan(goal(entry()), before)) == ["download 1.0.0", "install 1.0.0", "enable 1.0.0"]
    assert kinds(plan.plan(goal(entry(state="uninstall")), before)) == ["remove 1.0.0", "forget 1.0.0"]


def test_a_new_boot_enables_again_and_nothing_more() -> None:
    wanted = entry()
    before = disk(record(wanted, enabled=True), folders={"1.0.0": ENABLED}, boot="boot-2")

    assert kinds(plan.plan(goal(wanted), before)) == ["enable 1.0.0"]


@pytest.mark.parametrize("again", [entry(number=2), entry(uid="uid-2", number=2)])
def test_a_new_sequence_number_or_uid_enables_again_and_nothing_more(again: goals.Entry) -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(plan.plan(goal(again), before)) == ["enable 1.0.0"]


def test_an_update_keeps_the_order_of_the_contract() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED, "1.1.0": Folder(records.NOT_INSTALLED)})

    steps = plan.plan(goal(entry(version="1.1.0", number=2)), before)

    assert kinds(steps) == [
        "disable 1.0.0",
        "carry 1.1.0",
        "update 1.1.0",
        "uninstall 1.0.0",
        "remove 1.0.0",
        "install 1.1.0",
        "enable 1.1.0",
    ]
    assert steps[2].variables == {
        "VERSION": "1.1.0",
        "AZURE_GUEST_AGENT_UPDATING_FROM_VERSION": "1.0.0",
        "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE": "0",
    }
    assert {step.key.sequence_number for step in steps} == {2}


def test_an_update_is_downloaded_before_anything_is_touched() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(plan.plan(goal(entry(version="1.1.0", number=2)), before))[0] == "download 1.1.0"


def test_an_update_without_install_skips_it() -> None:
    new = Folder(records.NOT_INSTALLED, update_with_install=False)
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED, "1.1.0": new})

    assert "install 1.1.0" not in kinds(plan.plan(goal(entry(version="1.1.0", number=2)), before))


def test_a_downgrade_runs_update_in_the_old_folder_and_names_the_target_twice() -> None:
    old = entry(version="1.1.0")
    before = disk(record(old, enabled=True), folders={"1.1.0": ENABLED, "1.0.0": Folder(records.NOT_INSTALLED)})

    (update,) = [step for step in plan.plan(goal(entry(number=2)), before) if step.kind == plan.UPDATE]

    assert update.version == "1.1.0"
    assert update.variables["VERSION"] == update.variables["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"] == "1.0.0"


def test_an_update_from_a_handler_that_is_not_enabled_says_that_disable_was_not_run() -> None:
    before = disk(record(entry()), folders={"1.0.0": INSTALLED, "1.1.0": Folder(records.NOT_INSTALLED)})

    steps = plan.plan(goal(entry(version="1.1.0", number=2)), before)

    assert kinds(steps)[:2] == ["carry 1.1.0", "update 1.1.0"]
    assert steps[1].variables["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "NOT_RUN"


def test_an_uninstall_disables_uninstalls_and_removes_every_version() -> None:
    wanted = entry(state="uninstall")
    folders = {"1.0.0": ENABLED, "0.9.0": Folder(records.FAILED_UPGRADE)}

    steps = plan.plan(goal(wanted), disk(record(entry(), enabled=True), folders=folders))

    assert kinds(steps) == ["disable 1.0.0", "uninstall 1.0.0", "remove 0.9.0", "remove 1.0.0", "forget 1.0.0"]


def test_an_uninstall_of_what_is_not_there_only_says_so() -> None:
    assert kinds(plan.plan(goal(entry(state="uninstall")), disk())) == ["forget 1.0.0"]


def test_an_uninstall_leaves_a_handler_that_another_extension_has_by_now() -> None:
    other = entry("other", uid="uid-2")
    before = disk(record(entry()), record(other, enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(plan.plan(goal(entry(state="uninstall")), before)) == ["forget 1.0.0"]


def test_an_orphan_stays_on_the_machine() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    assert kinds(plan.plan(goal(entry(state="orphan")), before)) == ["forget 1.0.0"]


def test_what_is_missing_from_the_goal_is_left_alone() -> None:
    assert plan.plan(goal(), disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})) == []


def test_removals_come_first_then_extensions_by_name() -> None:
    wanted = goal(entry("a"), entry("b", handler="Test.B"), entry("c", state="uninstall", handler="Test.C"))

    assert [step.extension for step in plan.plan(wanted, disk())] == ["c", "a", "a", "a", "b", "b", "b"]


def test_a_failure_is_not_tried_again_until_the_entry_changes() -> None:
    before = disk(record(entry(), verdict=goals.failed()), folders={"1.0.0": Folder(records.NOT_INSTALLED)})

    assert plan.plan(goal(entry()), before) == []
    assert kinds(plan.plan(goal(entry(number=2)), before)) == ["install 1.0.0", "enable 1.0.0"]
    assert kinds(plan.plan(goal(entry(urls=("http://127.0.0.1/other.zip",))), before))[0] == "install 1.0.0"


def test_a_failure_that_may_pass_is_tried_again() -> None:
    before = disk(record(entry(), verdict=goals.failed("DownloadFailed", retry=True)))

    assert kinds(plan.plan(goal(entry()), before))[0] == "download 1.0.0"


def test_going_back_to_what_is_in_force_is_accepted_without_a_command() -> None:
    enabled = record(entry(), enabled=True)
    tried = enabled._replace(key=entry(version="1.1.0").key, verdict=goals.failed("DownloadFailed"))

    assert kinds(plan.plan(goal(entry()), disk(tried, folders={"1.0.0": ENABLED}))) == ["accept 1.0.0"]


def run(wanted: goals.Goal, before: Disk, fails: dict[str, int] | None = None) -> tuple[list[str], Disk]:
    """Carry out a plan as the executor does, on values; `fails` are exit codes by ``<kind> <version>``."""
    done: list[str] = []
    found = {name: dict(folders) for name, folders in before.handlers.items()}
    known = dict(before.records)
    now = Disk(known, found, before.boot)
    while steps := plan.plan(wanted, now):
        step = steps[0]
        of = wanted.entry(step.extension)
        assert of is not None
        assert len(done) < 40, f"it does not come to rest: {done}"
        done.append(f"{step.kind} {step.version}")
        record_ = known.get(step.extension)
        if record_ is None or record_.key != of.key:
            record_ = records.begin(record_, of, goals.NOW)
        folders = found.setdefault(step.handler, {})
        if step.kind == plan.DOWNLOAD:
            folders[step.version] = Folder(records.NOT_INSTALLED)
        elif step.kind == plan.CARRY:
            record_ = lifecycle.carried(record_, step)
        elif step.kind == plan.REMOVE:
            del folders[step.version]
            new = folders.get(step.key.version)
            if new is not None and not new.update_with_install and step.key.state == "enabled":
                folders[step.key.version] = new._replace(state=records.INSTALLED)
        elif step.kind == plan.FORGET:
            record_ = lifecycle.forgotten(record_, goals.NOW)
        elif step.kind in plan.COMMANDS:
            result = Result((fails or {}).get(done[-1], 0), "said so")
            concluded = lifecycle.conclude(record_, step, result, now, now=goals.NOW, started=before.boot, until=0.0)
            record_ = concluded.record
            if concluded.state is not None:
                folders[step.version] = folders[step.version]._replace(state=concluded.state)
        known[step.extension] = record_
    return done, now


def test_an_update_comes_to_rest_with_the_new_version_enabled() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})
    wanted = entry(version="1.1.0", number=2)

    done, after = run(goal(wanted), before)

    assert done[0] == "download 1.1.0"
    assert done[-1] == "enable 1.1.0"
    assert after.handlers[goals.HANDLER] == {"1.1.0": ENABLED}
    assert after.records["one"].is_enabled
    assert after.records["one"].move is None


def test_an_update_that_a_new_number_interrupts_goes_on_where_it_was() -> None:
    move = Move("1.0.0", "1.1.0", {"disable": "0", "carry": "0", "update": "0"})
    half = record(entry(version="1.1.0", number=2), move=move)
    before = disk(half, folders={"1.0.0": INSTALLED, "1.1.0": Folder(records.NOT_INSTALLED)})

    done, _ = run(goal(entry(version="1.1.0", number=3)), before)

    assert done == ["uninstall 1.0.0", "remove 1.0.0", "install 1.1.0", "enable 1.1.0"]


def test_a_failed_update_command_ends_it_and_leaves_the_old_version_disabled() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    done, after = run(goal(entry(version="1.1.0", number=2)), before, {"update 1.1.0": 7})

    assert done[-1] == "update 1.1.0"
    assert after.handlers[goals.HANDLER]["1.1.0"].state == records.FAILED_UPGRADE
    assert after.in_force(goals.HANDLER) == "1.0.0"
    verdict = after.records["one"].verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.reason) == ("Failed", "UpdateFailed")


@pytest.mark.parametrize("failing", ["disable 1.0.0", "uninstall 1.0.0"])
def test_a_failing_old_version_aborts_an_update_unless_the_new_one_says_to_go_on(failing: str) -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED, "1.1.0": Folder(records.NOT_INSTALLED)})
    brave = Folder(records.NOT_INSTALLED, continue_on_update_failure=True)
    braver = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED, "1.1.0": brave})
    wanted = goal(entry(version="1.1.0", number=2))

    aborted, after = run(wanted, before, {failing: 7})
    went_on, _ = run(wanted, braver, {failing: 7})

    assert aborted[-1] == failing
    status = after.records["one"].handler_status
    assert status is not None
    assert status.code == 1008
    assert went_on[-1] == "enable 1.1.0"


def test_the_exit_codes_of_the_old_version_reach_the_new_ones_commands() -> None:
    move = Move("1.0.0", "1.1.0", {"disable": "7", "carry": "0", "update": "0", "uninstall": "5"})
    half = record(entry(version="1.1.0", number=2), move=move)

    steps = plan.plan(goal(entry(version="1.1.0", number=2)), disk(half, folders={"1.1.0": Folder("NotInstalled")}))

    assert [step.variables["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] for step in steps] == ["5", "5"]


def test_a_failing_disable_aborts_a_removal_and_a_failing_uninstall_does_not() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})
    wanted = goal(entry(state="uninstall"))

    aborted, _ = run(wanted, before, {"disable 1.0.0": 3})
    swallowed, after = run(wanted, before, {"uninstall 1.0.0": 3})

    assert aborted == ["disable 1.0.0"]
    assert swallowed[-2:] == ["remove 1.0.0", "forget 1.0.0"]
    verdict = after.records["one"].verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.reason, verdict.message) == ("Removed", "UninstallFailed", "said so")


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1, "InstallFailed"), (51, "UnsupportedOS"), (52, "MissingDependency"), (53, "InvalidConfiguration"),
     (126, "NotExecutable"), (127, "MissingInterpreter")],
)  # fmt: skip
def test_exit_codes_with_a_meaning_become_reasons(code: int, reason: str) -> None:
    _, after = run(goal(entry()), disk(), {"install 1.0.0": code})

    verdict, status = after.records["one"].verdict, after.records["one"].handler_status
    assert verdict is not None
    assert status is not None
    assert (verdict.reason, status.code) == (reason, 1007)


def test_a_record_survives_its_way_to_disk() -> None:
    move = Move("1.0.0", "1.1.0", {"disable": "0"})
    made = record(entry(), enabled=True, move=move, verdict=goals.failed(retry=True))

    assert records.load(records.dump(made), "one") == made


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"extension": 3}', b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        records.load(data, "one")


STEPS = st.sampled_from([f"{kind} {version}" for kind in plan.COMMANDS for version in ("1.0.0", "1.1.0", "2.0.0")])
GOALS = st.lists(
    st.tuples(
        st.sampled_from(["1.0.0", "1.1.0", "2.0.0"]),
        st.sampled_from(["enabled", "enabled", "enabled", "uninstall", "orphan"]),
        st.dictionaries(STEPS, st.integers(1, 255), max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(GOALS)
def test_whatever_is_asked_for_and_fails_it_comes_to_rest_there_or_says_why(
    asked: list[tuple[str, str, dict[str, int], bool]],
) -> None:
    now = disk()
    for number, (version, state, fails, reboots) in enumerate(asked, 1):
        wanted = goal(entry(version=version, state=state, number=number))
        if reboots:
            now = now._replace(boot=f"boot-{number}")

        done, now = run(wanted, now, fails)

        folders, known = now.handlers.get(goals.HANDLER, {}), now.records["one"]
        assert len(done) == len(set(done)), "no command runs twice for one entry and boot"
        assert sum(folder.state == records.ENABLED for folder in folders.values()) <= 1
        assert plan.plan(wanted, now) == []
        if known.verdict is not None and known.verdict.outcome == "Failed":
            assert fails.keys() & set(done)
        elif state == "enabled":
            assert known.is_enabled
            assert now.in_force(goals.HANDLER) == version
        elif state == "uninstall":
            assert not folders
        else:
            assert done == ["forget " + version]


def test_a_failed_enable_leaves_the_handler_installed_and_not_enabled() -> None:
    before = disk(record(entry(), enabled=True), folders={"1.0.0": ENABLED})

    _, after = run(goal(entry(number=2)), before, {"enable 1.0.0": 3})

    assert after.handlers[goals.HANDLER] == {"1.0.0": INSTALLED}
    assert after.records["one"].enabled is None

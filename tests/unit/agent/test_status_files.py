"""What of a status file counts: nothing that was there before its enable first began, and all that came since."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unit.agent import goals
from unit.agent.goals import HANDLER, Folder, Goal
from vmext_agent import change, lifecycle, records, report, status, status_files, steps
from vmext_agent.goal_state import Key
from vmext_agent.handler import Handler
from vmext_agent.layout import Layout
from vmext_agent.records import Attempt, Disk, Enabled, Move, Record
from vmext_agent.status import ExtensionStatus
from vmext_agent.steps import Step

KEY = Key("uid-1", "enabled", 1, "1.0.0")
ENABLED, INSTALLED = Folder(records.ENABLED), Folder(records.INSTALLED)


def enable(key: Key = KEY) -> Step:
    return Step(steps.ENABLE, "one", HANDLER, key.version, key)


class Machine:
    """Folders of a handler's versions on a disk, and what commands write into them."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root))
        self.folders: dict[str, Folder] = {}
        self.record = goals.record(goals.entry())
        self.boot = goals.BOOT

    @property
    def disk(self) -> Disk:
        return goals.disk(self.record, folders=self.folders, boot=self.boot)

    def has(self, version: str, folder: Folder = INSTALLED) -> Handler:
        """Have a version of the handler."""
        handler = Handler(self.layout, HANDLER, version)
        handler.make()
        self.folders[version] = folder
        return handler

    def path(self, version: str, number: int) -> Path:
        return Path(Handler(self.layout, HANDLER, version).status_file(number))

    def tells(self, version: str, number: int) -> str | None:
        path = self.path(version, number)
        return path.read_text() if path.exists() else None

    def begins(self, step: Step) -> None:
        """Begin a command, as the executor does; the agent is killed once before the record is saved."""
        status_files.begin(self.record, step, self.disk, self.layout)
        self.record = status_files.begin(self.record, step, self.disk, self.layout)

    def has_enabled(self, key: Key) -> None:
        enabled = Enabled(key.uid, key.version, key.sequence_number, self.boot, 0.0)
        self.record = self.record._replace(enabled=enabled, key=key)
        self.folders[key.version] = ENABLED

    def changes(self, target: str, number: int) -> tuple[Move, Goal]:
        """Go through a change of version up to the new one's enable; each command writes under the new number."""
        entry = goals.entry(version=target, number=number)
        move = change.new_move(entry, self.record.key.version, self.disk)
        status_files.keep(move, self.disk, self.layout)
        self.has(target, INSTALLED)
        for kind, version in ((steps.DISABLE, move.source), (steps.UPDATE, target), (steps.INSTALL, target)):
            if kind == steps.UPDATE:
                status_files.carry(move, goals.goal(entry), self.disk, self.layout)
            self.begins(Step(kind, "one", HANDLER, version, entry.key))
            self.path(version, number).write_text(f"{kind} of {version}")
        self.record = self.record._replace(enabled=None, key=entry.key)
        return move, goals.goal(entry)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_other_commands_wrote_is_gone_when_an_enable_begins_ten_times(machine: Machine) -> None:
    machine.has("1.0.0")
    machine.has_enabled(KEY)
    for number in range(2, 12):
        version = f"1.{number}.0"
        move, goal = machine.changes(version, number)
        assert machine.tells(version, number) == f"install of {version}"

        machine.begins(enable(goal.entries[0].key))

        assert machine.tells(version, number) is None
        machine.path(version, number).write_text(f"ran {number}")
        # Cut off and begun again it keeps what it wrote.
        machine.begins(enable(goal.entries[0].key))
        assert machine.tells(version, number) == f"ran {number}"
        machine.has_enabled(goal.entries[0].key)
        del machine.folders[move.source]


def test_what_was_told_under_the_same_number_counts_on_for_another_version(machine: Machine) -> None:
    machine.has("1.0.0")
    machine.begins(enable())
    machine.path("1.0.0", 1).write_text("ran 1")
    machine.has_enabled(KEY)

    _, goal = machine.changes("1.1.0", 1)
    machine.begins(enable(goal.entries[0].key))

    assert machine.tells("1.1.0", 1) == "ran 1"


def test_of_a_number_that_was_told_nothing_the_next_version_tells_nothing_either(machine: Machine) -> None:
    machine.has("1.0.0")
    machine.begins(enable())
    machine.has_enabled(KEY)

    _, goal = machine.changes("1.1.0", 1)
    machine.begins(enable(goal.entries[0].key))

    assert machine.tells("1.1.0", 1) is None


def test_an_enable_that_failed_with_its_exit_status_is_remembered_like_one_that_ended_well(machine: Machine) -> None:
    machine.has("1.0.0")
    machine.begins(enable())
    machine.path("1.0.0", 1).write_text("error of 1")

    _, goal = machine.changes("1.1.0", 1)
    machine.begins(enable(goal.entries[0].key))

    assert machine.tells("1.1.0", 1) == "error of 1"


def test_the_way_back_puts_back_what_was_told(machine: Machine) -> None:
    old = machine.has("1.0.0")
    machine.begins(enable())
    machine.path("1.0.0", 1).write_text("ran 1")
    machine.has_enabled(KEY)
    machine.changes("1.1.0", 2)

    # The old version's install, on the way back, is given its old number.
    back = Step(steps.INSTALL, "one", HANDLER, "1.0.0", KEY, back=True)
    machine.begins(back)
    machine.path("1.0.0", 1).write_text("install of 1.0.0")
    machine.begins(enable()._replace(back=True))

    assert machine.tells("1.0.0", 1) == "ran 1"
    status_files.end(enable(), old, "")
    machine.path("1.0.0", 1).write_text("later")
    machine.begins(enable()._replace(back=True))
    assert machine.tells("1.0.0", 1) == "later"


def test_a_new_boot_keeps_what_is_there_and_notes_it(machine: Machine) -> None:
    machine.has("1.0.0")
    machine.begins(enable())
    machine.path("1.0.0", 1).write_text("ran 1")
    machine.has_enabled(KEY)
    first = machine.record.attempt

    machine.boot = "boot-2"
    machine.begins(enable())

    assert machine.tells("1.0.0", 1) == "ran 1"
    identity = status_files.identity(str(machine.path("1.0.0", 1)))
    assert (first, machine.record.attempt) == (
        Attempt("uid-1", "1.0.0", 1),
        Attempt("uid-1", "1.0.0", 1, identity),
    )


def test_where_the_record_is_lost_the_handlers_folder_tells_what_was_enabled(machine: Machine) -> None:
    handler = machine.has("1.0.0", ENABLED)
    handler.write_settings(1, b"{}")
    machine.path("1.0.0", 1).write_text("ran 1")
    machine.path("1.0.0", 2).write_text("a word from nowhere")

    machine.begins(enable())
    assert machine.tells("1.0.0", 1) == "ran 1"

    machine.record = machine.record._replace(attempt=None)
    machine.begins(enable(KEY._replace(sequence_number=2)))
    assert machine.tells("1.0.0", 2) is None


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_file_stops_no_change(machine: Machine, kind: str) -> None:
    machine.has("1.0.0")
    machine.has_enabled(KEY)
    path = machine.path("1.0.0", 1)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")

    _, goal = machine.changes("1.1.0", 2)
    machine.begins(enable(goal.entries[0].key))

    assert machine.tells("1.1.0", 2) is None


@pytest.mark.parametrize(
    ("attempt", "enabled", "is_known", "first"),
    [
        (None, None, False, True),
        (None, None, True, False),
        (Attempt("uid-1", "1.0.0", 1), None, False, False),
        (Attempt("uid-1", "1.0.0", 1), None, True, False),
        (Attempt("uid-1", "1.0.0", 2), None, True, True),
        (Attempt("uid-1", "1.1.0", 1), None, True, True),
        (Attempt("uid-0", "1.0.0", 1), None, True, True),
        (None, Enabled("uid-1", "1.0.0", 1, "b", 0.0), False, False),
        (None, Enabled("uid-1", "1.0.0", 2, "b", 0.0), True, True),
        (Attempt("uid-1", "1.1.0", 2), Enabled("uid-1", "1.0.0", 1, "b", 0.0), False, False),
    ],
)
def test_the_first_attempt_is_told_by_uid_version_and_number(
    attempt: Attempt | None, enabled: Enabled | None, is_known: bool, first: bool
) -> None:
    record: Record = goals.record(goals.entry())._replace(attempt=attempt, enabled=enabled)

    assert lifecycle.is_first_attempt(record, enable(), is_known=is_known) is first


TRANSITIONING = ExtensionStatus(status.TRANSITIONING)
AGAIN = Attempt("uid-1", "1.0.0", 1, "noted")


@pytest.mark.parametrize(
    ("attempt", "said", "identity", "boot", "now", "over"),
    [
        (AGAIN, TRANSITIONING, "noted", goals.BOOT, 0.0, True),
        # It wrote nothing, neither before nor since.
        (AGAIN._replace(before=""), None, "", goals.BOOT, 0.0, True),
        # It was begun once.
        (AGAIN._replace(before=None), TRANSITIONING, "noted", goals.BOOT, 0.0, False),
        (AGAIN._replace(before=None), None, "", goals.BOOT, 0.0, False),
        # It has written since.
        (AGAIN, TRANSITIONING, "other", goals.BOOT, 0.0, False),
        # It had ended.
        (AGAIN, ExtensionStatus(status.SUCCESS), "noted", goals.BOOT, 0.0, False),
        (AGAIN, ExtensionStatus(status.ERROR), "noted", goals.BOOT, 0.0, False),
        # This boot has not enabled it yet.
        (AGAIN, TRANSITIONING, "noted", "boot-2", 0.0, False),
        # Its time is over: that is said already.
        (AGAIN, TRANSITIONING, "noted", goals.BOOT, 60.0, False),
        # It was another enable.
        (AGAIN._replace(sequence_number=2), TRANSITIONING, "noted", goals.BOOT, 0.0, False),
        (None, TRANSITIONING, "noted", goals.BOOT, 0.0, False),
    ],
)
def test_what_may_be_over_is_what_has_written_nothing_since_it_was_begun_again(
    attempt: Attempt | None, said: ExtensionStatus | None, identity: str, boot: str, now: float, over: bool
) -> None:
    record = goals.record(goals.entry(), enabled=True)
    assert record.enabled is not None
    record = record._replace(attempt=attempt, enabled=record.enabled._replace(until=60.0))

    assert lifecycle.may_not_be_resumed(record, said, identity, boot=boot, now=now) is over


def test_what_was_not_resumed_has_failed_until_it_writes_again() -> None:
    record = goals.record(goals.entry(), enabled=True, attempt=AGAIN)
    assert record.enabled is not None
    record = record._replace(enabled=record.enabled._replace(until=60.0, not_resumed=goals.NOW))

    assert lifecycle.outcome(record, TRANSITIONING, 0.0, "noted") == lifecycle.FAILED
    assert lifecycle.outcome(record, TRANSITIONING, 0.0, "later") == lifecycle.RUNNING
    assert lifecycle.outcome(record, ExtensionStatus(status.SUCCESS), 0.0, "later") == lifecycle.SUCCEEDED
    document = report.extension(
        record, operation="", said=TRANSITIONING, ended="", now=0.0, identity="noted", version="1.0.0"
    )
    assert (document["reason"], document["endTime"]) == ("NotResumed", goals.NOW)
    assert records.load(records.dump(record), "one") == record

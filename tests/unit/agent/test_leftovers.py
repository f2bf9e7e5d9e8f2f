"""What a handler leaves running: who is found, who is spared, and that it ends."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.waiting import eventually
from vmext_agent import leftovers
from vmext_agent.leftovers import Ending

FOLDER = "/var/lib/waagent/Test.Leftovers-1.2.3"
VARIABLE = "AZURE_GUEST_AGENT_EXTENSION_PATH"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for one in started:
        one.kill()
        one.wait()


def begin(
    processes: list[subprocess.Popen[bytes]], script: str = "exec sleep 1000", **environment: str
) -> subprocess.Popen[bytes]:
    made = subprocess.Popen(["sh", "-c", script], env={"PATH": os.environ["PATH"], **environment})
    processes.append(made)
    return made


def test_who_has_the_handlers_folder_in_its_environment_is_found_and_nobody_else(
    processes: list[subprocess.Popen[bytes]],
) -> None:
    own = begin(processes, **{VARIABLE: FOLDER})
    begin(processes, **{VARIABLE: f"{FOLDER}.4"})
    begin(processes, **{VARIABLE: FOLDER.rpartition("-")[0]})
    begin(processes, OTHER=f"{VARIABLE}={FOLDER}")

    eventually(lambda: leftovers.find(FOLDER, ()) == [own.pid])


def test_members_of_its_group_are_found_without_any_environment(processes: list[subprocess.Popen[bytes]]) -> None:
    member = begin(processes)

    assert leftovers.find(FOLDER, [member.pid]) == [member.pid]


def test_init_the_agent_and_its_parent_are_spared_whoever_names_them() -> None:
    assert leftovers.find(FOLDER, [1, os.getpid(), os.getppid()]) == []


def test_who_listens_to_sigterm_ends_at_once(processes: list[subprocess.Popen[bytes]]) -> None:
    child = begin(processes)
    ending = Ending([child.pid], 30.0)

    eventually(lambda: child.poll() is not None and ending.is_over())
    assert child.returncode == -15


def test_who_does_not_is_killed_when_its_time_is_over(processes: list[subprocess.Popen[bytes]]) -> None:
    child = begin(processes, "trap '' TERM; echo; while :; do sleep 0.1; done")
    time.sleep(0.2)
    ending = Ending([child.pid], 0.3)

    assert not ending.is_over()
    eventually(lambda: (ending.is_over(), child.poll() is not None)[1] and ending.is_over())
    assert child.returncode == -9


def test_a_number_that_is_somebody_elses_by_now_is_left_alone(processes: list[subprocess.Popen[bytes]]) -> None:
    child = begin(processes, "trap '' TERM; while :; do sleep 0.1; done")
    time.sleep(0.1)
    ending = Ending([child.pid], 0.0)
    # As if the number had gone to a process that began later.
    ending._left = {child.pid: 1}

    assert ending.is_over()
    assert child.poll() is None


def test_work_is_seen_by_group_environment_folder_and_command_line(
    processes: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    folder = str(tmp_path / "Test.Leftovers-1.2.3")
    for path in (folder, f"{folder}.4"):
        Path(path).mkdir()
    beside = begin(processes, f"cd {folder}.4 && exec sleep 1000", **{VARIABLE: f"{folder}.4"})
    assert not leftovers.is_at_work(folder, ())

    assert leftovers.is_at_work(folder, [beside.pid])
    for script, environment in (
        ("exec sleep 1000", {VARIABLE: folder}),
        (f"cd {folder}; exec sleep 1000", {}),
        (f"exec sh -c 'sleep 1000; :' {folder}/handler", {}),
    ):
        made = begin(processes, script, **environment)
        eventually(lambda: leftovers.is_at_work(folder, ()))
        made.kill()
        made.wait()
        eventually(lambda: not leftovers.is_at_work(folder, ()))


def test_what_runs_for_another_extension_of_the_handler_is_no_work_of_this_one(
    processes: list[subprocess.Popen[bytes]],
) -> None:
    made = begin(processes, **{VARIABLE: FOLDER, "ConfigExtensionName": "two"})

    eventually(lambda: leftovers.is_at_work(FOLDER, [made.pid], "two"))
    assert not leftovers.is_at_work(FOLDER, [made.pid], "one")

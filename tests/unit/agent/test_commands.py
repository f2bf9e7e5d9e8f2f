"""The shell that outlives the agent: what it records, what it holds, and who may run beside it."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from support.waiting import eventually
from vmext_agent import clock, commands, process
from vmext_agent.cgroups import Placement
from vmext_agent.commands import Found, Order, Running
from vmext_agent.errors import CommandLostError

BOOT = "boot-1/5"
PATH = {"PATH": os.environ["PATH"]}


def order(line: str, folder: Path, **options: object) -> Order:
    return Order(line, str(folder), PATH, 60.0, {"what": "a test"}, **options)  # type: ignore[arg-type]


def start(tmp_path: Path, line: str, **options: object) -> Running:
    return commands.start(str(tmp_path / "command"), order(line, tmp_path, **options), 1, BOOT)


def code(running: Running) -> int:
    """Wait for a command's end; return its exit code."""
    found: list[int] = []

    def has_ended() -> bool:
        exit_code = running.exit_code()
        found.extend([] if exit_code is None else [exit_code])
        return exit_code is not None

    eventually(has_ended)
    return found[0]


def left(tmp_path: Path) -> Found:
    """Return what a later agent finds."""
    found = commands.find(str(tmp_path / "command"))
    assert found is not None
    return found


def session_of(tmp_path: Path) -> int:
    """Return the number of the process that leads the command's session, once it does."""
    path = tmp_path / "command" / "session"
    eventually(lambda: path.exists() and len(path.read_text().split()) == 2)
    leader = int(path.read_text().split()[0])
    eventually(lambda: os.getsid(leader) == leader)
    return leader


@pytest.mark.parametrize("number", [0, 3, 126, 255])
def test_the_exit_code_is_on_disk_and_a_later_agent_finds_it(tmp_path: Path, number: int) -> None:
    running = start(tmp_path, f"echo out; echo err >&2; exit {number}")

    assert code(running) == number
    again = commands.resume(running.folder, left(tmp_path), BOOT)
    assert again is not None
    assert again.exit_code() == number
    assert again.purpose == {"what": "a test"}
    assert (tmp_path / "command" / "stdout").read_text() == "out\n"
    assert (tmp_path / "command" / "stderr").read_text() == "err\n"


def test_a_command_that_is_ended_by_a_signal_is_told_as_a_shell_does(tmp_path: Path) -> None:
    assert code(start(tmp_path, "kill -TERM $$")) == 128 + signal.SIGTERM


def test_a_command_that_ends_its_whole_group_is_recorded_all_the_same(tmp_path: Path) -> None:
    assert code(start(tmp_path, "kill -KILL 0")) == 128 + signal.SIGKILL


def test_of_two_shells_for_one_folder_one_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = start(tmp_path, f"echo ran >> {log}; sleep 0.2")
    eventually(lambda: commands.read_start(running.folder) is not None)
    shell = ["sh", "-c", commands._SHIM, "x", running.folder, str(tmp_path), f"echo second >> {log}", BOOT, "", ""]

    second = subprocess.run(shell, check=False, env=PATH)

    assert second.returncode == 0
    assert code(running) == 0
    assert log.read_text() == "ran\n"


def test_many_shells_that_begin_at_once_run_one_command(tmp_path: Path) -> None:
    folder = tmp_path / "command"
    folder.mkdir()
    (folder / "exit.new").write_text("   ")
    log = tmp_path / "log"
    shell = ["sh", "-c", commands._SHIM, "x", str(folder), str(tmp_path), f"echo ran >> {log}", BOOT, "", ""]

    shells = [subprocess.Popen(shell, env=PATH) for _ in range(12)]

    assert [one.wait() for one in shells] == [0] * 12
    assert log.read_text() == "ran\n"


def test_an_agent_that_is_killed_loses_no_exit_code(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys
        from vmext_agent import commands
        from vmext_agent.commands import Order
        wanted = Order("sleep 0.3; exit 7", {str(tmp_path)!r}, {PATH!r}, 60.0, {{}})
        commands.start({str(tmp_path / "command")!r}, wanted, 1, {BOOT!r})
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -signal.SIGKILL

    running = commands.resume(str(tmp_path / "command"), left(tmp_path), BOOT)

    assert running is not None
    assert running.exit_code() is None
    assert code(running) == 7


def test_a_shell_that_was_killed_takes_its_command_with_it(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000 & wait")
    leader = session_of(tmp_path)
    assert running.exit_code() is None

    os.kill(running.pid, signal.SIGKILL)

    with pytest.raises(CommandLostError, match=r"its shell is gone .*; [12] processes that it left were ended"):
        eventually(lambda: running.exit_code() is not None)
    eventually(lambda: process.start_time(leader) is None)


def test_a_later_agent_ends_what_a_killed_shell_left(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000")
    leader = session_of(tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)

    with pytest.raises(CommandLostError):
        commands.resume(running.folder, left(tmp_path), BOOT)

    eventually(lambda: process.start_time(leader) is None)


def test_what_ran_in_another_boot_was_interrupted(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000")
    session_of(tmp_path)

    with pytest.raises(CommandLostError, match="the machine was restarted while it ran"):
        commands.resume(running.folder, left(tmp_path), "boot-1/6")

    process.signal_command(running.pid, signal.SIGKILL)
    assert code(running) == 128 + signal.SIGKILL


def test_a_folder_in_which_nothing_started_is_no_command(tmp_path: Path) -> None:
    start(tmp_path, "true")
    for name in ("start", "exit"):
        path = tmp_path / "command" / name
        eventually(path.exists)
        path.unlink()
    eventually(lambda: not commands.is_locked(str(tmp_path / "command")))

    assert commands.resume(str(tmp_path / "command"), left(tmp_path), BOOT) is None


def test_a_number_that_is_somebody_elses_by_now_deceives_nobody(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000")
    session_of(tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)
    # As if its number had been given to this very process.
    (tmp_path / "command" / "start").write_text(f"{os.getpid()} {process.start_time(os.getpid())} {BOOT}\n")

    with pytest.raises(CommandLostError):
        commands.resume(running.folder, left(tmp_path), BOOT)


def test_the_lock_ends_with_the_shell_and_not_with_what_its_command_leaves(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000 & echo $! > child")
    assert commands.is_locked(running.folder)

    assert code(running) == 0

    child = int((tmp_path / "child").read_text())
    assert process.start_time(child) is not None
    assert not commands.is_locked(running.folder)
    os.kill(child, signal.SIGKILL)


def test_a_command_has_no_descriptors_but_its_own_and_every_signal(tmp_path: Path) -> None:
    script = "ls -l /proc/self/fd; grep -E 'Sig(Ign|Blk)' /proc/self/status; umask"
    assert code(start(tmp_path, script)) == 0

    said = (tmp_path / "command" / "stdout").read_text()
    assert set(re.findall(r" (\d+) -> (?!/proc)", said)) == {"0", "1", "2"}
    # The C library keeps signals 32 and 33 for itself.
    masks = [int(mask, 16) for mask in re.findall(r"Sig(?:Ign|Blk):\t([0-9a-f]+)", said)]
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]
    assert said.endswith("0022\n")


def test_a_shell_that_can_leave_no_start_record_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "command"
    folder.mkdir()
    # A folder of its name: there is neither a record nor room for one.
    (folder / "start").symlink_to(tmp_path / "missing" / "start")
    shell = ["sh", "-c", commands._SHIM, "x", str(folder), str(tmp_path), "touch ran", BOOT, "", ""]

    assert subprocess.run(shell, check=False, env=PATH).returncode == commands._NO_ROOM
    assert not (tmp_path / "ran").exists()


def test_a_deadline_is_time_since_boot_so_that_it_goes_on_without_an_agent(tmp_path: Path) -> None:
    begun = clock.since_boot()
    code(start(tmp_path, "true"))

    assert begun + 60.0 <= left(tmp_path).deadline <= clock.since_boot() + 60.0


def test_what_a_cgroup_refuses_is_run_without_it(tmp_path: Path) -> None:
    placement = Placement(procs=str(tmp_path / "missing" / "cgroup.procs"))

    assert code(start(tmp_path, "exit 4", placement=placement)) == 4


def test_a_command_is_put_into_its_group_before_it_runs(tmp_path: Path) -> None:
    # A file stands for the group's: what is written there is who enters.
    procs = tmp_path / "cgroup.procs"
    procs.touch()

    assert code(start(tmp_path, "cat cgroup.procs", placement=Placement(procs=str(procs)))) == 0
    assert (tmp_path / "command" / "stdout").read_text() == "0\n"


def runner(tmp_path: Path, script: str) -> dict[str, str]:
    """Put a systemd-run on the path that does this; what it was told is in `told`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "systemd-run"
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\nwhile case $1 in --*) ;; *) false ;; esac; do shift; done\n{script}'
    )
    path.chmod(0o755)
    return {"PATH": f"{folder}:{PATH['PATH']}"}


@pytest.mark.parametrize(
    ("script", "runs", "exit_code"),
    [
        pytest.param('exec "$@"', 1, 5, id="as-it-should-be"),
        pytest.param("echo no bus >&2; exit 1", 1, 5, id="it-fails-before"),
        pytest.param('"$@"; exit 1', 1, 1, id="it-fails-after"),
        pytest.param("kill -KILL $$", 1, 5, id="it-is-killed-before"),
    ],
)
def test_a_scope_that_can_not_be_made_loses_no_command(tmp_path: Path, script: str, runs: int, exit_code: int) -> None:
    environment = runner(tmp_path, script)
    placed = Placement(scope="--scope --quiet --slice=vmext-a.slice")
    wanted = Order("echo ran >> log; exit 5", str(tmp_path), environment, 60.0, {}, placed)

    running = commands.start(str(tmp_path / "command"), wanted, 1, BOOT)

    assert code(running) == exit_code
    assert (tmp_path / "log").read_text() == "ran\n" * runs
    assert (tmp_path / "told").read_text().startswith("--scope --quiet --slice=vmext-a.slice sh -c")


def test_a_command_in_a_scope_is_stopped_as_any_other(tmp_path: Path) -> None:
    environment = runner(tmp_path, 'exec "$@"')
    wanted = Order("sleep 1000", str(tmp_path), environment, 60.0, {}, Placement(scope="--scope"))
    running = commands.start(str(tmp_path / "command"), wanted, 1, BOOT)
    session_of(tmp_path)

    running.stop("TimedOut", 30.0)

    assert code(running) == 128 + signal.SIGTERM


def test_a_stop_reaches_the_whole_session_and_not_the_shell(tmp_path: Path) -> None:
    running = start(tmp_path, "trap '' TERM; sleep 1000 & sleep 1000")
    session_of(tmp_path)
    time.sleep(0.05)

    running.stop("TimedOut", 0.1)
    time.sleep(0.1)
    assert running.exit_code() is None
    running.kill()

    assert code(running) == 128 + signal.SIGKILL


def test_a_lock_that_nobody_holds_any_more_is_free(tmp_path: Path) -> None:
    running = start(tmp_path, "true")
    code(running)

    with (tmp_path / "command" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

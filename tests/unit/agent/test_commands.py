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
from vmext_agent import clock, commands, process, shim
from vmext_agent.cgroups import Placement
from vmext_agent.commands import Found, Order
from vmext_agent.errors import CommandLostError
from vmext_agent.running import Running, is_locked, read_exit, read_start

BOOT = "boot-1/5"
PATH = {"PATH": os.environ["PATH"]}


def order(line: str, folder: Path, **options: object) -> Order:
    return Order(line, str(folder), PATH, 60.0, {"what": "a test"}, **options)  # type: ignore[arg-type]


def start(tmp_path: Path, line: str, **options: object) -> Running:
    return commands.start(str(tmp_path / "command"), order(line, tmp_path, **options), 1, BOOT, str(tmp_path / "shim"))


def shell(tmp_path: Path, line: str, folder: str = "command") -> tuple[list[str], dict[str, str]]:
    """Write what an agent leaves in a folder for the shell; return the shell's command line and environment."""
    into = tmp_path / folder
    into.mkdir(exist_ok=True)
    (into / "wanted").touch()
    (into / "exit.new").write_bytes(b" " * shim.EXIT_BYTES)
    (into / "order").write_bytes(shim.order(command=line, cwd=str(tmp_path), boot=BOOT, procs=""))
    shim.install(str(tmp_path / "shim"))
    return ["/bin/sh", str(tmp_path / "shim")], {**PATH, shim.VARIABLE: str(into)}


def code(running: Running) -> int:
    """Wait for a command's end; return its exit code."""
    found: list[int] = []

    def has_ended() -> bool:
        ended = running.end()
        found.extend([] if ended is None else [ended.code])
        return ended is not None

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
    assert code(again) == number
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
    eventually(lambda: read_start(running.folder) is not None)
    line, environment = shell(tmp_path, f"echo second >> {log}")

    second = subprocess.run(line, check=False, env=environment)

    assert second.returncode == 0
    assert code(running) == 0
    assert log.read_text() == "ran\n"


def test_many_shells_that_begin_at_once_run_one_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    line, environment = shell(tmp_path, f"echo ran >> {log}")

    shells = [subprocess.Popen(line, env=environment) for _ in range(12)]

    assert [one.wait() for one in shells] == [0] * 12
    assert log.read_text() == "ran\n"


def test_an_agent_that_is_killed_loses_no_exit_code(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys
        from vmext_agent import commands
        from vmext_agent.commands import Order
        wanted = Order("sleep 0.3; exit 7", {str(tmp_path)!r}, {PATH!r}, 60.0, {{}})
        commands.start({str(tmp_path / "command")!r}, wanted, 1, {BOOT!r}, {str(tmp_path / "shim")!r})
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -signal.SIGKILL

    running = commands.resume(str(tmp_path / "command"), left(tmp_path), BOOT)

    assert running is not None
    assert running.end() is None
    assert code(running) == 7


def test_a_shell_that_was_killed_takes_its_command_with_it(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000 & wait")
    leader = session_of(tmp_path)
    assert running.end() is None

    os.kill(running.pid, signal.SIGKILL)

    with pytest.raises(CommandLostError, match=r"its shell is gone .*; [12] processes that it left were ended"):
        eventually(lambda: running.end() is not None)
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

    running.kill()
    assert code(running) == 128 + signal.SIGKILL


def test_a_folder_in_which_nothing_started_is_no_command(tmp_path: Path) -> None:
    start(tmp_path, "true")
    for name in ("start", "exit"):
        path = tmp_path / "command" / name
        eventually(path.exists)
        path.unlink()
    eventually(lambda: not is_locked(str(tmp_path / "command")))

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
    assert is_locked(running.folder)

    assert code(running) == 0

    child = int((tmp_path / "child").read_text())
    assert process.start_time(child) is not None
    assert not is_locked(running.folder)
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
    line, environment = shell(tmp_path, "touch ran")

    assert subprocess.run(line, check=False, env=environment).returncode == shim.NO_ROOM
    assert not (tmp_path / "ran").exists()


def test_a_deadline_is_time_since_boot_so_that_it_goes_on_without_an_agent(tmp_path: Path) -> None:
    begun = clock.since_boot()
    code(start(tmp_path, "true"))

    assert begun + 60.0 <= left(tmp_path).deadline <= clock.since_boot() + 60.0


def test_a_later_boot_knows_when_a_command_was_seen_last(tmp_path: Path) -> None:
    begun = clock.since_boot()
    running = start(tmp_path, "sleep 1000")
    session_of(tmp_path)
    found = left(tmp_path)
    assert begun <= commands.last_seen(running.folder, found) <= clock.since_boot()

    running.note_time(begun + 40.0)
    assert commands.last_seen(running.folder, found) == pytest.approx(begun + 40.0, abs=0.1)
    running.note_time(begun + 42.0)
    assert commands.last_seen(running.folder, found) == pytest.approx(begun + 42.0, abs=0.1)

    # A loss of power can leave nothing, or rubbish, in its place.
    (tmp_path / "command" / "seen").write_bytes(b"\0" * 15)
    assert commands.last_seen(running.folder, found) == found.began
    running.stop("Cancelled", 30.0)
    code(running)
    assert begun <= commands.last_seen(running.folder, found) <= clock.since_boot()


def test_what_a_cgroup_refuses_is_run_without_it(tmp_path: Path) -> None:
    placement = Placement(procs=str(tmp_path / "missing" / "cgroup.procs"))

    assert code(start(tmp_path, "exit 4", placement=placement)) == 4


def test_a_command_is_put_into_its_group_before_it_runs(tmp_path: Path) -> None:
    # A file stands for the group's: what is written there is who enters.
    procs = tmp_path / "cgroup.procs"
    procs.touch()

    assert code(start(tmp_path, "cat cgroup.procs", placement=Placement(procs=str(procs)))) == 0
    assert (tmp_path / "command" / "stdout").read_text() == "0\n"


def runner(tmp_path: Path, script: str) -> str:
    """Make a systemd-run that does this, and return its path; what it was told is in `told`."""
    path = tmp_path / "systemd-run"
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\nwhile case $1 in --*) ;; *) false ;; esac; do shift; done\n{script}'
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "runs", "exit_code"),
    [
        pytest.param('exec "$@"', 1, 5, id="as-it-should-be"),
        pytest.param("echo no bus >&2; exit 1", 1, 5, id="it-fails-before"),
        pytest.param('"$@"; exit 1', 1, 5, id="it-fails-after"),
        pytest.param("kill -KILL $$", 1, 5, id="it-is-killed-before"),
    ],
)
def test_a_scope_that_can_not_be_made_loses_no_command(tmp_path: Path, script: str, runs: int, exit_code: int) -> None:
    placed = Placement(scope=(runner(tmp_path, script), "--scope", "--quiet", "--slice=vmext-a.slice"))
    wanted = Order("echo ran >> log; exit 5", str(tmp_path), PATH, 60.0, {}, placed)

    running = commands.start(str(tmp_path / "command"), wanted, 1, BOOT, str(tmp_path / "shim"))

    assert code(running) == exit_code
    assert (tmp_path / "log").read_text() == "ran\n" * runs
    assert (tmp_path / "told").read_text() == f"--scope --quiet --slice=vmext-a.slice /bin/sh {tmp_path}/shim\n"


def test_a_command_in_a_scope_is_stopped_as_any_other(tmp_path: Path) -> None:
    placed = Placement(scope=(runner(tmp_path, 'exec "$@"'), "--scope"))
    wanted = Order("sleep 1000", str(tmp_path), PATH, 60.0, {}, placed)
    running = commands.start(str(tmp_path / "command"), wanted, 1, BOOT, str(tmp_path / "shim"))
    session_of(tmp_path)

    running.stop("TimedOut", 30.0)

    assert code(running) == 128 + signal.SIGTERM


def test_a_stop_reaches_the_whole_session_and_not_the_shell(tmp_path: Path) -> None:
    running = start(tmp_path, "trap '' TERM; sleep 1000 & sleep 1000")
    session_of(tmp_path)
    time.sleep(0.05)

    running.stop("TimedOut", 0.1)
    time.sleep(0.1)
    assert running.end() is None
    running.kill()

    assert code(running) == 128 + signal.SIGKILL


def test_a_lock_that_nobody_holds_any_more_is_free(tmp_path: Path) -> None:
    running = start(tmp_path, "true")
    code(running)

    with (tmp_path / "command" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_no_command_line_of_ours_has_a_word_of_the_users(tmp_path: Path) -> None:
    wanted = Order("sleep 1000", str(tmp_path), PATH, 60.0, {"extension": "payroll"})
    folder = tmp_path / "commands" / "payroll"
    folder.parent.mkdir()

    running = commands.start(str(folder), wanted, 1, BOOT, str(tmp_path / "shim"))
    eventually(lambda: (folder / "session").exists())

    assert Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")[:-1] == [
        b"/bin/sh",
        os.fsencode(tmp_path / "shim"),
    ]
    running.stop("Cancelled", 30.0)
    assert code(running) == 128 + signal.SIGTERM


def test_a_command_does_not_see_what_its_shell_is_told(tmp_path: Path) -> None:
    assert code(start(tmp_path, "env")) == 0

    seen = {line.split("=")[0] for line in (tmp_path / "command" / "stdout").read_text().splitlines()}
    assert seen - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH"}


def test_a_command_and_a_folder_with_quotes_and_lines_are_what_they_are(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "a" $HOME\nfolder'
    folder.mkdir()
    wanted = Order("printf '%s' \"$PWD\";\nexit 3", str(folder), PATH, 60.0, {})

    running = commands.start(str(tmp_path / "command"), wanted, 1, BOOT, str(tmp_path / "shim"))

    assert code(running) == 3
    assert (tmp_path / "command" / "stdout").read_text() == str(folder)


@pytest.mark.parametrize("after_ms", [0, 0.5, 1, 1.5, 2, 3, 5, 8])
def test_a_command_that_is_stopped_in_its_first_moments_ends(tmp_path: Path, after_ms: float) -> None:
    began = time.monotonic()
    running = start(tmp_path, "sleep 1000; echo went on >> log")
    while time.monotonic() < began + after_ms / 1000:
        pass

    running.stop("Cancelled", 30.0)

    assert code(running) == 128 + signal.SIGTERM
    assert not (tmp_path / "log").exists()


def test_a_command_that_systemd_has_not_begun_yet_is_not_begun_once_it_is_stopped(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    placed = Placement(scope=(runner(tmp_path, f'while [ ! -e {gate} ]; do sleep 0.01; done\nexec "$@"'),))
    wanted = Order("echo ran >> log", str(tmp_path), PATH, 60.0, {}, placed)
    running = commands.start(str(tmp_path / "command"), wanted, 1, BOOT, str(tmp_path / "shim"))

    running.stop("Cancelled", 30.0)
    gate.touch()

    assert code(running) == shim.NOT_BEGUN
    assert not (tmp_path / "log").exists()


def test_a_systemd_that_never_answers_is_not_waited_for_any_longer_than_a_command(tmp_path: Path) -> None:
    placed = Placement(scope=(runner(tmp_path, "exec sleep 1000"),))
    wanted = Order("echo ran >> log", str(tmp_path), PATH, 60.0, {}, placed)
    running = commands.start(str(tmp_path / "command"), wanted, 1, BOOT, str(tmp_path / "shim"))

    running.stop("TimedOut", 0.1)
    assert running.end() is None
    running.kill()

    assert code(running) == shim.NOT_BEGUN
    assert not (tmp_path / "log").exists()


def test_a_later_agent_knows_why_a_command_was_told_to_end(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000")
    session_of(tmp_path)
    running.stop("TimedOut", 30.0)
    code(running)

    again = commands.resume(running.folder, left(tmp_path), BOOT)

    assert again is not None
    assert again.stopped_for == "TimedOut"


def test_a_shell_that_is_told_to_end_with_its_command_says_so(tmp_path: Path) -> None:
    running = start(tmp_path, "sleep 1000")
    leader = session_of(tmp_path)

    # As systemd does with a scope: one after the other, and the command first.
    for pid in (leader, running.pid):
        os.kill(pid, signal.SIGTERM)

    eventually(lambda: running.end() is not None)
    ended = read_exit(running.folder)
    assert ended is not None
    assert (ended.code, ended.was_stopped) == (128 + signal.SIGTERM, True)
    assert ended.at_s <= clock.since_boot() < ended.at_s + 60


@pytest.mark.parametrize("line", ["kill -TERM $$", "exit 143"])
def test_a_command_that_ends_alone_was_not_stopped(tmp_path: Path, line: str) -> None:
    running = start(tmp_path, line)

    assert code(running) == 128 + signal.SIGTERM
    ended = read_exit(running.folder)
    assert ended is not None
    assert not ended.was_stopped

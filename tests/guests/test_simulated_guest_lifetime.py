"""The start and the end of guests: by a block, by the command line, by kill -9; as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import simulated_guest
from guests.simulated import eventually, running_or_skip
from simulated_guest import GuestError, Service
from support import scripts

NOBODY = 65534


def mounts() -> set[str]:
    """Return what is mounted for the host; other tests' guests have no part in it."""
    return {line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def started(pid: int) -> str | None:
    """Return when a process started: with its number, what tells it from every other; None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.fixture(name="form", params=["full", "small"])
def _form(request: pytest.FixtureRequest) -> str:
    form: str = request.param
    return form


HOLD = """
import sys
from pathlib import Path
import simulated_guest
folder, form = Path(sys.argv[1]), sys.argv[2]
sleep = simulated_guest.Service("sleep", ["sleep", "1000"])
with simulated_guest.running("web-1", folder=folder, services=[sleep], small=form == "small") as guest:
    print(*[process.pid for process in guest.processes()], guest._status()["supervisor"], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("victim", ["starter", "supervisor"])
def test_nothing_is_left_of_a_guest_whose_starter_was_killed(tmp_path: Path, form: str, victim: str) -> None:
    with running_or_skip("probe", tmp_path, small=form == "small"):
        pass
    before = mounts()
    starter, said = scripts.start(HOLD, str(tmp_path), form)
    with starter:
        pids = [int(number) for number in said.split()]
        alive = {pid: started(pid) for pid in pids}
        assert len(alive) == 3
        assert all(alive.values())
        os.kill(starter.pid if victim == "starter" else pids[-1], signal.SIGKILL)
        if victim == "supervisor":
            starter.communicate()
    eventually(lambda: all(started(pid) != start for pid, start in alive.items()), "its processes are gone")
    if victim == "starter":
        eventually(lambda: not (tmp_path / "web-1").exists(), "its folder is gone")
    with running_or_skip("web-2", tmp_path, small=form == "small"):
        assert not (tmp_path / "web-1").exists()
    assert mounts() == before
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_taken_while_its_guest_runs(tmp_path: Path, form: str) -> None:
    with running_or_skip("web-1", tmp_path, small=form == "small"):
        with pytest.raises(GuestError, match="runs already"):
            simulated_guest.running("web-1", folder=tmp_path, small=form == "small").__enter__()
        assert simulated_guest.names(folder=tmp_path) == ["web-1"]
    assert simulated_guest.names(folder=tmp_path) == []


@pytest.mark.parametrize("name", ["", "-a", "Web", "a/b", "..", "a" * 64])
def test_a_name_is_a_host_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(GuestError, match="can't name a guest"):
        simulated_guest.running(name, folder=tmp_path).__enter__()


def test_a_service_that_fails_at_the_start_leaves_no_guest(tmp_path: Path, form: str) -> None:
    with running_or_skip("probe", tmp_path, small=form == "small"):
        pass
    service = Service("agent", ["/nowhere"])
    with pytest.raises(GuestError, match="No such file"):
        simulated_guest.running("web-1", folder=tmp_path, services=[service], small=form == "small").__enter__()
    assert list(tmp_path.iterdir()) == []


# The command line


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulated_guest", "--folder", str(folder), *arguments]
    return subprocess.run(command, env=scripts.ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


def test_a_guest_of_the_command_line_lives_until_it_is_stopped(tmp_path: Path, form: str) -> None:
    with running_or_skip("probe", tmp_path, small=form == "small"):
        pass
    started_guest = command_line(tmp_path, "start", "web-1", *(["--small"] if form == "small" else []))
    assert (started_guest.returncode, started_guest.stderr) == (0, "")
    try:
        assert command_line(tmp_path, "list").stdout == "web-1\n"
        assert command_line(tmp_path, "run", "web-1", "sh", "-c", "echo kept > /etc/file; exit 5").returncode == 5
        assert command_line(tmp_path, "reboot", "web-1").returncode == 0
        assert command_line(tmp_path, "cat", "web-1", "/etc/file").stdout == "kept\n"
        assert "no such file" in command_line(tmp_path, "cat", "web-1", "/etc/nothing").stderr
    finally:
        stopped = command_line(tmp_path, "stop", "web-1")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert "not running" in command_line(tmp_path, "stop", "web-1").stderr


# An ordinary user

AS_ORDINARY_USER = """
import sys
from pathlib import Path
sys.path.insert(0, {hack!r})
import simulated_guest
try:
    with simulated_guest.running("web-1", folder=Path({folder!r})) as guest:
        assert not guest.full
        guest.write("/var/lib/waagent/x", b"inside")
        guest.reboot()
        script = "id -u; hostname; cat /var/lib/waagent/x; openssl version >/dev/null && echo ' ok'"
        shown = guest.run(["sh", "-c", script])
        assert guest.run(["touch", "/usr/x"], check=False).returncode != 0
        print(shown.stdout.decode(), guest.written(), end="")
except simulated_guest.GuestUnavailableError as error:
    print("unavailable:", error)
"""


def test_an_ordinary_user_gets_the_smaller_form() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; as an ordinary one, the tests of the small form say the same")
    folder = Path(tempfile.mkdtemp())  # not tmp_path, which lies where only its owner can go
    try:
        os.chown(folder, NOBODY, NOBODY)
        done = subprocess.run(
            [simulated_guest.python(), "-B", "-c", AS_ORDINARY_USER.format(hack=str(scripts.HACK), folder=str(folder))],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.stdout.startswith("unavailable:"):
            pytest.skip(done.stdout.strip())
        assert (done.stderr, done.stdout) == ("", "0\nweb-1\ninside ok\n ['/var/lib/waagent/x']")
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_a_machine_that_can_not_make_a_guest_says_what_was_tried(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can set up a process that may make no namespaces")
    code = AS_ORDINARY_USER.format(hack=str(scripts.HACK), folder=str(tmp_path))
    without = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        'echo 0 > /proc/sys/user/max_mnt_namespaces; exec "$@"',
    ]
    done = subprocess.run(
        [*without, "sh", simulated_guest.python(), "-B", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip(f"this kernel makes no user namespaces: {done.stderr.strip()}")
    assert done.stdout.startswith("unavailable:")
    assert "as root, in full: can't make a new mount namespace" in done.stdout
    assert "as an ordinary user, smaller: can't make a new user and mount namespace" in done.stdout
    assert list(tmp_path.iterdir()) == []

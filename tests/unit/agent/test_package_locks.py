"""Package managers at work, played by processes that really hold the locks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmext_agent import package_locks

#: Holds a lock file until its standard input ends: sys.argv is the file and the kind of lock.
HOLD = """
import fcntl, os, struct, sys
path, kind = sys.argv[1:3]
descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
if kind == "fcntl":
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
elif kind == "shared":
    fcntl.lockf(descriptor, fcntl.LOCK_SH)
elif kind == "flock":
    fcntl.flock(descriptor, fcntl.LOCK_EX)
elif kind == "ofd":
    fcntl.fcntl(descriptor, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
elif kind == "pid":
    os.write(descriptor, b"%d\\n" % os.getpid())
print(flush=True)
sys.stdin.read()
"""
LOCKS = [
    ("dpkg", "var/lib/dpkg/lock"),
    ("dpkg", "var/lib/dpkg/lock-frontend"),
    ("apt", "var/lib/apt/lists/lock"),
    ("apt", "var/cache/apt/archives/lock"),
    ("rpm", "var/lib/rpm/.rpm.lock"),
    ("rpm", "usr/lib/sysimage/rpm/.rpm.lock"),
    ("dnf", "run/dnf/rpmtransaction.lock"),
    ("tdnf", "run/.tdnf-instance-lockfile"),
]
PID_FILES = [
    ("yum", "run/yum.pid"),
    ("dnf", "var/cache/dnf/metadata_lock.pid"),
    ("dnf", "var/cache/dnf/download_lock.pid"),
    ("dnf", "var/lib/dnf/rpmdb_lock.pid"),
    ("zypper", "run/zypp.pid"),
    ("zypper", "run/zypp-rpm.pid"),
]


def place(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def playing(*command: str, path: Path, kind: str) -> Iterator[int]:
    """Run a program that holds a lock; the value is its pid."""
    arguments = [*command, str(path), kind]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield process.pid
        process.communicate()


@contextlib.contextmanager
def held(root: Path, name: str, kind: str) -> Iterator[tuple[Path, int]]:
    """Have a script called unattended-upgrade hold a lock."""
    path, script = place(root, name), root / "unattended-upgrade"
    script.write_text(HOLD)
    with playing(sys.executable, str(script), path=path, kind=kind) as pid:
        yield path, pid


@pytest.mark.parametrize(("manager", "name"), LOCKS)
def test_who_holds_a_lock_file_is_named(tmp_path: Path, manager: str, name: str) -> None:
    with held(tmp_path, name, "fcntl") as (path, pid):
        assert package_locks.holder(str(tmp_path)) == (manager, pid, "unattended-upgrade", str(path))

    assert package_locks.holder(str(tmp_path)) is None


def test_a_shared_lock_is_in_the_way_too(tmp_path: Path) -> None:
    with held(tmp_path, "var/lib/rpm/.rpm.lock", "shared") as (_, pid):
        found = package_locks.holder(str(tmp_path))

    assert found is not None
    assert found.pid == pid


def test_the_holder_of_a_lock_without_an_owner_is_not_named(tmp_path: Path) -> None:
    with held(tmp_path, "var/lib/dpkg/lock", "ofd") as (path, _):
        assert package_locks.holder(str(tmp_path)) == ("dpkg", 0, "", str(path))


def test_a_flock_is_not_seen(tmp_path: Path) -> None:
    # None of these managers keeps its lock by flock; one that did could not be told from one that is idle.
    with held(tmp_path, "var/lib/dpkg/lock", "flock"):
        assert package_locks.holder(str(tmp_path)) is None


@pytest.mark.parametrize(("manager", "name"), PID_FILES)
def test_who_is_named_in_a_pid_file_and_lives_is_at_work(tmp_path: Path, manager: str, name: str) -> None:
    with held(tmp_path, name, "pid") as (path, pid):
        assert package_locks.holder(str(tmp_path)) == (manager, pid, "unattended-upgrade", str(path))

    assert path.exists()
    assert package_locks.holder(str(tmp_path)) is None


def test_a_pid_that_was_given_to_another_process_since_is_nobody(tmp_path: Path) -> None:
    # dnf's files are on disk: after a power loss the number in them belongs to somebody else.
    with held(tmp_path, "var/lib/dnf/rpmdb_lock.pid", "pid") as (path, _):
        an_hour_ago = time.time() - 3600
        os.utime(path, (an_hour_ago, an_hour_ago))

        assert package_locks.holder(str(tmp_path)) is None


def test_a_manager_by_its_name_is_at_work_whatever_became_of_the_clock(tmp_path: Path) -> None:
    # Set forward by an hour since it wrote its number: it seems to have started after that.
    path, script = place(tmp_path, "run/yum.pid"), tmp_path / "yum"
    script.write_text(HOLD)
    with playing(sys.executable, str(script), path=path, kind="pid") as pid:
        an_hour_ago = time.time() - 3600
        os.utime(path, (an_hour_ago, an_hour_ago))

        assert package_locks.holder(str(tmp_path)) == ("yum", pid, "yum", str(path))


def test_a_corpse_is_not_at_work(tmp_path: Path) -> None:
    path = place(tmp_path, "run/yum.pid")
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        path.write_text(f"{process.pid}\n")

        assert package_locks.holder(str(tmp_path)) is None


@pytest.mark.parametrize("content", [b"", b"0", b"-1", b"x", b"9" * 9, b"9" * 60, b"\0", b"1" * 5000, b"\xd9\xa1"])
def test_a_pid_file_with_anything_in_it_is_nobody(tmp_path: Path, content: bytes) -> None:
    place(tmp_path, "run/zypp.pid").write_bytes(content)

    assert package_locks.holder(str(tmp_path)) is None


def test_nothing_is_made_and_nothing_is_locked(tmp_path: Path) -> None:
    paths = [place(tmp_path, name) for _, name in LOCKS]
    paths[0].write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))

    assert package_locks.holder(str(tmp_path)) is None

    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(place(tmp_path, "var/lib/dpkg/lock"))
    os.mkfifo(place(tmp_path, "run/yum.pid"))
    place(tmp_path, "var/lib/apt/lists/lock").symlink_to("lock")
    place(tmp_path, "var/cache/apt/archives/lock").mkdir()

    assert package_locks.holder(str(tmp_path)) is None


def test_what_a_command_line_holds_is_not_shown(tmp_path: Path) -> None:
    path = place(tmp_path, "var/lib/dpkg/lock")
    secret = f"password = 'hunter2'\n{HOLD}"
    with playing(sys.executable, "-c", secret, path=path, kind="fcntl"):
        found = package_locks.holder(str(tmp_path))

    assert found is not None
    assert found.program == os.path.basename(sys.executable)


@pytest.mark.parametrize("options", [["-u"], ["-I", "-S"]])
def test_the_options_of_an_interpreter_are_not_its_script(tmp_path: Path, options: list[str]) -> None:
    path, script = place(tmp_path, "var/lib/dpkg/lock"), tmp_path / "dnf"
    script.write_text(HOLD)
    with playing(sys.executable, *options, str(script), path=path, kind="fcntl"):
        found = package_locks.holder(str(tmp_path))

    assert found is not None
    assert found.program == "dnf"


def test_the_interpreter_that_a_distribution_keeps_for_itself_is_one_too(tmp_path: Path) -> None:
    path, script, interpreter = place(tmp_path, "var/lib/dpkg/lock"), tmp_path / "dnf", tmp_path / "platform-python3.6"
    script.write_text(HOLD)
    interpreter.symlink_to(sys.executable)
    with playing(str(interpreter), str(script), path=path, kind="fcntl"):
        found = package_locks.holder(str(tmp_path))

    assert found is not None
    assert found.program == "dnf"


def test_a_name_is_one_clean_line(tmp_path: Path) -> None:
    path, script = place(tmp_path, "var/lib/dpkg/lock"), tmp_path / "a\nb\x1b[0m"
    script.write_text(HOLD)
    with playing(sys.executable, str(script), path=path, kind="fcntl"):
        found = package_locks.holder(str(tmp_path))

    assert found is not None
    assert found.program == "a b\\x1b[0m"

"""The folders of CustomScript's former runs: how many stay, what is never removed, and who has them after an update."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guests.custom_script_machine import NAME, Machine, group_is_gone
from support.waiting import eventually

PRINTS = "head -c 1000000 /dev/zero >data; echo ran"
TRUE = {"commandToExecute": "true"}

#: How what a script leaves behind uses the script's folder: each of them in one way, and in no other.
PYTHON = f"exec env -i {sys.executable} -c"
DAEMONS = {
    "its folder": "exec env -i sleep 600",
    "an open file": f'{PYTHON} \'import os, time; file = open("data"); os.chdir("/"); time.sleep(600)\'',
    "its program": f'{PYTHON} \'import os; fd = os.open("own", 0); os.chdir("/"); os.execve(fd, ["x", "600"], {{}})\'',
    "its memory": f'{PYTHON} \'import mmap, os, time; file = open("data"); m = mmap.mmap(file.fileno(), 1, prot=1); '
    'os.dup2(0, file.fileno()); os.closerange(3, 99); os.chdir("/"); time.sleep(600)\'',
    "its command line": "here=$PWD; cd /; exec env -i sh -c 'sleep 600; :' $here/run",
    "its environment": "here=$PWD; cd /; exec env -i OLDPWD=$here sleep 600",
    "a container": "exec unshare --mount sh -c 'mount --bind . /mnt && cd / && exec env -i sleep 600'",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def daemons() -> Iterator[dict[int, int]]:
    """Process groups by sequence number, ended with the test."""
    groups: dict[int, int] = {}
    yield groups
    for group in groups.values():
        os.killpg(group, signal.SIGKILL)


def downloads(machine: Machine) -> list[str]:
    return sorted(path.name for path in (machine.lib / "custom-script" / "download").iterdir())


def test_the_folders_of_the_newest_three_runs_stay(machine: Machine) -> None:
    for number in (1, 2, 5, 9, 10):
        assert machine.enable(number, {"commandToExecute": PRINTS}).state == "success"
    assert downloads(machine) == ["10", "5", "9"]
    assert (machine.download_folder(5) / "data").stat().st_size == 1_000_000
    assert machine.log.count("old-download-removed") == 2


def test_old_folders_make_room_before_anything_is_downloaded_and_failed_runs_count(machine: Machine) -> None:
    for number in (1, 2, 3):
        machine.enable(number, TRUE)
    missing = {"commandToExecute": "true", "fileUris": ["http://127.0.0.1:1/x"]}
    machine.write_settings(4, missing)
    with machine.enabling(4):
        eventually(lambda: "download-failed" in machine.log, "the first attempt")
        assert downloads(machine) == ["2", "3", "4"]


def test_folders_of_an_earlier_installation_count_as_the_oldest(machine: Machine) -> None:
    for number in (7, 8):
        machine.download_folder(number).mkdir(parents=True)
    machine.enable(1, TRUE)
    assert downloads(machine) == ["1", "7", "8"]
    machine.enable(2, TRUE)
    assert downloads(machine) == ["1", "2", "8"]


def test_what_is_no_folder_of_a_run_stays(machine: Machine, tmp_path: Path) -> None:
    folder = machine.download_folder(1).parent
    elsewhere = tmp_path / "elsewhere"
    for path in (elsewhere, folder / "notes", folder / "007"):
        path.mkdir(parents=True)
    (elsewhere / "kept").touch()
    (folder / "1").symlink_to(elsewhere)
    for number in range(2, 6):
        machine.enable(number, TRUE)
    assert downloads(machine) == ["007", "1", "3", "4", "5", "notes"]
    assert (elsewhere / "kept").exists()


def test_a_folder_that_something_still_uses_stays_until_that_has_ended(
    machine: Machine, daemons: dict[int, int]
) -> None:
    for number, command in enumerate(DAEMONS.values(), start=1):
        starts = f"setsid sh -c {shlex.quote(command)} </dev/null >/dev/null 2>&1 & echo started $!"
        public = {"commandToExecute": f'cp "$(command -v sleep)" own; echo data >data; {starts}'}
        daemon = int(machine.enable(number, public).message.partition("started ")[2].split()[0])
        daemons[number] = daemon
        if number > 1:
            folder = Path(f"/proc/{daemon}/cwd")
            eventually(functools.partial(folder.samefile, "/"), "the daemon to have left the folder")
    last = len(DAEMONS)
    for number in range(last + 1, last + 4):
        machine.enable(number, TRUE)
    kept = {int(name) for name in downloads(machine)}
    assert {name for number, name in enumerate(DAEMONS, start=1) if number not in kept} == set()
    assert (machine.download_folder(1) / "data").exists()

    for group in daemons.values():
        os.killpg(group, signal.SIGKILL)
    eventually(lambda: all(group_is_gone(group) for group in daemons.values()), "the daemons to end")
    daemons.clear()
    machine.enable(last + 4, TRUE)
    assert sorted(map(int, downloads(machine))) == [last + 2, last + 3, last + 4]


@pytest.fixture
def mounted(machine: Machine, tmp_path: Path) -> str:
    """Have a first run whose folder another is mounted into; a prefix for commands that see it so."""
    share = tmp_path / "share"
    share.mkdir()
    (share / "precious").touch()
    machine.enable(1, {"commandToExecute": "mkdir mounted"})
    inside = machine.download_folder(1) / "mounted"
    script = f'mount --bind {share} {inside} && exec "$0" "$@"'
    return f"exec unshare --mount sh -c {shlex.quote(script)} "


def test_what_is_mounted_into_a_folder_is_never_removed(machine: Machine, mounted: str, tmp_path: Path) -> None:
    for number in (2, 3):
        machine.enable(number, TRUE)
    assert machine.enable(4, TRUE, prefix=mounted).state == "success"
    assert downloads(machine) == ["1", "2", "3", "4"]
    assert (tmp_path / "share" / "precious").exists()
    machine.enable(5, TRUE)
    assert downloads(machine) == ["3", "4", "5"], "it is no longer mounted"


def test_uninstall_says_what_is_mounted_and_removes_nothing(machine: Machine, mounted: str, tmp_path: Path) -> None:
    assert machine.run("uninstall", prefix=mounted) == 1
    assert f"{machine.download_folder(1)}/mounted is mounted inside of what is to be removed" in machine.said()
    assert (tmp_path / "share" / "precious").exists()
    assert machine.run("uninstall") == 0
    assert not (machine.lib / "custom-script").exists()


@pytest.fixture
def updating(machine: Machine) -> Path:
    """Have two runs of a version, and another version beside it whose update has been run."""
    for number in (1, 2):
        machine.enable(number, {"commandToExecute": PRINTS})
    old = machine.install
    machine.install = machine.lib / f"{NAME}-2.2.0"
    shutil.copytree(old, machine.install)
    environment = json.loads((old / "HandlerEnvironment.json").read_text().replace(str(old), str(machine.install)))
    (machine.install / "HandlerEnvironment.json").write_text(json.dumps(environment))
    assert machine.run("update", 2, variables={"VERSION": "2.2.0"}) == 0
    return old


def test_an_update_leaves_the_new_version_the_folders_of_the_old(machine: Machine, updating: Path) -> None:
    new, machine.install = machine.install, updating
    assert machine.run("uninstall") == 0
    shutil.rmtree(machine.install)
    machine.install = new
    assert downloads(machine) == ["1", "2"]
    for number in (3, 4):
        machine.enable(number, TRUE)
    assert downloads(machine) == ["2", "3", "4"]
    assert machine.run("uninstall") == 0
    assert not (machine.lib / "custom-script").exists()


def test_after_an_update_that_failed_the_old_version_has_its_folders_still_and_removes_them(
    machine: Machine, updating: Path
) -> None:
    machine.install = updating
    machine.enable(2)
    assert downloads(machine) == ["1", "2"]
    assert machine.run("uninstall") == 0
    assert not (machine.lib / "custom-script").exists()


def test_a_removal_in_the_midst_of_an_update_leaves_nothing(machine: Machine, updating: Path) -> None:
    for install in (updating, machine.install):
        machine.install = install
        assert machine.run("uninstall") == 0
    assert not (machine.lib / "custom-script").exists()


def test_an_update_to_a_version_that_is_gone_again_keeps_nothing(machine: Machine, updating: Path) -> None:
    shutil.rmtree(machine.install)
    machine.install = updating
    assert machine.run("uninstall") == 0
    assert not (machine.lib / "custom-script").exists()

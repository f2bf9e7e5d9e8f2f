"""Who a process is, with whom it ends, and that nobody else's is ever ended."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from control_plane import process
from control_plane.background import Named, known
from control_plane.errors import ControlPlaneError
from control_plane.instance import record
from support import scripts, waiting

SLEEP = ["sleep", "600"]
#: Starts a program as told, says that it has, and waits for its end.
STARTER = """
import sys
from pathlib import Path
from control_plane import process
folder, outlive = Path(sys.argv[1]), sys.argv[2] == "outlive"
started = process.start(["sleep", "600"], log=folder / "log", record=folder / "record", outlive=outlive)
print(started.pid, flush=True)
sys.stdin.read()
"""


eventually = partial(waiting.eventually, timeout_s=20.0)


def wait_recorded(file: Path) -> process.Identity:
    eventually(file.exists)
    found = process.recorded(file)
    assert found is not None
    return found


def kill_a_starter(tmp_path: Path, how: str) -> process.Identity:
    starter, pid = scripts.start(STARTER, str(tmp_path), how)
    with starter:
        started = wait_recorded(tmp_path / "record")
        assert started.pid == int(pid)
        assert started.is_alive()
        starter.kill()
    return started


def test_a_program_ends_with_the_one_who_started_it_even_when_that_one_is_killed(tmp_path: Path) -> None:
    started = kill_a_starter(tmp_path, "tied")
    eventually(lambda: not started.is_alive())


def test_a_program_that_shall_outlive_does_and_can_be_ended_by_its_record(tmp_path: Path) -> None:
    started = kill_a_starter(tmp_path, "outlive")
    assert started.is_alive()
    process.end(started)
    assert not started.is_alive()
    process.end(started)


def test_a_program_that_ignores_a_request_to_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ignoring = f"trap '' TERM; touch {ready}; while :; do sleep 1; done"
    started = process.start(["sh", "-c", ignoring], log=tmp_path / "log", record=tmp_path / "record")
    eventually(ready.exists)
    process.end(wait_recorded(tmp_path / "record"), patience_s=0.1)
    assert started.wait() == -signal.SIGKILL


def test_a_program_that_cannot_be_run_is_named_in_its_log(tmp_path: Path) -> None:
    started = process.start(["/nowhere/etcd"], log=tmp_path / "log")
    assert started.wait() == 1
    assert "/nowhere/etcd can't be run: " in (tmp_path / "log").read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "started": 1, "boot": "b"}'])
def test_a_record_that_cannot_be_read_names_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "record").write_text(content)
    assert process.recorded(tmp_path / "record") is None
    assert process.recorded(tmp_path / "absent") is None


def test_a_stranger_who_has_got_the_number_is_left_alone(tmp_path: Path) -> None:
    parent = tmp_path / "control-planes"
    named = Named("test", parent)
    named.folder.mkdir(parents=True)
    with process.start(SLEEP, log=tmp_path / "log", record=tmp_path / "record") as stranger:
        himself = wait_recorded(tmp_path / "record")
        for taken in (
            dataclasses.replace(himself, started=himself.started - 1),
            dataclasses.replace(himself, boot="another boot of the machine"),
        ):
            assert not taken.is_alive()
            process.end(taken)
            assert stranger.poll() is None
            named.folder.mkdir(exist_ok=True)
            record(named.folder, "etcd").write_text(json.dumps(dataclasses.asdict(taken)))
            assert named.stop() is False
            assert stranger.poll() is None
        named.folder.mkdir()
        record(named.folder, "etcd").write_text(json.dumps(dataclasses.asdict(himself)))
        assert list(named.processes()) == ["etcd"]
        assert not named.is_running()
        assert known(parent) == [named]
        assert named.stop() is True
        assert stranger.wait() == -signal.SIGTERM
    assert not named.folder.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "/", "/home", "a/b", "-a", "A", "x" * 64, "a\n"])
def test_a_name_that_would_be_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ControlPlaneError, match="can't name a control plane"):
        Named(name, tmp_path)


def test_a_record_is_there_before_the_program_runs(tmp_path: Path) -> None:
    shows = ["cat", str(tmp_path / "record")]
    with subprocess.Popen(process.tied(shows, record=tmp_path / "record"), stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert json.loads(started.stdout.read())["pid"] == started.pid


def test_a_program_is_tied_to_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []
    lasts = threading.Event()

    def start() -> None:
        started.append(process.start(SLEEP, log=tmp_path / "log", record=tmp_path / "record"))
        assert lasts.wait(30)

    thread = threading.Thread(target=start)
    thread.start()
    assert wait_recorded(tmp_path / "record").is_alive()
    lasts.set()
    thread.join()
    assert started[0].wait(20) == -signal.SIGKILL

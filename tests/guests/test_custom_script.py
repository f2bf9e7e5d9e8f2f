"""CustomScript, driven as an agent drives it: what runs, what it says, what is left."""

from __future__ import annotations

import base64
import gzip
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from guests.custom_script_machine import Machine, group_is_gone
from support.waiting import eventually


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_command_that_succeeds_tells_what_it_printed(machine: Machine) -> None:
    outcome = machine.enable(1, {"commandToExecute": "echo hello; echo careful >&2"})
    assert outcome.code == 0
    assert outcome.state == "success"
    assert outcome.message == "Enable succeeded: \n[stdout]\nhello\n\n[stderr]\ncareful\n"
    assert machine.status(1)["operation"] == "Enable"


def test_a_typo_fails_with_127_and_the_words_of_the_shell(machine: Machine) -> None:
    outcome = machine.enable(1, {"commandToExecute": "ech hello"})
    shell = subprocess.run(["/bin/sh", "-c", "ech hello"], capture_output=True, text=True, check=False).stderr
    assert "ech" in shell
    assert outcome.code == 0, "the handler did its work: only the script failed"
    assert outcome.state == "error"
    assert outcome.message == (
        "Enable failed: failed to execute command: command terminated with exit status=127\n"
        f"[stdout]\n\n[stderr]\n{shell}"
    )


def test_the_exit_status_of_the_script_is_told(machine: Machine) -> None:
    outcome = machine.enable(1, {"commandToExecute": "echo so far; exit 3"})
    assert (outcome.code, outcome.state) == (0, "error")
    assert "command terminated with exit status=3\n[stdout]\nso far\n" in outcome.message


def test_a_script_ended_by_a_signal_is_told(machine: Machine) -> None:
    outcome = machine.enable(1, {"commandToExecute": "kill -KILL $$"})
    assert (outcome.code, outcome.state) == (0, "error")
    assert "command terminated by signal=9" in outcome.message


@pytest.mark.parametrize("packing", ["plain", "gzip", "lines"])
def test_a_script_is_decoded_and_run_by_its_own_interpreter(machine: Machine, packing: str) -> None:
    script = b"#!/usr/bin/env bash\nwords=(one two); echo ${words[1]} $0; pwd\n"
    packed = gzip.compress(script) if packing == "gzip" else script
    text = (base64.encodebytes if packing == "lines" else base64.b64encode)(packed).decode()
    outcome = machine.enable(7, {"script": text})
    folder = machine.download_folder(7)
    assert outcome.message == f"Enable succeeded: \n[stdout]\ntwo {folder}/script.sh\n{folder}\n\n[stderr]\n"
    assert stat.S_IMODE((folder / "script.sh").stat().st_mode) == 0o500


@pytest.mark.parametrize("skip", [False, True])
def test_a_script_from_windows_is_converted_unless_told_not_to(machine: Machine, skip: bool) -> None:
    script = b"\xef\xbb\xbf#!/bin/sh\r\necho fine\r\n"
    outcome = machine.enable(1, {"script": base64.b64encode(script).decode(), "skipDos2Unix": skip})
    assert (machine.download_folder(1) / "script.sh").read_bytes() == (script if skip else b"#!/bin/sh\necho fine\n")
    assert skip or outcome.message == "Enable succeeded: \n[stdout]\nfine\n\n[stderr]\n"


def test_nothing_runs_for_the_same_or_a_lower_number(machine: Machine, tmp_path: Path) -> None:
    public = {"commandToExecute": f"echo ran >> {tmp_path}/trace"}
    for number in (5, 5, 4):
        machine.write_settings(number, public)
        assert machine.run("enable", number) == 0
    assert (tmp_path / "trace").read_text() == "ran\n"
    assert (machine.install / "mrseq").read_text() == "5"
    assert not (machine.install / "status" / "4.status").exists()
    machine.enable(6, public)
    assert (tmp_path / "trace").read_text() == "ran\nran\n"


def test_a_status_that_was_removed_does_not_come_back_and_one_that_stands_is_not_touched(machine: Machine) -> None:
    machine.enable(1, {"commandToExecute": "exit 3"})
    status = machine.install / "status" / "1.status"
    before = status.read_bytes()
    machine.write_settings(1, {"commandToExecute": "true"})
    assert machine.run("enable", 1) == 0
    assert status.read_bytes() == before
    status.unlink()
    assert machine.run("enable", 1) == 0
    assert not status.exists()


def test_without_a_number_from_the_agent_the_highest_settings_count(machine: Machine) -> None:
    machine.write_settings(9, {"commandToExecute": "echo nine"})
    machine.write_settings(10, {"commandToExecute": "echo ten"})
    assert machine.run("enable") == 0
    assert "ten" in machine.status(10)["formattedMessage"]["message"]


def test_the_status_says_transitioning_while_the_script_runs(machine: Machine) -> None:
    machine.write_settings(1, {"commandToExecute": "echo begun; sleep 600"})
    with machine.enabling(1):
        eventually(lambda: begun(machine, 1), "the script to begin")
        assert machine.status(1)["status"] == "transitioning"


def test_a_second_enable_of_a_running_number_leaves_it_alone(machine: Machine) -> None:
    machine.write_settings(1, {"commandToExecute": "echo begun; sleep 600"})
    with machine.enabling(1):
        eventually(lambda: begun(machine, 1), "the script to begin")
        assert machine.run("enable", 1) == 0
        assert machine.status(1)["status"] == "transitioning"


def test_a_run_that_was_killed_is_not_repeated_and_not_left_transitioning(machine: Machine, tmp_path: Path) -> None:
    machine.write_settings(1, {"commandToExecute": f"echo ran >> {tmp_path}/trace; echo begun; sleep 600"})
    with machine.enabling(1) as process:
        eventually(lambda: begun(machine, 1), "the script to begin")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    outcome = machine.enable(1)
    assert (outcome.code, outcome.state) == (0, "error")
    assert "interrupted" in outcome.message
    assert (tmp_path / "trace").read_text() == "ran\n"


@pytest.mark.parametrize("to_group", [True, False], ids=["to the group", "to the handler alone"])
def test_sigterm_ends_the_script_and_the_status_says_cancelled(machine: Machine, to_group: bool) -> None:
    machine.write_settings(1, {"commandToExecute": "(trap '' HUP; sleep 600) & echo begun; sleep 600"})
    with machine.enabling(1, prefix="exec ") as process:
        eventually(lambda: begun(machine, 1), "the script to begin")
        (os.killpg if to_group else os.kill)(process.pid, signal.SIGTERM)
        assert process.wait(20) == 143
        assert group_is_gone(process.pid)
    status = machine.status(1)
    assert status["status"] == "error"
    assert status["formattedMessage"]["message"].startswith("Enable failed: cancelled")
    assert "begun" in status["formattedMessage"]["message"]


def test_sigterm_that_takes_the_shell_above_first_is_still_answered(machine: Machine) -> None:
    machine.write_settings(1, {"commandToExecute": "echo begun; sleep 600"})
    with machine.enabling(1) as process:
        eventually(lambda: begun(machine, 1), "the script to begin")
        os.killpg(process.pid, signal.SIGTERM)
        eventually(lambda: machine.status(1)["status"] == "error", "the status")
        eventually(lambda: group_is_gone(process.pid), "the handler and its script to end")


def test_a_script_that_ends_well_as_the_handler_is_told_to_stop_has_succeeded(machine: Machine) -> None:
    # As one does whose last act is a reboot of the machine.
    outcome = machine.enable(1, {"commandToExecute": "echo done; kill -TERM $PPID"})

    assert (outcome.code, outcome.state) == (0, "success")
    assert "done" in outcome.message


def test_a_script_that_ignores_sigterm_is_killed(machine: Machine) -> None:
    machine.write_settings(1, {"commandToExecute": "trap '' TERM; echo begun; while :; do sleep 600; done"})
    with machine.enabling(1, prefix="exec ") as process:
        eventually(lambda: begun(machine, 1), "the script to begin")
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(25) == 143
        assert group_is_gone(process.pid)
    assert machine.status(1)["status"] == "error"


def test_a_daemon_is_not_waited_for_and_goes_on_printing(machine: Machine) -> None:
    began = time.monotonic()
    command = "while sleep 0.02; do echo tick; done & echo started $!"
    outcome = machine.enable(1, {"commandToExecute": command})
    assert time.monotonic() - began < 5
    assert outcome.state == "success"
    daemon = int(outcome.message.split("started ")[1].split()[0])
    try:
        saved = machine.download_folder(1) / "stdout"
        already = saved.read_text().count("tick")
        eventually(lambda: saved.read_text().count("tick") >= already + 5, "what the daemon prints to be saved")
        assert time.monotonic() - began < 5, "saved as it is printed"
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_daemon_that_prints_without_end_fills_no_disk_and_is_not_stopped(machine: Machine) -> None:
    outcome = machine.enable(1, {"commandToExecute": "yes & echo started $!"})
    daemon = int(outcome.message.split("started ")[1].split()[0])
    try:
        saved = machine.download_folder(1) / "stdout"
        limit = 10 << 20
        eventually(lambda: saved.stat().st_size >= limit, "the file to be full")
        printed = written_bytes(daemon)
        eventually(lambda: written_bytes(daemon) > printed + limit, "the daemon to go on")
        assert saved.stat().st_size <= limit + 200
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_hundred_megabytes_are_read_and_only_ten_are_kept(machine: Machine) -> None:
    prints = "echo first; yes 0123456789 | head -c 100000000; echo last"
    began = time.monotonic()
    # The script's parent is the handler.
    machine.enable(1, {"commandToExecute": f"{prints}; grep VmHWM /proc/$PPID/status >peak"})
    assert time.monotonic() - began < 15
    peak_kib = int((machine.download_folder(1) / "peak").read_text().split()[1])
    assert peak_kib < 40 << 10
    saved = machine.download_folder(1) / "stdout"
    assert 10 << 20 <= saved.stat().st_size < (10 << 20) + 200
    assert saved.read_bytes().endswith(b" more bytes were printed here and dropped]\n")
    message = machine.status(1)["formattedMessage"]["message"]
    assert len(message) < 5000
    assert message.startswith("Enable succeeded: \n[stdout]\nfirst\n")
    assert f"bytes left out; the first {10 << 20} bytes are in {saved} ...]" in message
    assert message.endswith("last\n\n[stderr]\n")


def test_a_full_disk_costs_the_saved_output_and_not_the_script(machine: Machine) -> None:
    # A limit on the size of files stands for the disk: the handler's writes fail in the same way.
    machine.write_settings(1, {"commandToExecute": "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last"})
    blocks = 100
    assert machine.run("enable", 1, prefix=f"ulimit -f {blocks}; exec ") == 0
    status = machine.status(1)
    assert status["status"] == "success"
    assert status["formattedMessage"]["message"].endswith("\nlast\n\n[stderr]\n")
    assert (machine.download_folder(1) / "stdout").stat().st_size <= blocks * 1024


def test_output_that_is_no_utf8_stays_readable(machine: Machine) -> None:
    outcome = machine.enable(1, {"commandToExecute": r"printf 'gr\303\274n \377 \000 rot'"})
    assert outcome.message == "Enable succeeded: \n[stdout]\ngrün � \0 rot\n[stderr]\n"


def test_only_root_reads_what_is_left_and_the_script_has_the_umask_of_the_agent(machine: Machine) -> None:
    before = os.umask(0o022)
    try:
        machine.enable(1, {"commandToExecute": "echo made > made"})
    finally:
        os.umask(before)
    folder = machine.download_folder(1)
    modes = {
        folder: 0o700,
        folder / "stdout": 0o600,
        folder / "stderr": 0o600,
        folder / "made": 0o644,
        machine.install / "mrseq": 0o600,
        machine.install / "status" / "1.status": 0o600,
        machine.logs / "CustomScript.log": 0o600,
    }
    assert {path: oct(stat.S_IMODE(path.stat().st_mode)) for path in modes} == {
        path: oct(mode) for path, mode in modes.items()
    }


def test_older_settings_are_emptied_and_older_scripts_removed(machine: Machine) -> None:
    machine.enable(1, {"script": base64.b64encode(b"#!/bin/sh\nkeep=1; echo hi > kept\n").decode()})
    machine.enable(2, {"commandToExecute": "true"})
    assert (machine.install / "config" / "1.settings").read_bytes() == b""
    assert (machine.install / "config" / "2.settings").stat().st_size > 0
    assert not (machine.download_folder(1) / "script.sh").exists()
    assert (machine.download_folder(1) / "kept").exists()


def test_uninstall_leaves_nothing_behind(machine: Machine) -> None:
    machine.enable(1, {"commandToExecute": "touch made"})
    assert machine.run("disable", 1) == 0
    assert machine.download_folder(1).exists()
    assert machine.run("uninstall", 1) == 0
    assert not (machine.lib / "custom-script").exists()
    assert machine.run("uninstall", 1) == 0, "again, after a crash"


def test_install_and_update_do_nothing_to_the_machine(machine: Machine) -> None:
    assert machine.run("install") == 0
    assert machine.run("update", variables={"VERSION": "2.1.0"}) == 0
    assert sorted(path.name for path in machine.lib.iterdir()) == [machine.install.name]


def test_a_machine_without_python_is_told_so_with_52(machine: Machine, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "dirname").symlink_to("/usr/bin/dirname")
    machine.path = str(programs)
    assert machine.run("install") == 52
    assert "no Python 3.9 or later" in machine.said()


def test_a_full_log_moves_aside_once(machine: Machine) -> None:
    log = machine.logs / "CustomScript.log"
    log.write_bytes(b"x" * (1 << 20))
    assert machine.run("disable") == 0
    assert (machine.logs / "CustomScript.log.1").stat().st_size == 1 << 20
    assert 0 < log.stat().st_size < 1000


def test_an_environment_that_no_agent_writes_is_a_clear_error(machine: Machine) -> None:
    for content in ("", "{}", "[]", '[{"handlerEnvironment": {"logFolder": 1}}]'):
        (machine.install / "HandlerEnvironment.json").write_text(content)
        assert machine.run("enable", 1) == 1
    assert machine.said().count("HandlerEnvironment.json") == 4
    assert "Traceback" not in machine.said()


def begun(machine: Machine, number: int) -> bool:
    path = machine.download_folder(number) / "stdout"
    return path.exists() and "begun" in path.read_text()


def written_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/io").read_text()
    return int(text.partition("wchar: ")[2].split()[0])

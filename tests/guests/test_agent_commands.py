"""Commands that fail, hang, print without end, are killed or outlive the agent."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import GATE, HANDLER, Machine, eventually

QUICK = {"killAfterSeconds": 0.5, "reportDelaySeconds": 0.1}


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent=QUICK) as running:
        yield running


def begins(machine: Machine, command: str, number: int = 1) -> None:
    eventually(lambda: f"1.0.0 {command} {number}" in machine.order())


@pytest.mark.parametrize(
    ("command", "code", "reason", "azure"),
    [
        ("install", 3, "InstallFailed", 1007),
        ("enable", 3, "EnableFailed", 1009),
        ("install", 51, "UnsupportedOS", 1007),
    ],
)
def test_a_command_that_fails_is_told_with_what_it_printed(
    machine: Machine, command: str, code: int, reason: str, azure: int
) -> None:
    machine.does(command, f"echo to stdout; echo to stderr >&2; exit {code}")
    machine.want()

    status = machine.ends("Failed")

    line = f"/var/lib/waagent/{HANDLER}-1.0.0/handler {command}"
    assert status["reason"] == reason
    assert f"Non-zero exit code: {code}, {line}\n[stdout]\nto stdout\n\n\n[stderr]\nto stderr\n" in status["message"]
    assert status["handlerStatus"]["code"] == azure
    assert status["handlerStatus"]["status"] == "NotReady"


def test_a_failing_script_is_not_a_failing_handler(machine: Machine) -> None:
    machine.does("enable", "report error 'it did not work'")
    machine.want()

    status = machine.ends("Failed")

    assert (status["reason"], status["message"]) == ("ExecutionFailed", "it did not work")
    assert status["handlerStatus"]["status"] == "Ready"
    assert status["extensionStatus"]["status"] == "error"


def test_a_failing_enable_that_wrote_a_status_keeps_both(machine: Machine) -> None:
    machine.does("enable", "report error 'why it failed'; exit 9")
    machine.want()

    status = machine.ends("Failed")

    assert status["reason"] == "EnableFailed"
    assert status["extensionStatus"]["message"] == "why it failed"


def test_a_missing_interpreter_and_a_missing_program_have_reasons_of_their_own(machine: Machine) -> None:
    machine.does("install", "chmod a-x handler; exit 0")
    machine.want()

    assert machine.ends("Failed")["reason"] == "NotExecutable"

    content = agent_machine.tracer_zip(installCommand="no-such-program")
    machine.want("two", handler="Test.Two", package=machine.package(content, "two.zip"))
    assert machine.ends("Failed", "two")["reason"] == "MissingInterpreter"


def test_a_hanging_enable_is_ended_at_its_time_out_with_its_children(machine: Machine) -> None:
    machine.does("enable", "echo began; sleep 1000 & sleep 1000")
    machine.want(timeout_s=1)

    status = machine.ends("Failed")

    assert status["reason"] == "TimedOut"
    assert "[stdout]\nbegan\n" in status["message"]
    assert status["handlerStatus"]["code"] == 1011
    eventually(lambda: not [one for one in machine.guest.processes() if one.argv[:1] == ["sleep"]])


def test_a_command_that_ignores_sigterm_is_killed(machine: Machine) -> None:
    machine.does("enable", "trap '' TERM; while :; do sleep 0.1; done")
    machine.want(timeout_s=1)

    assert machine.ends("Failed")["reason"] == "TimedOut"


def test_a_hanging_command_does_not_keep_the_agent_from_reporting(machine: Machine) -> None:
    machine.want("a", handler="Test.A")
    machine.ends("Succeeded", "a")
    machine.does("enable", GATE + "report success done")
    machine.want()

    machine.wait(lambda one: (one["outcome"], one.get("operation")) == ("Running", "Enable"))
    folder = "/var/lib/waagent/Test.A-1.0.0/status/1.status"
    text = '[{"status": {"status": "error", "formattedMessage": {"message": "it broke later"}}}]'
    machine.guest.write(folder, text.encode())
    machine.wait(lambda one: one.get("message") == "it broke later", "a")

    machine.open_gate()
    machine.ends("Succeeded")


def test_what_enable_leaves_running_lives_on_and_its_status_is_seen_when_written(machine: Machine) -> None:
    script = "(" + GATE + "report success later; sleep 1000) &\nreport transitioning working"
    machine.does("enable", script)
    machine.want()

    status = machine.wait(lambda one: one["outcome"] == "Running" and "extensionStatus" in one)
    assert status["extensionStatus"]["status"] == "transitioning"
    machine.kill_agent()
    machine.open_gate()

    assert machine.ends("Succeeded")["extensionStatus"]["message"] == "later"
    assert [one for one in machine.guest.processes() if one.argv == ["sleep", "1000"]]


def test_an_enable_without_a_status_times_out_and_a_late_status_still_wins(machine: Machine) -> None:
    machine.does("enable", "(" + GATE + "report success late) &")
    machine.want(timeout_s=1)

    status = machine.ends("Failed")
    assert status["reason"] == "TimedOut"
    assert "wrote no status" in status["message"]

    machine.open_gate()
    machine.ends("Succeeded")


def test_a_time_out_of_ages_is_only_long(machine: Machine) -> None:
    machine.does("enable", "report transitioning working")
    machine.want(timeout_s=2**62)
    machine.wait(lambda one: one["outcome"] == "Running" and "extensionStatus" in one)

    machine.does("enable", "report success done")
    machine.want()

    machine.ends("Succeeded")
    assert "the worker ended" not in machine.guest.service_log("agent").decode()


def test_a_hundred_megabytes_of_output_are_capped_and_their_ends_kept(machine: Machine) -> None:
    lines = "head -c 104857600 /dev/zero | tr '\\0' x"
    machine.does("enable", f"echo first; {lines}; {GATE} echo; echo last; exit 4")
    machine.want()
    begins(machine, "enable")
    stdout = "/var/lib/vmext/commands/one/stdout"
    eventually(lambda: machine.guest.exists(f"{stdout}.head"))
    eventually(lambda: int(machine.guest.run(["stat", "-c", "%s", stdout]).stdout) < 8 << 20)

    machine.open_gate()
    status = machine.ends("Failed")

    assert "[stdout]\nfirst\n" in status["message"]
    assert "\nlast\n" in status["message"]
    assert len(status["message"]) < 8192


def test_what_is_still_written_to_when_a_command_ends_is_kept_where_it_is_capped(machine: Machine) -> None:
    machine.does("enable", "sleep 1000 &\nreport success started")
    machine.want()
    machine.ends("Succeeded")

    kept = machine.guest.run(["ls", "/var/lib/vmext/output"]).stdout.decode().split()

    assert {name.rpartition(".")[2] for name in kept} == {"stderr", "stdout"}
    assert not machine.guest.exists("/var/lib/vmext/commands/one")


def test_output_that_is_no_text_is_shown_as_escapes(machine: Machine) -> None:
    machine.does("enable", r"printf 'a\377b\000c\033[1m\n'; exit 2")
    machine.want()

    status = machine.ends("Failed")

    assert "a\\xffb\\x00c\\x1b[1m" in status["message"]


@pytest.mark.parametrize("who", ["worker", "agent"])
def test_a_command_outlives_the_agent_is_picked_up_and_runs_once(machine: Machine, who: str) -> None:
    machine.does("install", GATE + "exit 0")
    machine.want()
    begins(machine, "install")

    machine.kill_worker() if who == "worker" else machine.kill_agent()
    eventually(lambda: "Picked up a command" in machine.log())
    machine.open_gate()

    machine.ends("Succeeded")
    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1"]


def test_a_command_that_ended_while_no_agent_lived_is_known(machine: Machine) -> None:
    machine.does("install", GATE + "exit 5")
    machine.want()
    begins(machine, "install")
    machine.guest.write("/etc/vmext/held.json", machine.guest.read(agent_machine.CONFIG))
    machine.guest.run(["rm", agent_machine.CONFIG])
    machine.guest.kill_service("agent")
    eventually(lambda: not [one for one in machine.guest.processes() if "worker" in one.argv])

    machine.open_gate()
    eventually(lambda: machine.guest.exists("/var/lib/vmext/commands/one/exit"))
    machine.guest.run(["mv", "/etc/vmext/held.json", agent_machine.CONFIG])

    assert "Non-zero exit code: 5" in machine.ends("Failed")["message"]
    assert machine.order() == ["1.0.0 install 1"]


def reboot(machine: Machine) -> None:
    machine.guest.reboot()


def kill_shell(machine: Machine) -> None:
    for process in machine.guest.processes():
        if process.argv == ["/bin/sh", "/var/lib/vmext/shim"]:
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("interrupt", "script", "reason"),
    [(reboot, "sleep 1000", "InterruptedByReboot"), (kill_shell, "exec sleep 1000", "Interrupted")],
)
def test_a_command_that_is_interrupted_is_begun_three_times_at_most(
    machine: Machine, interrupt: Callable[[Machine], None], script: str, reason: str
) -> None:
    machine.does("install", script)
    machine.want()

    for count in range(1, 4):
        eventually(partial(lambda times: machine.order() == ["1.0.0 install 1"] * times, count))
        interrupt(machine)
    status = machine.ends("Failed")

    assert status["reason"] == reason
    assert machine.order() == ["1.0.0 install 1"] * 3


def test_a_handler_may_end_all_that_has_a_users_word_on_its_command_line(machine: Machine) -> None:
    # As handlers stop their services; the name of the resource is the user's.
    machine.does("disable", "pkill -KILL -f payroll; exit 0")
    machine.want("payroll")
    machine.ends("Succeeded", "payroll")

    machine.remove("payroll")

    assert machine.ends("Removed", "payroll").get("reason") in (None, "")
    assert machine.order()[2:] == ["1.0.0 disable 1", "1.0.0 uninstall 1"]


def test_an_enable_that_is_cancelled_as_it_begins_does_not_go_on(machine: Machine) -> None:
    machine.does("enable", "[ $ConfigSequenceNumber -gt 5 ] || sleep 1000; report success last")
    for _ in range(6):
        machine.want()
        eventually(partial(_is_enabling, machine))

    machine.ends("Succeeded", timeout_s=10)


def _is_enabling(machine: Machine) -> bool:
    return f"sequence_number={machine.last} attempt=1" in machine.log()


def test_a_newer_goal_cancels_a_hanging_enable(machine: Machine) -> None:
    machine.does("enable", "[ $ConfigSequenceNumber = 1 ] && sleep 1000; report success second")
    machine.want()
    begins(machine, "enable")

    machine.want()

    machine.ends("Succeeded", timeout_s=10)
    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1", "1.0.0 enable 2"]


def test_an_uninstall_cancels_a_hanging_enable(machine: Machine) -> None:
    machine.does("enable", "sleep 1000")
    machine.want()
    begins(machine, "enable")

    machine.remove()

    machine.ends("Removed", timeout_s=10)
    eventually(lambda: not [one for one in machine.guest.processes() if one.argv[:1] == ["sleep"]])


def test_a_handler_that_removes_its_own_folder_is_gone_all_the_same(machine: Machine) -> None:
    machine.does("uninstall", 'rm -rf "$PWD"')
    machine.want()
    machine.ends("Succeeded")

    machine.remove()

    machine.ends("Removed")
    machine.want(uid="uid-again")
    machine.ends("Succeeded")


def test_a_handler_whose_manifest_is_gone_is_made_anew(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.guest.run(["rm", f"/var/lib/waagent/{HANDLER}-1.0.0/HandlerManifest.json"])

    machine.want()

    machine.ends("Succeeded")
    assert machine.order()[2:] == ["1.0.0 install 2", "1.0.0 enable 2"]


@pytest.mark.parametrize("seed", [1, 2])
def test_an_agent_killed_at_any_moment_runs_every_command_once(machine: Machine, seed: int) -> None:
    draw = random.Random(seed)
    for command in ("install", "update", "disable", "uninstall"):
        machine.does(command, "sleep 0.03")
    machine.does("enable", "sleep 0.03; report success ok")
    expected: list[str] = []

    for number in range(1, 7):
        old, new = f"1.{number - 1}.0", f"1.{number}.0"
        machine.want(version=new)
        if number > 1:
            expected += [f"{old} disable {number}", f"{new} update {number}", f"{old} uninstall {number}"]
        expected += [f"{new} install {number}", f"{new} enable {number}"]
        for _ in range(2):
            until = time.monotonic() + draw.uniform(0, 0.3)
            eventually(lambda moment=until: time.monotonic() > moment)  # type: ignore[misc]  # a default is a copy
            machine.kill_agent()
        machine.ends("Succeeded")

    assert machine.order() == expected


#: What an enable leaves: one that ends when it is told to, and one that does not, in a session of its own.
_DAEMONS = "sleep 1000 & setsid sh -c \"trap '' TERM; while :; do sleep 0.2; done\" &\nreport success begun"


def _daemons(machine: Machine) -> int:
    own = [one for one in machine.guest.processes() if "trap '' TERM" in " ".join(one.argv) or "1000" in one.argv]
    return len(own)


def test_what_a_handler_left_running_ends_with_its_uninstall_and_not_before(machine: Machine) -> None:
    machine.does("enable", _DAEMONS)
    machine.want()
    machine.ends("Succeeded")
    eventually(lambda: _daemons(machine) == 2)
    # Nothing of it is touched by another run, an agent that dies, or a disable.
    machine.kill_agent()
    machine.does("enable", "report success again")
    machine.want()
    machine.ends("Succeeded")
    assert _daemons(machine) == 2

    machine.remove()

    machine.ends("Removed")
    assert _daemons(machine) == 0


def test_what_a_handler_left_running_stays_where_its_uninstall_fails(machine: Machine) -> None:
    machine.does("enable", _DAEMONS)
    machine.does("uninstall", "exit 3")
    machine.want()
    machine.ends("Succeeded")

    machine.remove()

    machine.ends("Removed")
    assert _daemons(machine) == 2

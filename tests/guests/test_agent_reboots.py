"""Extensions that take their machine down with them, by its own reboot or by a loss of power."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import GATE, Machine, eventually

QUICK = {"killAfterSeconds": 0.5}
#: Waits for nothing: the end of everything comes while it does.
REBOOT = "sync; reboot; sleep 1000"


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent=QUICK) as running:
        yield running


@pytest.fixture
def powered(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent=QUICK, ext4=True, small=False) as running:
        yield running


def enables(machine: Machine) -> int:
    return sum(" enable " in line for line in machine.order())


def has_enabled(machine: Machine, times: int) -> bool:
    return enables(machine) == times


def sleeps(machine: Machine, times: int) -> bool:
    """Tell whether so many enables were begun, the last of which has written that to disk and sleeps."""
    return enables(machine) == times and any(one.argv[:1] == ["sleep"] for one in machine.guest.processes())


def test_an_extension_that_reboots_in_every_enable_is_given_up_after_three(machine: Machine) -> None:
    machine.does("enable", REBOOT)
    machine.want()

    status = machine.ends("Failed")

    assert status["reason"] == "InterruptedByReboot"
    assert "begun 3 times and never ended: the machine was restarted" in status["message"]
    assert machine.order() == ["1.0.0 install 1", *["1.0.0 enable 1"] * 3]
    # Another boot is no reason to try it again, a new number is.
    machine.guest.reboot()
    machine.does("enable", "report success done")
    machine.want()
    machine.ends("Succeeded")
    assert machine.order()[4:] == ["1.0.0 enable 2"]


def test_an_extension_that_remembers_its_number_reboots_once(machine: Machine) -> None:
    script = f"""
if [ -e mrseq ] && [ "$ConfigSequenceNumber" -le "$(cat mrseq)" ]; then report success again; exit 0; fi
echo "$ConfigSequenceNumber" > mrseq
{REBOOT}
"""
    machine.does("enable", script)
    machine.want()

    status = machine.ends("Succeeded")

    assert status["extensionStatus"]["message"] == "again"
    assert machine.order() == ["1.0.0 install 1", *["1.0.0 enable 1"] * 2]


def test_an_install_that_reboots_is_run_again(machine: Machine) -> None:
    machine.does("install", f"[ ! -e /var/once ] || exit 0; touch /var/once; {REBOOT}")
    machine.want()

    machine.ends("Succeeded")

    assert machine.order() == [*["1.0.0 install 1"] * 2, "1.0.0 enable 1"]


@pytest.mark.parametrize("how", ["exit 1", "report error cancelled; exit 143"])
def test_a_handler_that_has_an_answer_to_being_stopped_is_run_again_all_the_same(machine: Machine, how: str) -> None:
    script = f"[ ! -e /var/once ] || {{ report success again; exit 0; }}; touch /var/once; trap '{how}' TERM; {REBOOT}"
    machine.does("enable", f"{script} & wait")
    machine.want()

    status = machine.ends("Succeeded")

    assert status["extensionStatus"]["message"] == "again"
    assert enables(machine) == 2


def test_an_enable_that_has_succeeded_by_its_own_status_and_reboots_then_is_not_run_again(machine: Machine) -> None:
    machine.does("enable", f"report success done; {REBOOT}")
    machine.want()

    status = machine.ends("Succeeded")

    assert status["extensionStatus"]["message"] == "done"
    assert enables(machine) == 1


def test_a_change_of_version_that_is_in_the_midst_of_a_reboot_is_not_taken_back(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("1.1.0/update", f"[ ! -e /var/once ] || exit 0; touch /var/once; {REBOOT}")

    machine.want(version="1.1.0")

    status = machine.ends("Succeeded")
    assert status["installedVersion"] == "1.1.0"
    assert machine.order().count("1.1.0 update 2") == 2


def test_a_reboot_in_the_midst_of_a_boots_enable_is_made_up_for_by_the_next_boot(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("enable", "[ ! -e /var/slow ] || sleep 1000; report success again")
    machine.guest.run(["touch", "/var/slow"])
    boot = machine.guest.boot_id()
    machine.guest.reboot()
    eventually(partial(sleeps, machine, 2))

    machine.guest.run(["rm", "/var/slow"])
    boot = machine.guest.boot_id()
    machine.guest.run(["reboot"], check=False)
    eventually(lambda: machine.guest.boot_id() != boot)

    eventually(partial(has_enabled, machine, 3))
    assert machine.wait(lambda one: one.get("message") != "")["outcome"] == "Succeeded"


def test_a_command_whose_scope_is_stopped_by_hand_is_begun_again(machine: Machine) -> None:
    machine.does("install", "[ ! -e /var/once ] || exit 0; touch /var/once; sleep 1000")
    machine.want()
    eventually(lambda: any(one.argv[:1] == ["sleep"] for one in machine.guest.processes()))

    # What systemd does: every process of the scope gets the signal, and the shell is one of them.
    for process in machine.guest.processes():
        if process.argv[:1] in (["sleep"], ["sh"], ["/bin/sh"]):
            os.kill(process.pid, signal.SIGTERM)

    machine.ends("Succeeded")
    assert machine.order() == [*["1.0.0 install 1"] * 2, "1.0.0 enable 1"]


def test_the_time_of_an_enable_counts_on_across_reboots(machine: Machine) -> None:
    # Three of its six seconds are over when the machine goes down; how long it is down is no part of them.
    again = "cat /proc/uptime > /var/begun; while :; do cat /proc/uptime >> /var/last; sleep 0.1; done"
    machine.does("enable", f"[ ! -e /var/once ] || {{ {again}; }}; touch /var/once; sleep 3; {REBOOT}")
    machine.want(timeout_s=6)

    status = machine.ends("Failed")

    assert status["reason"] == "TimedOut"
    assert enables(machine) == 2
    begun, last = (float(machine.guest.read(f"/var/{name}").splitlines()[-1].split()[0]) for name in ("begun", "last"))
    assert 0 < last - begun < 5


def test_an_extension_that_costs_the_machine_its_power_is_given_up_after_three(powered: Machine) -> None:
    # Of all that is written when it begins, only this is on disk: the agent's own start record need not be.
    powered.does("enable", "sync /var/log/tracer.order /var/log; sleep 1000")
    powered.guest.run(["sync"])
    powered.want()

    for number in (1, 2, 3):
        eventually(partial(sleeps, powered, number))
        powered.guest.lose_power()

    status = powered.ends("Failed")
    assert status["reason"] == "InterruptedByReboot"
    assert enables(powered) == 3


def _has_taken(machine: Machine) -> bool:
    state = machine.state()
    taken: bool = state["status"]["observedGeneration"] == state["metadata"]["generation"]
    return taken


def test_a_version_that_fails_while_a_boot_enables_leaves_the_old_one_enabled(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("1.0.0/enable", f"{GATE} report success again")
    machine.does("1.1.0/install", "exit 7")
    machine.guest.reboot()
    eventually(lambda: enables(machine) == 2)

    machine.want(version="1.1.0")
    eventually(partial(_has_taken, machine))
    machine.open_gate()
    status = machine.ends("Failed")

    assert (status["installedVersion"], status["failedVersion"]) == ("1.0.0", "1.1.0")
    assert machine.order()[2:] == [
        "1.0.0 enable 1",
        "1.0.0 disable 2",
        "1.1.0 update 2",
        "1.0.0 uninstall 2",
        "1.1.0 install 2",
        "1.1.0 uninstall 2",
        "1.0.0 install 1",
        "1.0.0 enable 1",
    ]


def test_a_removal_does_not_wait_for_the_enable_that_comes_before_another_version(machine: Machine) -> None:
    machine.want()
    machine.ends("Succeeded")
    machine.does("1.0.0/enable", "sleep 1000")
    machine.want(version="1.1.0", package={**machine.package(b"another"), "sha256": "0" * 64})
    machine.wait(lambda one: one.get("reason") == "PackageInvalid" or one["outcome"] == "Failed")
    machine.guest.reboot()
    eventually(lambda: enables(machine) == 2)

    machine.remove()

    machine.ends("Removed", timeout_s=10)
    assert machine.order()[3:] == ["1.0.0 disable 2", "1.0.0 uninstall 2"]

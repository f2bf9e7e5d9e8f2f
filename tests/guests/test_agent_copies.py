"""Copies of an enrolled machine: they take no orders as the one that they were copied from, and become their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
import simulated_guest
from development import credentials
from development.api import Api
from development.house import agent_service
from guests import agent_machine
from guests.agent_machine import Machine, eventually
from guests.enrolled_machine import ANCHOR, IDENTITY, bundle, pem, run
from support import copies
from support.guests import skipping
from vmext_operator.api.goal_state import name_of

LOG = "/var/log/waagent.log"


@pytest.fixture
def original(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    """A machine that is enrolled, and has run one extension."""
    with agent_machine.running(cluster, api, tmp_path, start=False) as machine:
        machine.guest.run(["rm", "-r", "/etc/vmext"])
        assert run(machine, "enroll", given=bundle(machine))[0] == 0
        machine.guest.start_service(agent_service())
        machine.want()
        machine.ends("Succeeded")
        yield machine


@pytest.fixture
def clone(original: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Another machine with all files of that one; its agent does not run yet."""
    with skipping(), simulated_guest.running("clone-1", folder=tmp_path / "clone") as guest:
        copies.copy(original.guest, guest)
        yield Machine(original.name, original.api, original.cluster, guest, original.served, original.url)


def is_standing_by(machine: Machine) -> bool:
    return "This machine takes no orders" in machine.guest.read(LOG).decode()


def given_name(machine: Machine, name: str) -> dict[str, str]:
    """Return what enrolling as another VirtualMachine would print."""
    token = credentials.issue(machine.api, name, ANCHOR)
    return bundle(machine, name=name, uid=f"{name}-uid", goalState=name_of(name, ANCHOR), token=token)


def test_a_copy_takes_no_orders_and_says_so(original: Machine, clone: Machine) -> None:
    clone.guest.start_service(agent_service())
    eventually(lambda: is_standing_by(clone))
    token = clone.guest.read("/etc/vmext/token")

    original.want(settings={"again": True})
    original.ends("Succeeded")

    assert len(original.order()) == 3
    assert clone.order() == []
    code, said, _ = run(clone, "status")
    assert code == 4
    assert f"{original.api.namespace}/web-1 was enrolled on another machine: machine-id" in said
    assert "vmext-agent confirm" in said
    assert "kubectl vmext enroll NAME" in said
    assert clone.guest.read("/etc/vmext/token") == token
    # Nor does it change its key for the one that it is a copy of.
    assert run(clone, "rotate-key")[0] == 2
    # The original goes on, also over a boot of its own.
    assert run(original, "status")[0] == 0
    original.guest.reboot()
    original.want(settings={"again": False})
    original.ends("Succeeded")
    # And so does the copy over its own: nothing comes of the goal that it has on its disk.
    clone.guest.reboot()
    eventually(lambda: clone.guest.read(LOG).decode().count("This machine takes no orders") == 2)
    assert clone.order() == []


def test_a_machine_that_was_moved_is_confirmed_by_one_command(original: Machine, clone: Machine) -> None:
    clone.guest.start_service(agent_service())
    eventually(lambda: is_standing_by(clone))
    original.guest.run(["rm", "-r", "/etc/vmext"])
    original.kill_agent()

    code, said, _ = run(clone, "confirm")

    assert code == 0
    assert "this machine is" in said
    assert "machine-id" in said
    clone.entries, clone.last = original.entries, original.last
    clone.want(settings={"again": True})
    clone.ends("Succeeded")
    assert run(clone, "status")[0] == 0


def test_a_copy_enrols_as_another_machine_with_nothing_of_the_first_ones(original: Machine, clone: Machine) -> None:
    before = pem(original)
    clone.guest.start_service(agent_service())
    eventually(lambda: is_standing_by(clone))

    code, said, complained = run(clone, "enroll", given=given_name(clone, "web-2"))

    assert (code, complained) == (0, "")
    assert f"this has what is {original.api.namespace}/web-1's and is another machine now" in said
    is_another(original, clone, before)


@pytest.mark.parametrize("removed", ["/etc/vmext", "/var/lib/vmext"])
def test_a_golden_image_that_was_cleared_in_part_makes_another_machine(
    original: Machine, clone: Machine, removed: str
) -> None:
    before = pem(original)
    # Even where nothing tells the two machines apart.
    copies.same_facts(original.guest, clone.guest)
    clone.guest.run(["rm", "-r", removed])

    code, _, complained = run(clone, "enroll", given=given_name(clone, "web-2"))

    assert (code, complained) == (0, "")
    clone.guest.start_service(agent_service())
    is_another(original, clone, before)


def is_another(original: Machine, clone: Machine, before: str) -> None:
    """Check that a clone has become a machine of its own, while the original goes on."""
    assert pem(clone) != before
    left = clone.guest.run(["sh", "-c", "ls /var/lib/waagent/*.prv"]).stdout.decode().split()
    assert len(left) == 1
    assert json.loads(clone.guest.read("/etc/vmext/agent.json"))["name"] == "web-2"
    clone.name, clone.more = "web-2", {"vmUID": "web-2-uid"}
    clone.apply()
    # It has seen the goal of its own, and nothing came of the one that was in the image.
    clone.api.wait("GoalState", "web-2", lambda goal: "observedGeneration" in ((goal or {}).get("status") or {}))
    assert clone.order() == []
    # The handler has seen number 1 on this disk: a lower one, or the same, would be left alone by it.
    clone.want(uid="uid-of-another")
    clone.wait(lambda one: one.get("reason") == "SequenceBehind" or one["outcome"] == "Succeeded")
    clone.last = max(clone.last, clone.state()["status"]["highestSequenceNumber"])
    clone.want(uid="uid-of-another")
    clone.ends("Succeeded")
    assert run(original, "status")[0] == 0
    original.want(settings={"again": True})
    original.ends("Succeeded")


def test_one_paste_puts_a_machine_right_that_was_deleted_and_declared_again(original: Machine) -> None:
    before = pem(original)
    original.guest.run(["cp", "/var/lib/vmext/goal.json", "/var/kept.json"])

    code, said, complained = run(original, "enroll", given=bundle(original, uid="uid-new", anchorUID="anchor-new"))

    assert (code, complained) == (0, "")
    assert "web-1 was deleted and declared again" in said
    assert pem(original) != before
    assert json.loads(original.guest.read("/etc/vmext/agent.json"))["uid"] == "uid-new"
    # What is on disk of the old one's goal is not taken for the new one's, even if it was written a moment too late.
    original.guest.run(["cp", "/var/kept.json", "/var/lib/vmext/goal.json"])
    worked = original.log().count("Working from the last goal state")
    original.guest.reboot()
    original.api.delete("GoalState", original.name)
    original.more = {"vmUID": "uid-new"}
    original.apply()
    eventually(lambda: original.log().count("A new goal state") > worked)
    assert original.log().count("Working from the last goal state") == worked
    # What is encrypted to the key before can still be read: handlers look for it beside their folders.
    assert len(original.guest.run(["sh", "-c", "ls /var/lib/waagent/*.prv"]).stdout.split()) == 2


def test_a_machine_becomes_another_one_after_unenroll_as_is_advised(original: Machine) -> None:
    given = given_name(original, "web-2")
    code, _, complained = run(original, "enroll", given=given)
    assert code == 2
    assert "is enrolled as" in complained
    assert "vmext-agent unenroll, then paste again" in complained

    code, said, _ = run(original, "unenroll")
    assert code == 0
    assert "kubectl vmext revoke web-1" in said
    assert not original.guest.exists("/var/lib/vmext/installation.json")
    assert not original.guest.exists(IDENTITY)
    assert run(original, "enroll", given=given)[0] == 0


def test_a_copy_that_is_unenrolled_does_not_ask_to_revoke_the_original(original: Machine, clone: Machine) -> None:
    code, said, _ = run(clone, "unenroll")

    assert code == 0
    assert "revoke" not in said
    assert "web-1 itself stays enrolled" in said


def test_what_changed_in_the_life_of_a_machine_is_confirmed_and_stops_nothing(original: Machine) -> None:
    guest = original.guest
    guest.write("/run/cloud-init/instance-data.json", b'{"v1": {"instance_id": "i-0001"}}')
    assert run(original, "confirm")[0] == 0
    guest.write("/run/cloud-init/instance-data.json", b'{"v1": {"instance_id": "i-0002"}}')
    original.kill_agent()

    original.want(settings={"again": True})
    original.ends("Succeeded")

    code, said, _ = run(original, "status")
    assert code == 0
    assert "cloud instance ID i-0002, was i-0001; if that is right: vmext-agent confirm" in said
    assert run(original, "confirm")[0] == 0
    assert "has changed" not in run(original, "status")[1]


def test_a_configuration_without_its_key_takes_no_orders(original: Machine) -> None:
    original.guest.run(["rm", "-r", "/var/lib/vmext"])
    original.kill_agent()

    eventually(lambda: is_standing_by(original))
    code, said, _ = run(original, "status")
    assert code == 4
    assert "whose key is not on this machine" in said
    # The advice leads on: confirm can't, and names the paste, which does.
    code, _, complained = run(original, "confirm")
    assert code == 2
    assert "paste what kubectl vmext enroll prints" in complained
    assert run(original, "enroll", given=bundle(original, anchorUID="anchor-new"))[0] == 0
    assert run(original, "status")[0] == 0

"""Copies of a machine, images, snapshots, and machines that were declared anew: each ends well, by what is advised."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import simulated_guest
from development.api import Object, TimedOutError, condition, is_ready
from development.house import House, agent_service, extension
from support import copies, writes
from support.guests import skipping
from support.plugin import Plugin
from support.waiting import eventually

_numbers = itertools.count(1)
#: After the first seconds all machines together write so much at most, and Events are as few.
SETTLED_S, WATCHED_S = 10.0, 20.0
WRITES_A_SECOND, EVENTS_A_MINUTE = 2.0, 1
CONDITION_S = 60.0
#: Ends differently on each machine, and leaves a mark.
SCRIPT = "date >> /var/ran; cat /etc/hostname; grep -q origin /etc/hostname"


@pytest.fixture
def kubectl(home: House) -> Plugin:
    return Plugin(home.cluster.kubeconfig, home.api.namespace)


@pytest.fixture
def name() -> str:
    return f"origin-{next(_numbers)}"


@pytest.fixture
def original(home: House, kubectl: Plugin, name: str) -> simulated_guest.Guest:
    """A machine that is enrolled as people do it, with one extension that is ready."""
    with skipping():
        guest = home.add_guest(name)
    declare(home, name)
    enrol(home, kubectl, guest, name)
    guest.start_service(agent_service())
    home.api.wait("VirtualMachine", name, lambda vm: bool(credential(vm).get("expiresAt")), timeout_s=60)
    home.api.apply(extension(name, name, settings={"commandToExecute": SCRIPT}))
    home.api.wait_ready(name, timeout_s=60)
    return guest


def declare(home: House, name: str) -> Object:
    return home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})


def credential(machine: Object | None) -> Mapping[str, Any]:
    return ((machine or {}).get("status") or {}).get("credential") or {}


def enrol(home: House, kubectl: Plugin, guest: simulated_guest.Guest, name: str, *options: str) -> str:
    """Paste what the plugin prints into a shell on a machine; return what the agent says there."""
    printed = kubectl.good("enroll", name, *options).out
    return guest.run(["sh", "-c", printed]).stdout.decode()


@contextlib.contextmanager
def cloned(home: House, original: simulated_guest.Guest, number: int, **options: Any) -> Iterator[list[Any]]:
    """Make so many copies of a machine; their agents do not run yet."""
    with contextlib.ExitStack() as closing, skipping():
        guests = []
        for one in range(number):
            made = f"clone-{one}"
            guest = closing.enter_context(simulated_guest.running(made, folder=home.folder / f"of-{original.name}"))
            guest.write("/usr/bin/vmext-agent", original.read("/usr/bin/vmext-agent"), mode=0o755)
            copies.copy(original, guest, **options)
            guests.append(guest)
        yield guests


def ran(guest: simulated_guest.Guest) -> int:
    try:
        return guest.read("/var/ran").decode().count("\n")
    except FileNotFoundError:
        return 0


def duplicate(home: House, name: str) -> Mapping[str, Any] | None:
    return condition(home.api.get("VirtualMachine", name), "DuplicateIdentity")


def events(home: House) -> int:
    found = home.api.request("GET", f"/api/v1/namespaces/{home.api.namespace}/events")["items"]
    return sum(int(one.get("count") or 1) for one in found)


def await_condition(home: House, name: str) -> Mapping[str, Any]:
    vm = home.api.wait(
        "VirtualMachine", name, lambda one: condition(one, "DuplicateIdentity") is not None, timeout_s=CONDITION_S
    )
    found = condition(vm, "DuplicateIdentity")
    assert found is not None
    return found


def is_quiet(home: House, begun: float) -> None:
    """Check that no more is written than may be, once the first seconds are over."""
    time.sleep(max(0.0, begun + SETTLED_S - time.monotonic()))
    written, told, since = writes.count(home.cluster), events(home), time.monotonic()
    time.sleep(WATCHED_S)
    passed = time.monotonic() - since
    assert (writes.count(home.cluster) - written) / passed <= WRITES_A_SECOND
    assert events(home) - told <= EVENTS_A_MINUTE


@pytest.mark.parametrize("number", [2, 5])
def test_copies_of_a_machine_harm_nothing_and_are_said(
    home: House, kubectl: Plugin, original: simulated_guest.Guest, name: str, number: int
) -> None:
    with cloned(home, original, number) as guests:
        begun, told = time.monotonic(), events(home)
        for guest in guests:
            guest.start_service(agent_service())

        found = await_condition(home, name)
        assert found["reason"] == "CopyFound"
        is_quiet(home, begun)
        assert events(home) - told <= EVENTS_A_MINUTE
        message = str((duplicate(home, name) or {})["message"])
        assert f"{number} of it found" in message
        for guest in guests:
            assert guest.name in message
            assert guest.read("/etc/machine-id").decode().strip() in message
        assert original.read("/etc/machine-id").decode().strip() in message

        home.api.apply(extension(name, name, settings={"commandToExecute": f"{SCRIPT} # again"}))
        home.api.wait_ready(name)
        assert ran(original) == 2
        assert [ran(guest) for guest in guests] == [0] * number
        assert is_ready(home.api.get("VirtualMachine", name))
        assert f"DuplicateIdentity, CopyFound: {number} of it found" in kubectl.run("doctor", "--no-packages").out

        # One becomes a machine of its own, by what is advised; the others by being unenrolled.
        first, *others = guests
        declare(home, f"{name}-b")
        assert "is another machine now" in enrol(home, kubectl, first, f"{name}-b")
        for guest in others:
            assert guest.run(["vmext-agent", "unenroll"], check=False).returncode == 0
        home.api.wait("VirtualMachine", name, lambda vm: condition(vm, "DuplicateIdentity") is None)
        home.api.wait(
            "VirtualMachine",
            f"{name}-b",
            lambda vm: bool(credential(vm).get("thumbprint")) and is_ready(vm),
            timeout_s=60,
        )
        mine = credential(home.api.get("VirtualMachine", name))["thumbprint"]
        assert credential(home.api.get("VirtualMachine", f"{name}-b"))["thumbprint"] != mine
        home.api.apply(extension(f"{name}-b", f"{name}-b", settings={"commandToExecute": "date >> /var/ran"}))
        home.api.wait_ready(f"{name}-b", timeout_s=60)
        assert (ran(first), ran(original)) == (1, 2)


def test_copies_that_nothing_tells_apart_find_out_and_one_is_left(
    home: House, kubectl: Plugin, original: simulated_guest.Guest, name: str
) -> None:
    with cloned(home, original, 2) as guests:
        for guest in guests:
            copies.same_facts(original, guest)
        begun, told = time.monotonic(), events(home)
        for guest in guests:
            guest.start_service(agent_service())

        await_condition(home, name)
        is_quiet(home, begun)
        assert events(home) - told <= 3
        statuses = [guest.run(["vmext-agent", "status"], check=False).returncode for guest in guests]
        assert statuses == [4, 4]
        assert original.run(["vmext-agent", "status"]).returncode == 0
        said = guests[0].run(["vmext-agent", "status"], check=False).stdout.decode()
        assert "another machine has the same installation and was there before" in said

        before = [ran(guest) for guest in guests]
        home.api.apply(extension(name, name, settings={"commandToExecute": f"{SCRIPT} # again"}))
        home.api.wait_ready(name)
        assert [ran(guest) for guest in guests] == before
        # It is the other one that is meant: one paste shuts the first out.
        enrol(home, kubectl, guests[0], name, "--again")
        home.api.apply(extension(name, name, settings={"commandToExecute": "date >> /var/ran"}))
        home.api.wait_ready(name, timeout_s=60)
        eventually(lambda: ran(guests[0]) == before[0] + 1)


def test_an_image_without_its_configuration_makes_a_machine_that_works(
    home: House, kubectl: Plugin, original: simulated_guest.Guest, name: str
) -> None:
    with cloned(home, original, 1, folders=("/var/lib/vmext", "/var/lib/waagent")) as (guest,):
        other = f"{name}-b"
        declare(home, other)
        enrol(home, kubectl, guest, other)
        guest.start_service(agent_service())

        vm = home.api.wait("VirtualMachine", other, lambda one: bool(credential(one).get("thumbprint")), timeout_s=60)
        assert credential(vm)["thumbprint"] != credential(home.api.get("VirtualMachine", name))["thumbprint"]
        assert ran(guest) == 0
        home.api.apply(extension(other, other, settings={"commandToExecute": "date >> /var/ran"}))
        home.api.wait_ready(other, timeout_s=60)
        assert ran(guest) == 1
        assert duplicate(home, name) is None


def follow(home: House, kubectl: Plugin, guest: simulated_guest.Guest, name: str) -> list[str]:
    """Do what the doctor says of a machine until nothing is wrong with it; return what it advised."""
    advised: list[str] = []
    for _ in range(4):
        found = kubectl.run("doctor", "--vm-name", name, "--no-packages", "-o", "json").json
        enrolling = [
            again[0]
            for one in found
            if one["what"] == name and one["level"] != "ok"
            for again in [re.findall(rf"kubectl vmext enroll {name}(?: --again)?", one["remedy"])]
            if again
        ]
        if not enrolling:
            return advised
        advised.append(enrolling[0])
        said = enrol(home, kubectl, guest, *enrolling[0].split()[3:])
        pasted = re.findall("certificate ([0-9A-F]{40})", said)
        with contextlib.suppress(TimedOutError):
            home.api.wait("VirtualMachine", name, functools.partial(is_known_by, pasted[0]))
    raise AssertionError(f"the advice leads nowhere: {advised}")


def test_a_machine_that_was_deleted_and_declared_again_is_put_right_by_one_paste(
    home: House, kubectl: Plugin, original: simulated_guest.Guest, name: str
) -> None:
    before = credential(home.api.get("VirtualMachine", name))["thumbprint"]
    home.api.delete("VirtualMachine", name)
    home.api.wait_gone("VirtualMachine", name)
    declare(home, name)
    home.api.wait("VirtualMachine", name, lambda vm: (condition(vm, "Enrolled") or {}).get("reason") == "NotEnrolled")
    marks = ran(original)

    advised = follow(home, kubectl, original, name)

    assert advised == [f"kubectl vmext enroll {name}"]
    assert credential(home.api.get("VirtualMachine", name))["thumbprint"] != before
    home.api.wait_ready(name, timeout_s=60)
    assert ran(original) <= marks + 1


def is_known_by(thumbprint: str, vm: Object | None) -> bool:
    return is_enrolled(vm) and is_ready(vm) and credential(vm).get("thumbprint") == thumbprint


def is_enrolled(vm: Object | None) -> bool:
    found = condition(vm, "Enrolled")
    return found is not None and found["status"] == "True"


def test_a_snapshot_from_before_a_rotation_is_put_right_by_one_paste(
    home: House, kubectl: Plugin, original: simulated_guest.Guest, name: str
) -> None:
    paths = [folder.lstrip("/") for folder in copies.FOLDERS]
    snapshot = original.run(["tar", "-C", "/", "--create", *paths]).stdout
    before = credential(home.api.get("VirtualMachine", name))["thumbprint"]
    original.run(["vmext-agent", "rotate-key"])
    home.api.wait("VirtualMachine", name, lambda vm: credential(vm).get("thumbprint") != before, timeout_s=60)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"key": "{}"}}
    home.api.request("POST", f"/api/v1/namespaces/{home.api.namespace}/secrets", secret)
    sealed = {"secretRef": {"name": name, "key": "key"}}
    home.api.apply(extension(name, name, settings={"commandToExecute": SCRIPT}, protectedSettings=sealed))
    home.api.wait_ready(name, timeout_s=60)

    original.run(["rm", "-rf", *copies.FOLDERS])
    original.run(["tar", "-C", "/", "--extract", "--preserve-permissions"], input=snapshot)
    original.reboot()

    vm = home.api.wait(
        "VirtualMachine", name, lambda one: (condition(one, "Enrolled") or {}).get("reason") == "CertificateRefused",
        timeout_s=60,
    )  # fmt: skip
    assert "has not signed" in str((condition(vm, "Enrolled") or {})["message"])
    assert follow(home, kubectl, original, name) == [f"kubectl vmext enroll {name} --again"]
    home.api.apply(extension(name, name, settings={"commandToExecute": f"{SCRIPT} # 2"}, protectedSettings=sealed))
    home.api.wait_ready(name, timeout_s=60)
    # The same machine, put back: nobody takes it for a copy.
    assert duplicate(home, name) is None

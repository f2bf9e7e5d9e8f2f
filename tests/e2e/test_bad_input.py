"""What whoever may write our objects can do by that, and where it ends: ciphertexts swapped, and goals put back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

import simulated_guest
from development.api import ApiError, Object, condition
from development.house import House, agent_service, extension
from kubectl_vmext import __main__ as plugin
from support import smime_handler
from support.guests import skipping
from support.waiting import eventually
from vmext_operator.cluster import envelopes

Add = Callable[[str], simulated_guest.Guest]


@pytest.fixture(scope="module")
def handlers(home: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two handlers that write down what they open."""
    for name in ("One", "Two"):
        smime_handler.add(home, tmp_path_factory.mktemp(name), name)


@pytest.fixture
def add(home: House, capsys: pytest.CaptureFixture[str]) -> Add:
    """Return what enrols another machine."""

    def add(name: str) -> simulated_guest.Guest:
        with skipping():
            made = home.add_guest(name)
        home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
        where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
        capsys.readouterr()
        assert plugin.main(["enroll", *where, name]) == 0
        made.run(["sh", "-c", capsys.readouterr().out])
        made.start_service(agent_service())
        home.api.wait("VirtualMachine", name, lambda vm: "expiresAt" in credential(vm), timeout_s=60)
        return made

    return add


def credential(machine: Object | None) -> Mapping[str, Any]:
    return ((machine or {}).get("status") or {}).get("credential") or {}


def declare(home: House, name: str, vm: str, kind: str, ciphertext: str, thumbprint: str = "") -> None:
    known = thumbprint or credential(home.api.get("VirtualMachine", vm))["thumbprint"]
    spec = {"publisher": "Test", "type": kind, "typeHandlerVersion": "1"}
    home.api.apply(extension(name, vm, protectedSettings={"encrypted": {known: ciphertext}}, **spec))


def sealed(home: House, vm: str, content: Any) -> str:
    pem = credential(home.api.get("VirtualMachine", vm))["certificate"]
    return envelopes.seal(json.dumps(content).encode(), pem)


def lines(guest: simulated_guest.Guest, kind: str) -> list[str]:
    try:
        return [line.partition(" ")[2] for line in guest.read(f"/root/{kind}").decode().splitlines()]
    except FileNotFoundError:
        return []


def test_ciphertexts_can_be_swapped_within_one_machine_and_that_is_where_it_ends(
    home: House, handlers: None, add: Add
) -> None:
    mine, other = add("swap-1"), add("swap-2")
    of_one, of_two = sealed(home, "swap-1", {"for": "one"}), sealed(home, "swap-1", {"for": "two"})
    declare(home, "one", "swap-1", "One", of_one)
    declare(home, "two", "swap-1", "Two", of_two)
    for name in ("one", "two"):
        home.api.wait_ready(name, timeout_s=60)
    assert (lines(mine, "One"), lines(mine, "Two")) == (['{"for": "one"}'], ['{"for": "two"}'])

    # CMS is not authenticated: nothing in a ciphertext says which extension it is for.
    declare(home, "two", "swap-1", "Two", of_one)
    eventually(lambda: lines(mine, "Two")[1:] == ['{"for": "one"}'], timeout_s=60)

    # Another machine can't read it, whatever it is said to be for.
    declare(home, "stolen", "swap-2", "One", of_one, credential(home.api.get("VirtualMachine", "swap-1"))["thumbprint"])
    home.api.wait_stalled("stolen", "WrongCertificate")
    declare(home, "stolen", "swap-2", "One", of_one)
    found = condition(home.api.wait_stalled("stolen", "ProtectedSettingsInvalid", timeout_s=60), "Ready")
    assert found is not None
    assert "can't be opened with the key of" in found["message"]
    assert lines(other, "One") == []
    # And it recovers.
    declare(home, "stolen", "swap-2", "One", sealed(home, "swap-2", {"for": "another"}))
    home.api.wait_ready("stolen", timeout_s=60)
    assert lines(other, "One") == ['{"for": "another"}']


def test_an_old_goal_state_that_is_put_back_runs_nothing_old_and_heals_by_itself(home: House, vm: str) -> None:
    guest = home.guests[vm]
    for number in (1, 2, 3):
        home.api.apply(extension(vm, vm, settings={"commandToExecute": f"echo {number} >> /root/runs"}))
        home.api.wait("GoalState", vm, partial(has_run, name=vm, number=number), timeout_s=60)
        if number == 1:
            old = home.api.get("GoalState", vm)
    assert old is not None
    spec = {**old["spec"]}

    # A lower counter is refused while the object is there; whoever restores a backup deletes it first.
    with pytest.raises(ApiError, match="lastSequenceNumber can't fall"):
        home.api.request("PATCH", home.api.path("GoalState", vm), {"spec": spec}, "application/merge-patch+json")
    home.operator.stop()
    try:
        home.api.delete("GoalState", vm)
        home.api.wait_gone("GoalState", vm)
        own = {"name": old["metadata"]["name"]}
        replayed = {"apiVersion": old["apiVersion"], "kind": "GoalState", "metadata": own, "spec": spec}
        home.api.request("POST", home.api.path("GoalState"), replayed)
        home.api.wait("GoalState", vm, lambda goal: answer(goal, vm).get("reason") == "SequenceBehind", timeout_s=60)
        assert runs(guest) == ["1", "2", "3"]
    finally:
        home.operator.start()

    home.api.wait("GoalState", vm, lambda goal: answer(goal, vm).get("outcome") == "Succeeded", timeout_s=60)
    home.api.wait_ready(vm, timeout_s=60)
    found = answer(home.api.get("GoalState", vm), vm)
    assert found["sequenceNumber"] > 3
    # What is declared runs under the new number; what was in the old goal does not.
    assert set(runs(guest)[3:]) <= {"3"}


def has_run(goal: Object | None, *, name: str, number: int) -> bool:
    found = answer(goal, name)
    return (found.get("sequenceNumber"), found.get("outcome")) == (number, "Succeeded")


def answer(goal: Object | None, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (((goal or {}).get("status") or {}).get("extensions") or {}).get(name) or {}
    return found


def runs(guest: simulated_guest.Guest) -> list[str]:
    try:
        return guest.read("/root/runs").decode().split()
    except FileNotFoundError:
        return []

"""Machines that are off: how they and their extensions stand, and how they come back."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import simulated_guest
from development.api import Object, condition
from development.house import House, extension
from support import argocd
from support.guests import skipping

KIND = "VirtualMachineExtension"


@pytest.fixture(scope="module", autouse=True)
def impatient(home: House) -> None:
    """Have the operator read Leases every second."""
    home.operator.stop()
    home.operator.options = ["--leases-every", "1"]
    home.operator.start()


def declare_machine(home: House, name: str, **spec: Any) -> None:
    kind = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine"}
    home.api.apply(kind | {"metadata": {"name": name}, "spec": {"unreachableAfter": "15s"} | spec})


def tell_agent(guest: simulated_guest.Guest, number: signal.Signals) -> None:
    for one in guest.processes():
        if "vmext_agent" in one.argv or "worker" in one.argv:
            os.kill(one.pid, number)


def is_so(obj: Object | None, kind: str, status: str, reason: str) -> bool:
    found = condition(obj, kind)
    return found is not None and (found["status"], found["reason"]) == (status, reason)


def test_a_machine_that_falls_silent_is_unknown_and_comes_back_by_itself(home: House) -> None:
    name, one = "silent-1", "script-silent-1"
    declare_machine(home, name)
    with skipping():
        guest = home.add_machine(name, declare=False)
    home.api.apply(extension(one, name, settings={"commandToExecute": "true"}))
    home.api.wait_ready(one)

    tell_agent(guest, signal.SIGSTOP)
    vm = home.api.wait(
        "VirtualMachine", name, lambda obj: is_so(obj, "Ready", "Unknown", "GuestUnreachable"), timeout_s=60
    )
    assert is_so(vm, "AgentReachable", "False", "GuestUnreachable")
    assert is_so(home.api.get(KIND, one), "Ready", "True", "Succeeded")

    home.api.apply(extension(one, name, settings={"commandToExecute": "echo changed"}))
    changed = home.api.wait(KIND, one, lambda obj: is_so(obj, "Ready", "Unknown", "GuestUnreachable"))
    assert condition(changed, "Stalled") is None
    # Nobody's fault: neither ready nor failed, for Argo CD as for others.
    for kind, of in (("VirtualMachine", name), (KIND, one)):
        assert argocd.exported(home.api, kind, "unreachable", of)[0] == "Progressing"

    # An operator that starts while it is off believes the one before it.
    home.operator.kill()
    home.operator.start()
    home.api.apply(extension(one, name, settings={"commandToExecute": "echo again"}))
    home.api.wait(
        KIND,
        one,
        lambda obj: is_so(obj, "Ready", "Unknown", "GuestUnreachable"),
    )
    assert is_so(home.api.get("VirtualMachine", name), "AgentReachable", "False", "GuestUnreachable")

    tell_agent(guest, signal.SIGCONT)
    home.api.wait_ready(one)
    home.api.wait("VirtualMachine", name, lambda obj: is_so(obj, "Ready", "True", "AgentReporting"))
    home.api.wait("VirtualMachine", name, lambda obj: is_so(obj, "AgentReachable", "True", "AgentReporting"))


def test_what_may_be_off_counts_as_ready_and_what_is_wrong_does_not(home: House) -> None:
    name = "never-1"
    declare_machine(home, name, readiness="AllowOffline")
    right, wrong, sealed = f"right-{name}", f"wrong-{name}", f"sealed-{name}"
    home.api.apply(extension(right, name, settings={"commandToExecute": "true"}))
    home.api.wait(KIND, right, lambda obj: is_so(obj, "Ready", "True", "AllowedOffline"))
    home.api.wait("VirtualMachine", name, lambda obj: is_so(obj, "Ready", "True", "AllowedOffline"))
    for kind, of in (("VirtualMachine", name), (KIND, right)):
        assert argocd.exported(home.api, kind, "allowed-offline", of)[0] == "Healthy"
    home.api.apply(extension(wrong, name, settings={"commandToExecute": "true"}))
    home.api.wait_stalled(wrong, "HandlerConflict")

    # Of another machine, since that has the handler once: what waits for a certificate waits for the machine.
    declare_machine(home, "never-2", readiness="AllowOffline")
    protected = {"secretRef": {"name": "none", "key": "none"}}
    home.api.apply(extension(sealed, "never-2", protectedSettings=protected))
    home.api.wait(KIND, sealed, lambda obj: is_so(obj, "Ready", "True", "AllowedOffline"))

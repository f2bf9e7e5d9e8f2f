"""Tokens over time, against an API server that grants one hour: renewed, run out, and given for good.

Time is moved, not waited for: a token is put back by hours and signed anew with the API server's own key, which makes
it what it would be that much later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

import control_plane
import simulated_guest
from development import credentials, house
from development.api import ApiError, Object, condition
from development.house import House, agent_service, extension
from development.operator_process import Operator
from kubectl_vmext import __main__ as plugin
from support import tokens
from support.clusters import own
from support.guests import skipping
from support.waiting import eventually

HOUR_S = 3600


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house of its own: its API server grants tokens for an hour at most."""
    folder = tmp_path_factory.mktemp("hour")
    options = ["--service-account-max-token-expiration=1h"]
    binaries = control_plane.obtain(print)
    with (
        control_plane.running(folder / "control-plane", binaries, options=options) as cluster,
        house.running(folder, print, cluster=cluster) as running,
    ):
        yield running


@pytest.fixture
def guest(home: House, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> simulated_guest.Guest:
    """A machine that is enrolled and uses a token of the operator's, with two extensions that are ready."""
    name = request.node.name.replace("_", "-")[5:45].strip("-")
    with skipping():
        made = home.add_guest(name)
    home.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
    enrol(home, made, capsys)
    made.start_service(agent_service())
    home.api.wait("VirtualMachine", name, lambda vm: "lifetimeSeconds" in credential(vm), timeout_s=60)
    home.api.apply(extension(f"{name}-a", name, settings={"commandToExecute": "echo ran >> /root/runs"}))
    home.api.wait_ready(f"{name}-a", timeout_s=60)
    return made


def enrol(home: House, guest: simulated_guest.Guest, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
    capsys.readouterr()
    assert plugin.main(["enroll", *where, guest.name]) == 0
    guest.run(["sh", "-c", capsys.readouterr().out])


def credential(machine: Object | None) -> Mapping[str, Any]:
    return ((machine or {}).get("status") or {}).get("credential") or {}


def held(goal: Object | None) -> Mapping[str, Any]:
    return ((goal or {}).get("status") or {}).get("credential") or {}


def ready(home: House, name: str) -> Mapping[str, Any]:
    found = condition(home.api.get("VirtualMachine", name), "Ready")
    assert found is not None
    return found


def runs(guest: simulated_guest.Guest) -> int:
    return len(guest.read("/root/runs").decode().split())


def test_how_little_is_granted_is_said(home: House, guest: simulated_guest.Guest) -> None:
    # The operator asks for 30 days.
    assert credential(home.api.get("VirtualMachine", guest.name))["lifetimeSeconds"] == HOUR_S

    def is_said(vm: Object | None) -> bool:
        found = condition(vm, "Enrolled")
        return found is not None and "its tokens are granted for 1.0 h alone" in found["message"]

    enrolled = condition(home.api.wait("VirtualMachine", guest.name, is_said), "Enrolled")
    assert enrolled is not None
    assert enrolled["status"] == "True"
    assert "--credential-mode" in enrolled["message"]


def test_a_renewal_is_nothing_to_any_extension(home: House, guest: simulated_guest.Guest) -> None:
    name = guest.name
    before = home.api.get("VirtualMachineExtension", f"{name}-a")
    steady = ready(home, name)
    token = guest.read("/etc/vmext/token").decode()
    # More than half of its life is over, as in forty minutes.
    guest.write("/etc/vmext/token", tokens.moved(own(home.cluster), token, seconds=40 * 60).encode())

    guest.kill_service("agent")

    goal = home.api.wait("GoalState", name, lambda one: held(one).get("id") not in (None, tokens.claims(token)["jti"]))
    assert goal is not None
    assert held(goal)["id"] == goal["spec"]["credential"]["id"]
    eventually(lambda: credential(home.api.get("VirtualMachine", name))["expiresAt"] == held(goal)["expiresAt"])
    assert home.api.get("VirtualMachineExtension", f"{name}-a") == before
    assert ready(home, name) == steady
    assert runs(guest) == 1


def test_a_machine_that_was_off_for_two_hours_says_so_and_is_enrolled_again_as_it_was(
    home: House, guest: simulated_guest.Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    name, cluster = guest.name, own(home.cluster)
    known = credential(home.api.get("VirtualMachine", name))["thumbprint"]
    before = home.api.get("VirtualMachineExtension", f"{name}-a")
    # It comes back three hours after its token was issued for one.
    ended = tokens.moved(cluster, guest.read("/etc/vmext/token").decode(), seconds=3 * HOUR_S)
    cluster.stop_api_server()
    guest.write("/etc/vmext/token", ended.encode())
    guest.kill_service("agent")
    cluster.start_api_server()
    times = {key: rfc3339(tokens.claims(ended)[claim]) for key, claim in (("issuedAt", "iat"), ("expiresAt", "exp"))}
    home.api.patch_status("GoalState", name, {"credential": times})

    expired = home.api.wait("VirtualMachine", name, lambda vm: reason(vm) == "CredentialExpired", timeout_s=60)
    found = condition(expired, "Ready")
    assert found is not None
    assert found["status"] == "Unknown"
    assert found["message"].endswith(f"enrol it anew: kubectl vmext enroll {name}")
    assert tokens.answer(cluster, ended, home.api.path("GoalState", name)) == 401
    said = guest.run(["vmext-agent", "status"]).stdout.decode()
    assert "ended 2." in said
    assert "enrol the machine anew: kubectl vmext enroll" in said

    enrol(home, guest, capsys)

    back = home.api.wait("VirtualMachine", name, lambda vm: reason(vm) == "AgentReporting", timeout_s=60)
    assert credential(back)["thumbprint"] == known
    assert home.api.get("VirtualMachineExtension", f"{name}-a") == before
    assert runs(guest) == 1
    home.api.apply(extension(f"{name}-a", name, settings={"commandToExecute": "echo again >> /root/runs"}))
    eventually(lambda: runs(guest) == 2, timeout_s=60)


def reason(machine: Object | None) -> str:
    found = condition(machine, "Ready")
    return "" if found is None else str(found["reason"])


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_for_a_fleet_that_is_off_for_long_tokens_are_given_for_good(
    home: House, guest: simulated_guest.Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    name, secret = guest.name, f"vmext-vm-{guest.name}-token"
    home.operator.stop()
    kubeconfig = credentials.of_operator(home.cluster, home.folder)
    other = Operator(kubeconfig, home.folder / "long-lived.log", "--credential-mode", "LongLived")
    other.start()
    try:
        home.api.wait("VirtualMachine", name, lambda vm: credential(vm).get("lifetimeSeconds") == 0, timeout_s=60)
        machine = home.api.get("VirtualMachine", name)
        assert "expiresAt" not in credential(machine)
        token = guest.read("/etc/vmext/token").decode()
        assert "exp" not in tokens.claims(token)
        assert tokens.answer(home.cluster, token, home.api.path("GoalState", name)) == 200
        assert "good until it is revoked" in guest.run(["vmext-agent", "status"]).stdout.decode()
        assert token not in (home.folder / "long-lived.log").read_text()
        # As good as it is for the machine, it can be ended.
        where = ["--kubeconfig", str(home.cluster.kubeconfig), "-n", home.api.namespace]
        assert plugin.main(["revoke", *where, name]) == 0
        eventually(lambda: not exists(home, secret))
        eventually(lambda: tokens.answer(home.cluster, token, home.api.path("GoalState", name)) == 401)
        enrol(home, guest, capsys)
        eventually(lambda: exists(home, secret), timeout_s=60)
        home.api.wait("VirtualMachine", name, lambda vm: credential(vm).get("lifetimeSeconds") == 0, timeout_s=60)
        assert guest.read("/etc/vmext/token").decode() != token
    finally:
        other.stop()
        home.operator.start()
    # Where they are to end again, what does not is taken away.
    home.api.wait("VirtualMachine", name, lambda vm: credential(vm).get("lifetimeSeconds") == HOUR_S, timeout_s=60)
    eventually(lambda: not exists(home, secret))


def exists(home: House, secret: str) -> bool:
    try:
        home.api.request("GET", f"/api/v1/namespaces/{home.api.namespace}/secrets/{secret}")
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True

"""What becomes of what is deleted, on a real API server, with the test in the place of the machine's agent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development import house
from development.api import Api, ApiError, condition
from development.operator_process import ROOT, Operator
from support.declaring import declare, entries, image, machine, report, wait_entry, wait_reason
from support.waiting import eventually

KIND, VM = "VirtualMachineExtension", "VirtualMachine"
LEASES = "/apis/coordination.k8s.io/v1"


@pytest.fixture(scope="module")
def operator(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    made = Operator(cluster.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    made.options = ["--leases-every", "1"]
    made.start()
    yield made
    made.stop()


@pytest.fixture
def types(api: Api) -> Iterator[list[str]]:
    """Two handler types of this test's own in the catalog, in version 1.0.0."""
    names = [f"D{api.namespace.replace('-', '')}{letter}" for letter in "ab"]
    for name in names:
        api.apply(image(name, "1.0.0"))
    yield names
    for name in names:
        api.delete("VirtualMachineExtensionImage", f"test.{name}-1.0.0".lower())


@pytest.fixture
def ready(operator: Operator, api: Api, types: list[str]) -> None:
    """A machine web-1 with the extensions one and two, which it has."""
    have(api, types)


def have(api: Api, types: list[str], **vm: Any) -> None:
    machine(api, **vm)
    for name, type_ in zip(("one", "two"), types, strict=True):
        declare(api, name, type_)
        wait_entry(api, name)
    report(api, outcome="Succeeded", installed="1.0.0")
    for name in ("one", "two"):
        api.wait_ready(name)


def delete(api: Api, kind: str, name: str, policy: str = "Background") -> None:
    api.request("DELETE", api.path(kind, name), {"propagationPolicy": policy})


def events(api: Api, name: str) -> list[tuple[str, str]]:
    listed = api.request("GET", f"/api/v1/namespaces/{api.namespace}/events")
    return [(one["type"], one["reason"]) for one in listed["items"] if one["involvedObject"]["name"] == name]


def belongings(api: Api) -> list[str]:
    """Return which of a machine's belongings are there."""
    found = []
    kinds = (
        ("/api/v1", "secrets"),
        ("/api/v1", "serviceaccounts"),
        ("/apis/rbac.authorization.k8s.io/v1", "roles"),
        ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
        (LEASES, "leases"),
    )
    for base, plural in kinds:
        listed = api.request("GET", f"{base}/namespaces/{api.namespace}/{plural}")
        found += [plural for one in listed["items"] if one["metadata"]["name"].startswith("vmext-vm-")]
    return found


def states(api: Api) -> dict[str, str]:
    return {name: entry["state"] for name, entry in entries(api.get("GoalState", "web-1")).items()}


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_a_deleted_extension_goes_once_its_machine_has_uninstalled_it(ready: None, api: Api, policy: str) -> None:
    delete(api, KIND, "one", policy)
    wait_entry(api, "one", state="uninstall")
    wait_reason(api, "one", "Reconciling", "Uninstalling")
    report(api, outcome="Removed")
    api.wait_gone(KIND, "one")
    eventually(lambda: ("Normal", "Removed") in events(api, "one"))
    eventually(lambda: set(states(api)) == {"two"})


def test_one_whose_policy_is_orphan_goes_at_once_and_stays_there(ready: None, api: Api, types: list[str]) -> None:
    declare(api, "one", types[0], deletionPolicy="Orphan")
    delete(api, KIND, "one")
    api.wait_gone(KIND, "one")
    eventually(lambda: ("Normal", "Orphaned") in events(api, "one"))


def test_a_machine_that_does_not_answer_holds_a_deletion_up_for_its_time_out(
    ready: None, api: Api, types: list[str]
) -> None:
    declare(api, "one", types[0], deletionTimeout="2s")
    delete(api, KIND, "one")
    api.wait_gone(KIND, "one")
    eventually(lambda: ("Warning", "Orphaned") in events(api, "one"))


def test_what_was_deleted_while_the_operator_was_down_is_uninstalled(ready: None, operator: Operator, api: Api) -> None:
    operator.stop()
    delete(api, KIND, "one")
    operator.start()
    wait_entry(api, "one", state="uninstall")
    assert states(api) == {"one": "uninstall", "two": "enabled"}
    report(api, outcome="Removed")
    api.wait_gone(KIND, "one")


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
@pytest.mark.parametrize("first", [VM, KIND])
def test_a_machine_that_is_deleted_with_its_extensions_waits_for_them(
    ready: None, api: Api, policy: str, first: str
) -> None:
    everything = [(KIND, "one"), (KIND, "two")]
    everything.insert(0 if first == VM else 2, (VM, "web-1"))
    for kind, name in everything:
        delete(api, kind, name, policy)
    for name in ("one", "two"):
        wait_entry(api, name, state="uninstall")
    report(api, outcome="Removed")
    for kind, name in everything:
        api.wait_gone(kind, name)
    for name in ("one", "two"):
        told = events(api, name)
        assert ("Normal", "Removed") in told
        assert ("Warning", "Orphaned") not in told
    api.wait_gone("GoalState", "web-1")
    eventually(lambda: belongings(api) == [])


def test_a_machine_that_is_deleted_alone_leaves_its_extensions_and_says_so_for_each(
    ready: None, api: Api, types: list[str]
) -> None:
    delete(api, VM, "web-1")
    assert states(api) == {"one": "enabled", "two": "enabled"}
    api.wait_gone(VM, "web-1", timeout_s=60)
    eventually(lambda: all(("Warning", "Orphaned") in events(api, name) for name in ("one", "two")))
    for name in ("one", "two"):
        wait_reason(api, name, "Reconciling", "VirtualMachineNotFound")
        delete(api, KIND, name)
        api.wait_gone(KIND, name)


def test_a_machine_whose_policy_is_uninstall_has_everything_uninstalled_first(
    operator: Operator, api: Api, types: list[str]
) -> None:
    have(api, types, deletionPolicy="Uninstall")
    delete(api, VM, "web-1")
    for name in ("one", "two"):
        wait_entry(api, name, state="uninstall")
    assert api.get(VM, "web-1") is not None
    report(api, outcome="Removed")
    api.wait_gone(VM, "web-1", timeout_s=60)
    for name in ("one", "two"):
        wait_reason(api, name, "Reconciling", "VirtualMachineNotFound")
        assert ("Warning", "Orphaned") not in events(api, name)


def test_a_machine_that_is_unreachable_is_not_waited_for(operator: Operator, api: Api, types: list[str]) -> None:
    have(api, types, unreachableAfter="15s")
    api.wait(VM, "web-1", lambda obj: (condition(obj, "Ready") or {}).get("reason") == "GuestUnreachable", timeout_s=90)
    for kind, name in ((VM, "web-1"), (KIND, "one")):
        delete(api, kind, name)
    for kind, name in ((KIND, "one"), (VM, "web-1")):
        api.wait_gone(kind, name)
    eventually(lambda: ("Warning", "Orphaned") in events(api, "one"))


def test_an_extension_whose_goal_was_deleted_by_a_human_is_uninstalled_all_the_same(
    ready: None, operator: Operator, api: Api
) -> None:
    operator.stop()
    api.delete("GoalState", "web-1")
    delete(api, KIND, "one")
    operator.start()
    found = wait_entry(api, "one", state="uninstall")
    assert found["sequenceNumber"] > 1
    report(api, outcome="Removed")
    api.wait_gone(KIND, "one")


def test_a_goal_state_that_a_human_deletes_is_made_again_under_higher_numbers(ready: None, api: Api) -> None:
    api.delete("GoalState", "web-1")
    numbers = [wait_entry(api, name)["sequenceNumber"] for name in ("one", "two")]
    assert sorted(numbers) == [3, 4]


def test_what_outlives_its_machine_is_swept(ready: None, operator: Operator, api: Api) -> None:
    eventually(lambda: len(belongings(api)) == 5)
    operator.stop()
    patch = {"metadata": {"finalizers": None}}
    api.request("PATCH", api.path(VM, "web-1"), patch, "application/merge-patch+json")
    delete(api, VM, "web-1")
    api.wait_gone(VM, "web-1")
    operator.start()
    api.wait_gone("GoalState", "web-1")
    eventually(lambda: belongings(api) == [])
    wait_reason(api, "one", "Reconciling", "VirtualMachineNotFound")


def test_a_namespace_goes_with_all_that_is_in_it(
    ready: None, cluster: control_plane.Cluster, operator: Operator, api: Api
) -> None:
    before = operator.log.read_text().count("403")
    cluster.kubectl("delete", "namespace", api.namespace, "--wait=false")

    def gone() -> bool:
        try:
            api.request("GET", f"/api/v1/namespaces/{api.namespace}")
        except ApiError as error:
            return error.status == 404
        return False

    eventually(gone, timeout_s=90)
    assert operator.log.read_text().count("403") - before < 20


def test_kinds_that_are_removed_while_objects_are_left_go_too(tmp_path: Path) -> None:
    if os.environ.get(control_plane.choice.VARIABLE):
        pytest.skip("kinds are not removed from an existing cluster")
    with control_plane.available(tmp_path / "control-plane", print) as bare:
        house.install(bare)
        operator = Operator(bare.kubeconfig, tmp_path / "operator.log")
        api = Api(bare.kubeconfig)
        operator.start()
        try:
            types = ["Ga", "Gb"]
            for type_ in types:
                api.apply(image(type_, "1.0.0"))
            have(api, types)
            folder = str(ROOT / "crds")
            bare.kubectl("delete", "--wait=false", "-f", folder)
            names = [f"{plural}.vmext.dev" for plural in ("virtualmachines", "virtualmachineextensions", "goalstates")]
            bare.kubectl("wait", "--for=delete", "--timeout=90s", *(f"crd/{name}" for name in names))
        finally:
            operator.stop()
            api.close()

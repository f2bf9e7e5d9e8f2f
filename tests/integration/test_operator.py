"""The real operator on a real API server, as far as it goes without a machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development import credentials, house
from development.api import Api, ApiError, condition
from development.operator_process import Operator
from support.declaring import SHA, declare, entries, image, machine, wait_entry, wait_reason
from support.waiting import eventually


@pytest.fixture(scope="module")
def operator(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    made = Operator(credentials.of_operator(cluster, folder), folder / "operator.log")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def type_(api: Api) -> Iterator[str]:
    """A handler type of this test's own in the catalog, in version 1.0.0."""
    name = "T" + api.namespace.replace("-", "")
    api.apply(image(name, "1.0.0"))
    yield name
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        api.delete("VirtualMachineExtensionImage", f"test.{name}-{version}".lower())


def test_a_declaration_becomes_an_entry_of_its_machines_goal(operator: Operator, api: Api, type_: str) -> None:
    vm = machine(api)
    declared = declare(api, "one", type_, settings={"b": [1], "a": "ä"}, forceUpdateTag="t", timeout="2m")
    entry = wait_entry(api, "one")
    assert entry == {
        "name": "one",
        "uid": declared["metadata"]["uid"],
        "state": "enabled",
        "sequenceNumber": 1,
        "forceUpdateTag": "t",
        "settings": '{"a":"ä","b":[1]}',
        "timeoutSeconds": 120,
        "handler": {
            "name": f"Test.{type_}",
            "version": "1.0.0",
            "package": {"urls": ["http://127.0.0.1:9/1.0.0.zip"], "sha256": SHA, "sizeBytes": 1},
        },
    }
    goal = api.get("GoalState", "web-1")
    assert goal is not None
    assert goal["spec"]["vmUID"] == vm["metadata"]["uid"]
    assert "ownerReferences" not in goal["metadata"]
    written = api.get("VirtualMachineExtension", "one")
    assert written is not None
    assert written["metadata"]["finalizers"] == ["vmext.dev/uninstall"]
    assert "annotations" not in written["metadata"]


def test_an_extension_of_a_machine_without_an_agent_says_so(operator: Operator, api: Api, type_: str) -> None:
    machine(api)
    declare(api, "one", type_)
    found = condition(wait_reason(api, "one", "Reconciling", "NotEnrolled"), "Ready")
    assert found is not None
    assert found["status"] == "Unknown"
    assert "kubectl vmext enroll web-1" in found["message"]
    vm = api.wait("VirtualMachine", "web-1", lambda obj: condition(obj, "Ready") is not None)
    assert vm is not None
    assert vm["status"]["extensions"] == {"total": 1, "ready": 0, "failed": 0}


def test_a_machine_may_come_after_its_extensions(operator: Operator, api: Api, type_: str) -> None:
    declare(api, "one", type_)
    found = condition(wait_reason(api, "one", "Reconciling", "VirtualMachineNotFound"), "Ready")
    assert found is not None
    assert "has no VirtualMachine web-1" in found["message"]
    machine(api)
    assert wait_entry(api, "one")["sequenceNumber"] == 1


def test_changed_settings_run_again_and_tags_do_not(operator: Operator, api: Api, type_: str) -> None:
    machine(api)
    declare(api, "one", type_, settings={"x": 1})
    wait_entry(api, "one", sequenceNumber=1)
    declare(api, "one", type_, settings={"x": 1}, tags={"a": "b"}, timeout="7m")
    wait_entry(api, "one", timeoutSeconds=420, sequenceNumber=1)
    declare(api, "one", type_, settings={"x": 2}, timeout="7m")
    wait_entry(api, "one", sequenceNumber=2, settings='{"x":2}')
    declare(api, "one", type_, settings={"x": 2}, timeout="7m", forceUpdateTag="again")
    wait_entry(api, "one", sequenceNumber=3, forceUpdateTag="again")


def test_an_unknown_extension_waits_a_minute_then_stalls_and_recovers_by_itself(
    operator: Operator, api: Api, type_: str
) -> None:
    machine(api)
    declare(api, "unknown", type_ + "X")
    declare(api, "version", type_, typeHandlerVersion="2")
    for name, said in (
        ("unknown", f"the catalog has no Test.{type_}X"),
        ("version", f"the catalog has Test.{type_} in 1.0.0, but typeHandlerVersion is 2"),
    ):
        found = condition(wait_reason(api, name, "Reconciling", "UnknownImage"), "Ready")
        assert found is not None
        assert said in found["message"]
    for name in ("unknown", "version"):
        stalled = wait_reason(api, name, "Stalled", "UnknownImage", timeout_s=75)
        assert condition(stalled, "Reconciling") is None
        assert stalled["status"]["provisioningState"] == "Failed"
    api.apply(image(type_, "2.0.0"))
    wait_entry(api, "version", sequenceNumber=1)
    wait_reason(api, "version", "Reconciling", "NotEnrolled")


def test_a_package_that_moves_in_the_catalog_reaches_the_goal(operator: Operator, api: Api, type_: str) -> None:
    machine(api)
    declare(api, "one", type_)
    wait_entry(api, "one")
    moved = {"urls": ["http://127.0.0.1:9/moved.zip"], "sha256": SHA, "sizeBytes": 1}
    api.apply(image(type_, "1.0.0", package=moved))
    handler = {"name": f"Test.{type_}", "version": "1.0.0", "package": moved}
    assert wait_entry(api, "one", handler=handler)["sequenceNumber"] == 1


def test_a_new_version_is_taken_at_the_next_change_of_the_model_and_at_once_where_upgrades_are_automatic(
    operator: Operator, api: Api, type_: str
) -> None:
    machine(api)
    machine(api, "web-2")
    declare(api, "keeps", type_)
    declare(api, "follows", type_, vm="web-2", enableAutomaticUpgrade=True)
    wait_entry(api, "keeps")
    wait_entry(api, "follows", vm="web-2")
    api.apply(image(type_, "1.1.0"))
    goal = api.wait("GoalState", "web-2", lambda goal: entries(goal)["follows"]["handler"]["version"] == "1.1.0")
    assert entries(goal)["follows"]["sequenceNumber"] == 1
    assert wait_entry(api, "keeps")["handler"]["version"] == "1.0.0"
    declare(api, "keeps", type_, tags={"a": "b"})
    api.wait("GoalState", "web-1", lambda goal: entries(goal)["keeps"]["handler"]["version"] == "1.1.0")


def test_settings_too_large_for_a_goal_are_stalled_and_recover(operator: Operator, api: Api, type_: str) -> None:
    machine(api)
    declare(api, "one", type_, settings={"x": "y" * (300 * 1024)})
    found = condition(wait_reason(api, "one", "Stalled", "InvalidSettings"), "Ready")
    assert found is not None
    assert "at most 262144 are taken" in found["message"]
    declare(api, "one", type_, settings={"x": "y"})
    wait_entry(api, "one")


@pytest.mark.parametrize(
    ("mib", "refusal"),
    [(2, "larger than"), (4, "limit is")],
    ids=["more than etcd takes", "more than a request may hold"],
)
def test_settings_too_large_for_the_api_server_are_refused_and_what_was_there_stays(
    operator: Operator, api: Api, type_: str, mib: int, refusal: str
) -> None:
    machine(api)
    declare(api, "one", type_, settings={"x": "y"})
    before = wait_entry(api, "one")
    with pytest.raises(ApiError, match=refusal):
        declare(api, "one", type_, settings={"x": "y" * (mib << 20)})
    declare(api, "two", type_, tags={"applied": "afterwards"})
    wait_reason(api, "two", "Stalled", "HandlerConflict")
    assert wait_entry(api, "one") == before


def test_a_second_declaration_for_a_handler_is_stalled_until_the_first_is_gone(
    operator: Operator, api: Api, type_: str
) -> None:
    machine(api)
    declare(api, "first", type_)
    wait_entry(api, "first")
    declare(api, "second", type_)
    found = condition(wait_reason(api, "second", "Stalled", "HandlerConflict"), "Ready")
    assert found is not None
    assert "first has the handler" in found["message"]
    api.delete("VirtualMachineExtension", "first")
    wait_entry(api, "second", sequenceNumber=2)


def test_deleting_what_no_machine_has_needs_no_machine(operator: Operator, api: Api, type_: str) -> None:
    declare(api, "nowhere", type_, vm="web-9")
    wait_reason(api, "nowhere", "Reconciling", "VirtualMachineNotFound")
    machine(api)
    declare(api, "one", type_)
    wait_entry(api, "one")
    for name in ("nowhere", "one"):
        api.delete("VirtualMachineExtension", name)
        api.wait_gone("VirtualMachineExtension", name)


def test_a_deleted_machine_goes_with_its_goal_and_its_extensions_wait_for_another(
    operator: Operator, api: Api, type_: str
) -> None:
    machine(api)
    declare(api, "one", type_)
    wait_entry(api, "one", sequenceNumber=1)
    api.delete("VirtualMachine", "web-1")
    api.wait_gone("VirtualMachine", "web-1")
    api.wait_gone("GoalState", "web-1")
    wait_reason(api, "one", "Reconciling", "VirtualMachineNotFound")
    api.delete("VirtualMachineExtension", "one")
    api.wait_gone("VirtualMachineExtension", "one")


def test_what_a_human_changes_in_a_goal_is_put_back(operator: Operator, api: Api, type_: str) -> None:
    machine(api)
    declare(api, "one", type_)
    before = wait_entry(api, "one")
    goal = api.get("GoalState", "web-1")
    assert goal is not None
    entry = before | {"settings": '{"evil":true}'}
    api.apply(
        {
            "apiVersion": "vmext.dev/v1alpha1",
            "kind": "GoalState",
            "metadata": {"name": goal["metadata"]["name"]},
            "spec": goal["spec"] | {"extensions": [entry]},
        }
    )
    # Under a new number: whether the machine has run what the human wrote can't be known.
    assert wait_entry(api, "one", settings="{}") == before | {"sequenceNumber": 2}


def test_a_restarted_operator_writes_nothing_when_nothing_changed_and_catches_up_when_something_did(
    cluster: control_plane.Cluster, api: Api, type_: str, tmp_path: Path, operator: Operator
) -> None:
    machine(api)
    declare(api, "one", type_)
    wait_reason(api, "one", "Reconciling", "NotEnrolled")
    api.wait("VirtualMachine", "web-1", lambda obj: condition(obj, "Ready") is not None)
    before = [
        api.get(kind, name)
        for kind, name in (("VirtualMachine", "web-1"), ("VirtualMachineExtension", "one"), ("GoalState", "web-1"))
    ]
    operator.kill()
    operator.start()
    # Once it has done something new, it has looked at all that was there before.
    declare(api, "other", type_, vm="web-2")
    wait_reason(api, "other", "Reconciling", "VirtualMachineNotFound")
    after = [
        api.get(kind, name)
        for kind, name in (("VirtualMachine", "web-1"), ("VirtualMachineExtension", "one"), ("GoalState", "web-1"))
    ]
    assert after == before
    operator.kill()
    declare(api, "one", type_, settings={"x": "while it was down"})
    api.delete("VirtualMachineExtension", "other")
    operator.start()
    wait_entry(api, "one", sequenceNumber=2)
    api.wait_gone("VirtualMachineExtension", "other")


def test_an_api_server_that_comes_back_finds_the_operator_at_work(
    own_cluster: control_plane.ControlPlane, api: Api, type_: str, operator: Operator
) -> None:
    machine(api)
    declare(api, "one", type_)
    wait_entry(api, "one")
    own_cluster.stop_api_server()
    own_cluster.start_api_server()
    declare(api, "one", type_, settings={"x": "after"})
    wait_entry(api, "one", sequenceNumber=2)
    api.delete("VirtualMachineExtension", "one")
    api.wait_gone("VirtualMachineExtension", "one")


def test_an_operator_that_starts_before_its_kinds_are_installed_waits_for_them(tmp_path: Path) -> None:
    if os.environ.get(control_plane.choice.VARIABLE):
        pytest.skip("an existing cluster may have the kinds installed, and they are not removed from it")
    with contextlib.ExitStack() as closing:
        bare = closing.enter_context(control_plane.available(tmp_path / "control-plane", print))
        house.permit(bare)
        operator = Operator(credentials.of_operator(bare, tmp_path), tmp_path / "operator.log")
        operator.start()
        closing.callback(operator.stop)
        api = Api(bare.kubeconfig)
        closing.callback(api.close)
        eventually(lambda: "install the CRDs" in operator.log.read_text())
        house.install(bare)
        api.apply(image("Late", "1.0.0"))
        machine(api)
        declare(api, "one", "Late")
        assert wait_entry(api, "one")["sequenceNumber"] == 1

"""The operator's decisions as they stand in the API server, with the test in the place of the machine's agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import control_plane
from development.api import Api, Object, condition
from development.operator_process import Operator
from support import kstatus
from support.declaring import declare, entries, image, machine, report, wait_entry, wait_reason

KIND = "VirtualMachineExtension"
IMAGES = "/apis/vmext.dev/v1alpha1/virtualmachineextensionimages"


@pytest.fixture(scope="module")
def operator(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    made = Operator(cluster.kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def types(api: Api) -> Iterator[list[str]]:
    """Three handler types of this test's own in the catalog, in version 1.0.0."""
    names = [f"T{api.namespace.replace('-', '')}{letter}" for letter in "abc"]
    for name in names:
        api.apply(image(name, "1.0.0"))
    yield names
    for name in names:
        api.delete("VirtualMachineExtensionImage", f"test.{name}-1.0.0".lower())


def words(api: Api, name: str) -> str:
    found = condition(api.get(KIND, name), "Ready")
    return "" if found is None else str(found["message"])


def test_what_is_not_for_a_machine_waits_for_its_facts_and_is_stalled_by_them(
    operator: Operator, api: Api, types: list[str]
) -> None:
    api.apply(image(types[0], "1.0.0", supports={"os": ["debian:12"], "architectures": ["amd64"]}))
    machine(api)
    declare(api, "one", types[0])
    wait_reason(api, "one", "Reconciling", "NotEnrolled")
    assert "kubectl vmext enroll web-1" in words(api, "one")
    report(api, guest={"os": "rhel", "version": "9.4", "arch": "x86_64"})
    stalled = wait_reason(api, "one", "Stalled", "UnsupportedOS")
    assert stalled["status"]["provisioningState"] == "Failed"
    assert "the machine is rhel 9.4 x86_64" in words(api, "one")
    assert entries(api.get("GoalState", "web-1")) == {}
    report(api, guest={"os": "debian", "version": "12", "arch": "x86_64"})
    wait_entry(api, "one", sequenceNumber=1)


def test_settings_that_do_not_fit_their_schema_never_travel(operator: Operator, api: Api, types: list[str]) -> None:
    schema = {"properties": {"port": {"type": "integer"}}, "required": ["port"]}
    api.apply(image(types[0], "1.0.0", settingsSchema=schema))
    api.apply(image(types[1], "1.0.0", settingsSchema={"$ref": "http://127.0.0.1:9/schema.json"}))
    machine(api)
    declare(api, "one", types[0], settings={"port": "http"})
    declare(api, "two", types[1])
    declare(api, "three", types[2])
    wait_entry(api, "three")
    wait_reason(api, "one", "Stalled", "InvalidSettings")
    assert "settings.port: 'http' is not of type 'integer'" in words(api, "one")
    wait_reason(api, "two", "Stalled", "InvalidSchema")
    assert f"VirtualMachineExtensionImage test.{types[1]}-1.0.0".lower() in words(api, "two").lower()
    assert set(entries(api.get("GoalState", "web-1"))) == {"three"}
    declare(api, "one", types[0], settings={"port": 80})
    wait_entry(api, "one", settings='{"port":80}')
    api.apply(image(types[1], "1.0.0", settingsSchema={}))
    wait_entry(api, "two")


def test_a_catalog_entry_whose_schema_can_not_be_used_says_so_itself(
    operator: Operator, api: Api, types: list[str]
) -> None:
    def ready(number: int) -> Object:
        name = f"test.{types[number]}-1.0.0".lower()
        found = api.wait("VirtualMachineExtensionImage", name, lambda one: bool((one or {}).get("status")))
        assert found is not None
        return found

    api.apply(image(types[0], "1.0.0", settingsSchema={"type": "integer"}))
    api.apply(image(types[1], "1.0.0", settingsSchema={"properties": {"port": {"type": "number or so"}}}))
    api.apply(image(types[2], "1.0.0", protectedSettingsSchema={"$ref": "#/$defs/none"}))
    for number, why in ((1, "settingsSchema can't be used: $.properties.port.type"), (2, "leads nowhere")):
        found = ready(number)
        assert kstatus.status_of(found) == "Failed"
        assert found["status"]["conditions"][0]["reason"] == "InvalidSchema"
        assert why in found["status"]["conditions"][0]["message"]
    # The first was looked at before those were.
    unharmed = api.get("VirtualMachineExtensionImage", f"test.{types[0]}-1.0.0".lower())
    assert unharmed is not None
    assert "status" not in unharmed

    api.apply(image(types[1], "1.0.0", settingsSchema={"properties": {"port": {"type": "number"}}}))

    def mended(one: Object | None) -> bool:
        return one is not None and [c["reason"] for c in one["status"]["conditions"]] == ["Usable"]

    whole = api.wait("VirtualMachineExtensionImage", f"test.{types[1]}-1.0.0".lower(), mended)
    assert whole is not None
    assert kstatus.status_of(whole) == "Current"
    versions = [one["metadata"]["resourceVersion"] for one in (unharmed, whole)]
    operator.stop()
    operator.start()
    machine(api)
    declare(api, "one", types[1], settings={"port": 1})
    wait_entry(api, "one")
    assert versions == [
        api.request("GET", f"{IMAGES}/test.{types[number]}-1.0.0".lower())["metadata"]["resourceVersion"]
        for number in (0, 1)
    ]


def test_a_paused_machine_is_told_nothing_new_and_says_so(operator: Operator, api: Api, types: list[str]) -> None:
    machine(api)
    declare(api, "one", types[0])
    declare(api, "two", types[1])
    wait_entry(api, "one")
    wait_entry(api, "two")
    report(api, outcome="Succeeded")
    for name in ("one", "two"):
        api.wait_ready(name)
    before = api.get("GoalState", "web-1")
    assert before is not None

    machine(api, paused=True)
    api.wait("VirtualMachine", "web-1", lambda obj: condition(obj, "Paused") is not None)
    declare(api, "one", types[0], settings={"x": 1})
    declare(api, "three", types[2])
    api.delete(KIND, "two")
    for name in ("one", "two", "three"):
        wait_reason(api, name, "Reconciling", "Paused")
    now = api.get("GoalState", "web-1")
    assert now is not None
    assert now["spec"] == before["spec"]

    machine(api)
    wait_entry(api, "one", settings='{"x":1}')
    wait_entry(api, "three")
    wait_entry(api, "two", state="uninstall")
    api.wait("VirtualMachine", "web-1", lambda obj: condition(obj, "Paused") is None)


def test_an_operator_that_is_paused_leaves_every_goal_as_it_is(operator: Operator, api: Api, types: list[str]) -> None:
    machine(api)
    declare(api, "one", types[0])
    wait_entry(api, "one")
    operator.stop()
    operator.options = ["--paused"]
    operator.start()
    try:
        declare(api, "one", types[0], settings={"x": 1})
        wait_reason(api, "one", "Reconciling", "Paused")
        found = api.wait("VirtualMachine", "web-1", lambda obj: condition(obj, "Paused") is not None)
        assert "the operator is paused" in str((condition(found, "Paused") or {})["message"])
        assert entries(api.get("GoalState", "web-1"))["one"]["sequenceNumber"] == 1
    finally:
        operator.stop()
        operator.options = []
        operator.start()
    wait_entry(api, "one", sequenceNumber=2)


def test_a_dependency_of_another_machine_is_refused_as_long_as_it_is_one(
    operator: Operator, api: Api, types: list[str]
) -> None:
    machine(api)
    declare(api, "one", types[0], dependsOn=["two"])
    wait_reason(api, "one", "Reconciling", "WaitingForDependency")
    declare(api, "two", types[1], vm="web-2")
    wait_reason(api, "one", "Stalled", "InvalidDependency")
    assert "dependsOn names two, which is for web-2" in words(api, "one")
    api.delete(KIND, "two")
    wait_reason(api, "one", "Reconciling", "WaitingForDependency")
    declare(api, "two", types[1])
    assert wait_entry(api, "one")["dependsOn"] == ["two"]

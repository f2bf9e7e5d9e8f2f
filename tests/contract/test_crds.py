"""Hold the kinds to their contract on a real API server: what is good is taken, what is bad is refused with advice."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import control_plane
from development.api import Api, ApiError

CRDS = Path(__file__).resolve().parents[2] / "crds"
SHA = "ab" * 32
SIGNATURE = "A" * 86 + "=="

GOOD: dict[str, dict[str, Any]] = {
    "VirtualMachine": {
        "location": "westeurope",
        "deletionPolicy": "Uninstall",
        "paused": True,
        "unreachableAfter": "90s",
        "readiness": "AllowOffline",
    },
    "VirtualMachineExtension": {
        "vmName": "web-1",
        "publisher": "Microsoft.Azure.Extensions",
        "type": "CustomScript",
        "typeHandlerVersion": "2.1",
        "autoUpgradeMinorVersion": False,
        "enableAutomaticUpgrade": True,
        "forceUpdateTag": "1",
        "settings": {"any": {"thing": [1, None, "x"]}},
        "dependsOn": ["first", "second"],
        "suppressFailures": True,
        "timeout": "1h30m",
        "deletionPolicy": "Orphan",
        "deletionTimeout": "90s",
        "tags": {"owner": "me"},
    },
    "VirtualMachineExtensionImage": {
        "publisher": "VMExt",
        "type": "CustomScript",
        "version": "2.1.0",
        "description": "Runs a script.",
        "package": {"urls": ["https://packages.example/x.zip"], "sha256": SHA, "sizeBytes": 1, "signature": SIGNATURE},
        "locations": ["westeurope"],
        "supports": {"os": ["debian", "ubuntu:22.04"], "architectures": ["amd64", "aarch64"]},
        "hotfix": True,
        "withdrawn": False,
        "settingsSchema": {"type": "object", "properties": {"a": {"enum": [1, None]}}},
        "protectedSettingsSchema": {"required": ["b"]},
        "defaults": {"enableTimeout": "90m"},
        "multiConfig": True,
        "installsPackages": False,
        "limits": {"cpu": "1500m", "memory": "256Mi"},
    },
    "GoalState": {
        "vmName": "web-1",
        "vmUID": "u",
        "anchorUID": "a",
        "modelHash": "h",
        "lastSequenceNumber": 3,
        "thumbprint": "AB" * 20,
        "heartbeatSeconds": 100,
        "credential": {"id": "jti", "token": "e30=", "thumbprint": "AB" * 20, "expiresAt": "2026-01-01T00:00:00Z"},
        "extensions": [
            {
                "name": "hello",
                "uid": "u",
                "state": "enabled",
                "sequenceNumber": 3,
                "forceUpdateTag": "1",
                "settings": "{}",
                "protectedSettings": "e30=",
                "thumbprint": "AB" * 20,
                "dependsOn": ["other"],
                "suppressFailures": True,
                "timeoutSeconds": 60,
                "handler": {
                    "name": "VMExt.CustomScript",
                    "version": "2.1.0",
                    "multiConfig": True,
                    "installsPackages": False,
                    "limits": {"cpuMillicores": 1500, "memoryBytes": 1 << 28},
                    "package": {"urls": ["http://127.0.0.1/x.zip"], "sha256": SHA, "sizeBytes": 1},
                },
            }
        ],
    },
}
NAMES = {"VirtualMachineExtensionImage": "vmext.customscript-2.1.0"}


def good(kind: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "vmext.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": NAMES.get(kind, "good")},
        "spec": copy.deepcopy(GOOD[kind]) | spec,
    }


def signed(signature: str, **fields: Any) -> dict[str, Any]:
    """Return what of a catalog entry's spec makes its package's signature another one."""
    return {"package": {"urls": ["http://x/y"], "sha256": SHA, "sizeBytes": 1, "signature": signature}} | fields


def entry(**fields: Any) -> dict[str, Any]:
    """Return what of a GoalState's spec makes its one entry differ; None takes a field away."""
    (whole,) = copy.deepcopy(GOOD["GoalState"]["extensions"])
    return {"extensions": [{name: value for name, value in (whole | fields).items() if value is not None}]}


def refusal(api: Api, obj: dict[str, Any]) -> str:
    with pytest.raises(ApiError) as caught:
        api.apply(obj)
    # A wrong type is told by 422, and by 500 where it breaks the merge of a server-side apply.
    assert caught.value.status in (422, 500)
    return caught.value.message


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_good_object_is_taken_whole(api: Api, kind: str) -> None:
    written = api.apply(good(kind))
    assert {name: written["spec"][name] for name in GOOD[kind]} == GOOD[kind]
    api.delete(kind, NAMES.get(kind, "good"))


@pytest.mark.parametrize("kind", ["VirtualMachine", "VirtualMachineExtension"])
def test_an_object_that_nobody_has_looked_at_counts_as_in_progress(api: Api, kind: str) -> None:
    assert api.apply(good(kind))["status"] == {"observedGeneration": -1}


def test_only_kinds_whose_status_somebody_writes_have_one_from_the_start(api: Api) -> None:
    assert "status" not in api.apply(good("GoalState"))


def test_what_a_declaration_leaves_out_has_the_documented_default(api: Api) -> None:
    minimal = good("VirtualMachineExtension")
    minimal["spec"] = {"vmName": "web-1", "publisher": "VMExt", "type": "CustomScript", "typeHandlerVersion": "2"}
    written = api.apply(minimal)["spec"]
    assert {name: value for name, value in written.items() if name not in minimal["spec"]} == {
        "autoUpgradeMinorVersion": True,
        "enableAutomaticUpgrade": False,
        "deletionPolicy": "Uninstall",
        "deletionTimeout": "30m",
        "suppressFailures": False,
    }


def test_what_a_machine_leaves_out_has_the_documented_default(api: Api) -> None:
    machine = good("VirtualMachine")
    machine["spec"] = {}
    assert api.apply(machine)["spec"] == {
        "deletionPolicy": "Orphan",
        "paused": False,
        "unreachableAfter": "5m",
        "readiness": "RequireReported",
    }


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("VirtualMachine", {"location": "West Europe"}, "spec.location"),
        ("VirtualMachine", {"unreachableAfter": "14s"}, "unreachableAfter must be from 15s to 72h"),
        ("VirtualMachine", {"unreachableAfter": "73h"}, "unreachableAfter must be from 15s to 72h"),
        ("VirtualMachine", {"unreachableAfter": "soon"}, "spec.unreachableAfter"),
        ("VirtualMachine", {"readiness": "Maybe"}, "spec.readiness"),
        ("GoalState", {"heartbeatSeconds": 0}, "spec.heartbeatSeconds"),
        ("VirtualMachineExtension", {"vmName": ""}, "spec.vmName"),
        ("VirtualMachineExtension", {"publisher": "a-b"}, "spec.publisher"),
        ("VirtualMachineExtension", {"publisher": "../etc"}, "spec.publisher"),
        ("VirtualMachineExtension", {"type": "x/y"}, "spec.type"),
        ("VirtualMachineExtension", {"typeHandlerVersion": "2.x"}, "spec.typeHandlerVersion"),
        ("VirtualMachineExtension", {"typeHandlerVersion": "1.2.3.4.5"}, "spec.typeHandlerVersion"),
        ("VirtualMachineExtension", {"settings": "text"}, "spec.settings"),
        ("VirtualMachineExtension", {"dependsOn": ["good"]}, "an extension can't depend on itself"),
        ("VirtualMachineExtension", {"dependsOn": ["other", "other"]}, "spec.dependsOn"),
        ("VirtualMachineExtension", {"dependsOn": ["x" * 81]}, "spec.dependsOn[0]"),
        ("VirtualMachineExtension", {"tags": {"a": 1}}, "tags"),
        ("VirtualMachineExtension", {"timeout": "soon"}, "spec.timeout"),
        ("VirtualMachineExtension", {"timeout": ""}, "spec.timeout"),
        ("VirtualMachineExtension", {"deletionPolicy": "Forget"}, "spec.deletionPolicy"),
        ("VirtualMachineExtensionImage", {"version": "2"}, "spec.version"),
        ("VirtualMachineExtensionImage", {"version": "2.2.0"}, "metadata.name must be <publisher>.<type>-<version>"),
        (
            "VirtualMachineExtensionImage",
            {"package": {"urls": ["ftp://x/y"], "sha256": SHA, "sizeBytes": 1}},
            "spec.package.urls[0]",
        ),
        (
            "VirtualMachineExtensionImage",
            {"package": {"urls": [], "sha256": SHA, "sizeBytes": 1}},
            "spec.package.urls",
        ),
        (
            "VirtualMachineExtensionImage",
            {"package": {"urls": ["http://x/y"], "sha256": "AB" * 32, "sizeBytes": 1}},
            "spec.package.sha256",
        ),
        (
            "VirtualMachineExtensionImage",
            {"package": {"urls": ["http://x/y"], "sha256": SHA, "sizeBytes": 0}},
            "spec.package.sizeBytes",
        ),
        ("VirtualMachineExtensionImage", signed("e30="), "spec.package.signature"),
        ("VirtualMachineExtensionImage", signed(SIGNATURE, type="A.B"), "the type of a signed package can't have dots"),
        ("VirtualMachineExtensionImage", {"defaults": {"enableTimeout": "1d"}}, "spec.defaults.enableTimeout"),
        ("VirtualMachineExtensionImage", {"limits": {"cpu": "half"}}, "spec.limits.cpu"),
        ("VirtualMachineExtensionImage", {"limits": {"memory": "1.5Gi"}}, "spec.limits.memory"),
        ("VirtualMachineExtensionImage", {"supports": {"os": ["Debian 12"]}}, "spec.supports.os[0]"),
        ("VirtualMachineExtensionImage", {"supports": {"architectures": ["x86-64"]}}, "spec.supports.architectures[0]"),
        ("VirtualMachineExtensionImage", {"settingsSchema": "object"}, "settingsSchema"),
        ("VirtualMachineExtensionImage", {"hotfix": "yes"}, "hotfix"),
        ("VirtualMachineExtensionImage", {"multiConfig": "true"}, "multiConfig"),
        ("GoalState", {"lastSequenceNumber": -1}, "spec.lastSequenceNumber"),
        ("GoalState", entry(thumbprint=None), "protectedSettings and thumbprint are of no use without each other"),
        ("GoalState", entry(thumbprint="ab" * 20), "thumbprint"),
        ("GoalState", {"thumbprint": "ab" * 20}, "spec.thumbprint"),
        ("GoalState", entry(dependsOn=["other", "other"]), "dependsOn"),
        ("GoalState", entry(suppressFailures="no"), "suppressFailures"),
    ],
)
def test_what_has_not_the_form_is_refused_by_the_name_of_its_field(
    api: Api, kind: str, spec: dict[str, Any], said: str
) -> None:
    assert said in refusal(api, good(kind, **spec))


@pytest.mark.parametrize("field", ["vmName", "publisher", "type", "typeHandlerVersion"])
def test_a_declaration_without_what_it_needs_is_refused(api: Api, field: str) -> None:
    obj = good("VirtualMachineExtension")
    del obj["spec"][field]
    assert f"spec.{field}: Required value" in refusal(api, obj)


def test_a_name_too_long_for_a_machine_is_refused_with_the_limit(api: Api) -> None:
    machine = good("VirtualMachine")
    machine["metadata"]["name"] = "x" * 64
    assert "use at most 63 characters" in refusal(api, machine)
    for name in ("web-1-enroll", "web-1-token"):
        machine["metadata"]["name"] = name
        assert "would be that of another machine's credentials" in refusal(api, machine)
    extension = good("VirtualMachineExtension")
    extension["metadata"]["name"] = "x" * 81
    assert "use at most 80 characters" in refusal(api, extension)


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("VirtualMachineExtension", {"vmName": "web-2"}, "delete this extension and create one for the other machine"),
        ("VirtualMachineExtension", {"publisher": "Other"}, "delete this extension and create another"),
        ("VirtualMachineExtension", {"type": "Other"}, "delete this extension and create another"),
        (
            "VirtualMachineExtensionImage",
            {"package": {"urls": ["http://x/y"], "sha256": "cd" * 32, "sizeBytes": 1}},
            "add a catalog entry with a higher version",
        ),
        (
            "VirtualMachineExtensionImage",
            {"package": {"urls": ["http://x/y"], "sha256": SHA, "sizeBytes": 2}},
            "add a catalog entry with a higher version",
        ),
        ("VirtualMachineExtensionImage", {"multiConfig": False}, "add a catalog entry with a higher version"),
        ("GoalState", {"lastSequenceNumber": 2}, "lastSequenceNumber can't fall"),
    ],
)
def test_what_must_not_change_is_kept_with_advice(api: Api, kind: str, spec: dict[str, Any], said: str) -> None:
    api.apply(good(kind))
    assert said in refusal(api, good(kind, **spec))
    api.delete(kind, NAMES.get(kind, "good"))


def test_a_package_may_move_and_a_version_may_be_withdrawn(api: Api) -> None:
    api.apply(good("VirtualMachineExtensionImage"))
    package = {"urls": ["http://elsewhere.example/x.zip"], "sha256": SHA, "sizeBytes": 1}
    written = api.apply(good("VirtualMachineExtensionImage", package=package, withdrawn=True))
    assert written["spec"]["package"]["urls"] == ["http://elsewhere.example/x.zip"]
    api.delete("VirtualMachineExtensionImage", NAMES["VirtualMachineExtensionImage"])


def test_settings_over_what_the_api_server_takes_are_refused_whole(api: Api) -> None:
    with pytest.raises(ApiError) as caught:
        api.apply(good("VirtualMachineExtension", settings={"x": "y" * (4 << 20)}))
    assert caught.value.status in (413, 422, 500)
    assert "too large" in caught.value.message
    assert api.get("VirtualMachineExtension", "good") is None


def test_a_machines_answer_is_taken_whole_and_one_without_its_form_is_refused(api: Api) -> None:
    api.apply(good("GoalState"))
    answer = {
        "uid": "u",
        "state": "enabled",
        "sequenceNumber": 3,
        "version": "2.1.0",
        "outcome": "Failed",
        "operation": "Enable",
        "reason": "ExecutionFailed",
        "message": "m",
        "installedVersion": "2.1.0",
        "failedVersion": "2.2.0",
        "keptBy": "other",
        "notes": ["cpu limit of 500m can't be applied"],
        "startTime": "2026-01-01T00:00:00Z",
        "endTime": "2026-01-01T00:00:01Z",
        "handlerStatus": {"status": "Ready", "code": 0, "message": "Plugin enabled"},
        "extensionStatus": {
            "status": "error",
            "operation": "Enable",
            "code": 1,
            "message": "m",
            "time": "2026-01-01T00:00:01Z",
            "substatuses": [{"name": "StdOut", "status": "success", "code": 0, "message": "m"}],
        },
    }
    status = {
        "observedGeneration": 1,
        "agentVersion": "0.1.0",
        "guest": {"os": "debian"},
        "undeclared": [{"handler": "A.B", "version": "1.0", "extension": "old", "multiConfig": True}],
        "holder": {"id": "1f2e3d4c5b6a7988/0123456789abcdef", "term": 3, "machine": "machine-id 1"},
        "copies": {"abc": {"hostname": "h", "machine": "machine-id 2", "reason": "r", "time": "2026-01-01T00:00:00Z"}},
        "extensions": {"hello": answer},
    }
    assert api.patch_status("GoalState", "good", status)["status"] == status
    wrong = {"outcome": "Maybe", "sequenceNumber": -1, "reason": "no reason", "message": "x" * 8193, "keptBy": "a b"}
    for field, value in wrong.items():
        with pytest.raises(ApiError) as caught:
            api.patch_status("GoalState", "good", {"extensions": {"hello": answer | {field: value}}})
        assert f"status.extensions.hello.{field}" in caught.value.message
    item: dict[str, Any] = {"handler": "A.B", "version": "1.0"}
    hostile = ({"handler": "A.B\n\x1b[31m"}, {"version": "1; reboot"}, {"extension": "../x"}, {"handler": "a" * 202})
    for bad in ([item] * 33, *([item | one] for one in hostile)):
        with pytest.raises(ApiError) as caught:
            api.patch_status("GoalState", "good", {"undeclared": bad})
        assert "status.undeclared" in caught.value.message
    many = {f"copy-{number}": {"time": "2026-01-01T00:00:00Z"} for number in range(17)}
    for path, part in (
        ("holder.term", {"holder": {"id": "x", "term": -1}}),
        ("holder.id", {"holder": {"id": "x" * 65, "term": 1}}),
        ("copies", {"copies": many}),
        ("copies.abc.machine", {"copies": {"abc": {"machine": "x" * 513}}}),
        ("copies.def.time", {"copies": {"def": {"hostname": "h"}}}),
    ):
        with pytest.raises(ApiError) as caught:
            api.patch_status("GoalState", "good", part)
        assert f"status.{path}" in caught.value.message


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("xvm", "virtualmachines"),
        ("vmx", "virtualmachineextensions"),
        ("vmxi", "virtualmachineextensionimages"),
        ("goal", "goalstates"),
    ],
)
def test_each_kind_has_its_short_name_and_is_in_the_category(
    cluster: control_plane.Cluster, short: str, name: str
) -> None:
    listed = cluster.kubectl("api-resources", "--categories=vmext", "--no-headers")
    assert any(line.split()[:2] == [name, short] for line in listed.splitlines()), listed


def test_extensions_are_found_by_their_machine(cluster: control_plane.Cluster, api: Api) -> None:
    api.apply(good("VirtualMachineExtension"))
    for vm, found in (("web-1", ["good"]), ("web-2", [])):
        answer = cluster.kubectl("get", "vmx", "-n", api.namespace, f"--field-selector=spec.vmName={vm}", "-o", "json")
        assert [item["metadata"]["name"] for item in json.loads(answer)["items"]] == found


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_field_and_column_is_described(path: Path) -> None:
    missing: list[str] = []

    def walk(schema: dict[str, Any], where: str) -> None:
        for name, inner in (schema.get("properties") or {}).items():
            if not inner.get("description") and where + name != "metadata":
                missing.append(where + name)
            walk(inner, f"{where}{name}.")
        for part in ("items", "additionalProperties"):
            if isinstance(schema.get(part), dict):
                walk(schema[part], f"{where}{part}.")

    for version in yaml.safe_load(path.read_text())["spec"]["versions"]:
        walk(version["schema"]["openAPIV3Schema"], "")
        missing += [column["name"] for column in version["additionalPrinterColumns"] if not column.get("description")]
    assert not missing

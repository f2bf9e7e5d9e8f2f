"""The chart vm-extensions: what becomes of values, by a real helm and for the real API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

import charts
from development.api import Api
from helm import Helm, HelmError
from support import manifests

CHART = charts.ROOT / "vm-extensions"
SCRIPT = {"publisher": "VMExt", "type": "CustomScript", "typeHandlerVersion": "2.1"}
ODD = "quotes ' \" and {{ braces }}, a\nline, ä, %d and $(dollars)"

#: Values, and what is rendered from them: machines' specs by name, extensions' specs by name.
MATRIX: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "nothing": ({}, {}, {}),
    "a list of names": (
        {"groups": {"web": {"machines": ["web-a", "web-b"], "extensions": {"x": SCRIPT}}}},
        {"web-a": {}, "web-b": {}},
        {"web-a-x": SCRIPT | {"vmName": "web-a"}, "web-b-x": SCRIPT | {"vmName": "web-b"}},
    ),
    "a count and a pattern": (
        {"groups": {"web": {"count": 2, "name": "web-%02d.rack", "firstIndex": 9, "extensions": {"x": SCRIPT}}}},
        {"web-09.rack": {}, "web-10.rack": {}},
        {
            "web-09.rack-x": SCRIPT | {"vmName": "web-09.rack"},
            "web-10.rack-x": SCRIPT | {"vmName": "web-10.rack"},
        },
    ),
    "a count of none": ({"groups": {"web": {"count": 0, "name": "web-%d", "extensions": {"x": SCRIPT}}}}, {}, {}),
    "later wins": (
        {
            "machineDefaults": {"location": "one"},
            "extensionDefaults": SCRIPT | {"timeout": "1m", "tags": {"a": "chart"}},
            "groups": {
                "web": {
                    "machineDefaults": {"location": "two"},
                    "extensionDefaults": {"timeout": "2m", "tags": {"b": "group"}},
                    "extensions": {"x": {"timeout": "3m"}, "y": {}},
                    "machines": [
                        "web-a",
                        {
                            "name": "web-b",
                            "spec": {"location": "three"},
                            "extensions": {"x": {"timeout": "4m"}, "y": None, "z": {"settings": {"own": True}}},
                        },
                    ],
                }
            },
        },
        {"web-a": {"location": "two"}, "web-b": {"location": "three"}},
        {
            "web-a-x": SCRIPT | {"vmName": "web-a", "timeout": "3m", "tags": {"a": "chart", "b": "group"}},
            "web-a-y": SCRIPT | {"vmName": "web-a", "timeout": "2m", "tags": {"a": "chart", "b": "group"}},
            "web-b-x": SCRIPT | {"vmName": "web-b", "timeout": "4m", "tags": {"a": "chart", "b": "group"}},
            "web-b-z": SCRIPT
            | {"vmName": "web-b", "timeout": "2m", "tags": {"a": "chart", "b": "group"}, "settings": {"own": True}},
        },
    ),
    "text stays as it is unless it is templated": (
        {
            "groups": {
                "web": {
                    "count": 1,
                    "name": "web-%d",
                    "extensions": {
                        "x": SCRIPT | {"settings": {"commandToExecute": ODD, "number": 1048576, "empty": {}}},
                        "y": SCRIPT
                        | {"templated": True, "settings": {"c": "{{ .machine.group }}/{{ .machine.name }}: 'ä'"}},
                        "z": SCRIPT | {"templated": True, "settings": {"c": "{{ add .machine.index 1 }}"}},
                    },
                }
            }
        },
        {"web-0": {}},
        {
            "web-0-x": SCRIPT
            | {"vmName": "web-0", "settings": {"commandToExecute": ODD, "number": 1048576, "empty": {}}},
            "web-0-y": SCRIPT | {"vmName": "web-0", "settings": {"c": "web/web-0: 'ä'"}},
            "web-0-z": SCRIPT | {"vmName": "web-0", "settings": {"c": "1"}},
        },
    ),
    "secrets by reference, and a ciphertext for the one machine that can read it": (
        {
            "groups": {
                "web": {
                    "machines": [
                        {"name": "a", "extensions": {"s": {"protectedSettings": {"encrypted": {"A" * 40: "AAAA"}}}}},
                        {"name": "b", "extensions": {"r": {"protectedSettings": {"secretRef": {"key": "other"}}}}},
                    ],
                    "extensions": {
                        "r": SCRIPT | {"protectedSettings": {"secretRef": {"name": "web", "key": "settings"}}},
                        "s": SCRIPT,
                    },
                }
            }
        },
        {"a": {}, "b": {}},
        {
            "a-r": SCRIPT | {"vmName": "a", "protectedSettings": {"secretRef": {"name": "web", "key": "settings"}}},
            "a-s": SCRIPT | {"vmName": "a", "protectedSettings": {"encrypted": {"A" * 40: "AAAA"}}},
            "b-r": SCRIPT | {"vmName": "b", "protectedSettings": {"secretRef": {"name": "web", "key": "other"}}},
            "b-s": SCRIPT | {"vmName": "b"},
        },
    ),
    "machines that are declared elsewhere, and a group that another file had": (
        {
            "groups": {
                "web": {"declareMachines": False, "machines": ["a"], "extensions": {"x": SCRIPT}},
                "gone": None,
            }
        },
        {},
        {"a-x": SCRIPT | {"vmName": "a"}},
    ),
}


@pytest.mark.parametrize("name", MATRIX)
def test_values_become_objects_that_the_api_server_takes(helm: Helm, api: Api, name: str) -> None:
    values, machines, extensions = MATRIX[name]
    objects = helm.template(CHART, "--namespace", api.namespace, values=values)
    found = {
        kind: {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == kind}
        for kind in ("VirtualMachine", "VirtualMachineExtension")
    }
    assert found["VirtualMachine"] == machines
    assert found["VirtualMachineExtension"] == extensions
    assert {o["metadata"]["namespace"] for o in objects} <= {api.namespace}
    manifests.dry_run(api, objects)


def test_dependencies_are_named_within_a_machine(helm: Helm, api: Api) -> None:
    group = {"machines": ["a", "b"], "extensions": {"x": SCRIPT, "y": SCRIPT | {"dependsOn": ["x"]}}}
    objects = helm.template(CHART, "--namespace", api.namespace, values={"groups": {"web": group}})
    manifests.dry_run(api, objects)
    found = {o["metadata"]["name"]: o["spec"].get("dependsOn") for o in objects if o["kind"] != "VirtualMachine"}
    assert found == {"a-x": None, "a-y": ["a-x"], "b-x": None, "b-y": ["b-x"]}


def test_labels_and_annotations_are_on_every_object_and_ours_stay(helm: Helm) -> None:
    values = {
        "labels": {"team": "web", "vmext.dev/machine": "mine"},
        "annotations": {"argocd.argoproj.io/sync-wave": "2"},
        "groups": {"web": {"machines": ["a"], "extensions": {"x": SCRIPT}}},
    }
    for obj in helm.template(CHART, values=values):
        assert obj["metadata"]["labels"]["team"] == "web"
        assert obj["metadata"]["labels"]["vmext.dev/machine"] == "a"
        assert obj["metadata"]["annotations"] == {"argocd.argoproj.io/sync-wave": "2"}


def group(**fields: Any) -> dict[str, Any]:
    return {"groups": {"web": {"machines": ["a"], "extensions": {"x": SCRIPT}} | fields}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            group(extensions={"x": SCRIPT | {"dependsOn": ["y"]}}),
            "x dependsOn y, which machine a does not have; it has x",
        ),
        (group(extensions={"x" * 60: SCRIPT}, machines=["a" * 30]), "has 91 characters"),
        (group(machines=["a", "a"]), "the machine a is in the group web already"),
        (group(count=1, name="a-%d"), "'oneOf' failed"),
        ({"groups": {"web": {"count": 1, "name": "web"}}}, "'web' does not match pattern"),
        ({"groups": {"web": {"count": 1, "name": "web-%s"}}}, "does not match pattern"),
        ({"groups": {"web": {"count": -1, "name": "web-%d"}}}, "minimum: got -1, want 0"),
        (group(machines=["A"]), "'A' does not match pattern"),
        (group(extensions={"x": SCRIPT | {"vmName": "b"}}), "/vmName"),
        (group(extensions={"x": SCRIPT | {"protectedSettings": {"password": "p"}}}), "'password' not allowed"),
        (group(extensions={"x": SCRIPT | {"typeHandlerVersion": 2.1}}), "got number, want string"),
        (group(extensions={"x": SCRIPT | {"settings": "echo"}}), "got string, want object"),
        ({"grups": {}}, "'grups' not allowed"),
    ],
)
def test_what_is_wrong_is_said(helm: Helm, values: Mapping[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as raised:
        helm.template(CHART, values=values)
    assert said in raised.value.said


@pytest.mark.parametrize("name", MATRIX)
def test_it_lints(helm: Helm, name: str) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), values=MATRIX[name][0])


def test_the_example_of_the_readme_is_one(helm: Helm, api: Api) -> None:
    text = (CHART / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    objects = helm.template(CHART, "--namespace", api.namespace, values=yaml.safe_load(text))
    commands = [o["spec"]["settings"]["commandToExecute"] for o in objects if o["kind"] == "VirtualMachineExtension"]
    assert commands == [f'echo "web-{n} is number {n}" > /etc/motd' for n in (1, 2, 3)]
    manifests.dry_run(api, objects)

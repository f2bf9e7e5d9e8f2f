"""ARM templates to manifests: which machines and extensions come of them, and what is said to be lost."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_vmext.arm import manifests, template
from kubectl_vmext.arm.errors import ArmError

CANARY = "correct-horse-battery-staple"
VM = "Microsoft.Compute/virtualMachines"
SCRIPT = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}


def extension(name: str, **fields: Any) -> dict[str, Any]:
    properties = SCRIPT | fields.pop("properties", {})
    return {"type": f"{VM}/extensions", "name": name, "properties": properties} | fields


def converted(
    *resources: Any, words: dict[str, str] | None = None, catalog: frozenset[str] | None = None, **rest: Any
) -> tuple[dict[str, dict[str, Any]], list[str], list[str]]:
    """Return the objects by name, what is lost, and what is noted."""
    found, known = template.read({"resources": list(resources)} | rest, (), words or {}, "westeurope")
    made = manifests.make(found, known, catalog)
    return {one["metadata"]["name"]: one for one in (*made.secrets, *made.objects)}, found.lost, found.notes


def test_a_loop_makes_machines_and_their_extensions() -> None:
    loop = {"name": "loop", "count": "[parameters('count')]"}
    objects, lost, _ = converted(
        {
            "type": VM,
            "name": "[concat('VM', copyIndex(1))]",
            "location": "West Europe",
            "copy": loop,
            "tags": {"a": "b"},
        },
        extension("[concat('VM', copyIndex(1), '/hello')]", copy=loop | {"name": "other"}, dependsOn=["loop"]),
        parameters={"count": {"type": "int", "defaultValue": 2}},
    )
    assert lost == []
    assert list(objects) == ["vm1", "vm2", "vm1-hello", "vm2-hello"]
    assert objects["vm2"]["spec"] == {"location": "westeurope"}
    assert objects["vm2"]["metadata"]["labels"] == {"a": "b"}
    assert objects["vm2-hello"]["spec"]["vmName"] == "vm2"
    assert "dependsOn" not in objects["vm2-hello"]["spec"]


@pytest.mark.parametrize(
    "dependency",
    [
        f"[resourceId('{VM}/extensions', 'web', 'first')]",
        f"[resourceId('{VM}/extensions', 'WEB', 'First')]",
        f"[concat('{VM}/', 'web', '/extensions/', 'first')]",
        "web/first",
        "first",
        "firstLoop",
    ],
)
def test_a_dependency_is_found_however_it_is_named(dependency: str) -> None:
    loop = {"name": "firstLoop", "count": 1}
    objects, lost, _ = converted(
        extension("web/first", copy=loop), extension("web/second", dependsOn=[dependency, f"{VM}/web", "nic"])
    )
    assert lost == []
    assert objects["web-second"]["spec"]["dependsOn"] == ["web-first"]


def test_a_dependency_on_another_machine_is_lost_and_said() -> None:
    _, lost, _ = converted(extension("db/first"), extension("web/second", dependsOn=["db/first"]))
    assert lost == ["extension web/second: it depends on db/first, which is on another machine"]


def test_a_dependency_on_a_loop_is_one_on_the_same_machines_turn() -> None:
    loop = {"count": 2}
    objects, lost, _ = converted(
        extension("[concat('vm', copyIndex(), '/a')]", copy=loop | {"name": "aLoop"}),
        extension("[concat('vm', copyIndex(), '/b')]", copy=loop | {"name": "bLoop"}, dependsOn=["aLoop"]),
    )
    assert lost == []
    assert objects["vm1-b"]["spec"]["dependsOn"] == ["vm1-a"]


def test_nested_and_symbolic_resources_are_found() -> None:
    nested = {"type": "extensions", "name": "hello", "properties": SCRIPT}
    found, _ = template.read(
        {
            "resources": {
                "vm": {"type": VM, "name": "web", "resources": [nested]},
                "x": extension("web/y", dependsOn=["vm"]),
            }
        },
        (),
        {},
        None,
    )
    assert [(one.vm, one.name) for one in found.extensions] == [("web", "hello"), ("web", "y")]


def test_protected_settings_go_to_a_secret_and_nowhere_else() -> None:
    objects, _, notes = converted(
        extension("web/x", properties={"protectedSettings": {"password": "[parameters('p')]"}}),
        parameters={"p": {"type": "securestring"}},
        words={"p": CANARY},
    )
    assert json.loads(base64.b64decode(objects["web-x-protected"]["data"]["settings"])) == {"password": CANARY}
    assert CANARY not in json.dumps(objects["web-x"])
    assert objects["web-x"]["spec"]["protectedSettings"] == {
        "secretRef": {"name": "web-x-protected", "key": "settings"}
    }
    assert notes == []


def test_a_secret_in_public_settings_is_pointed_at() -> None:
    _, _, notes = converted(
        extension("web/x", properties={"settings": {"a": "[concat('x', parameters('p'))]"}}),
        parameters={"p": {"type": "securestring"}},
        words={"p": CANARY},
    )
    assert notes == ["extension web/x: a secure parameter stands in its public settings, for all to read"]


@pytest.mark.parametrize(
    ("catalog", "publisher", "noted"),
    [
        (None, "Microsoft.Azure.Extensions", ""),
        (
            frozenset({"Microsoft.Azure.Extensions.CustomScript", "VMExt.CustomScript"}),
            "Microsoft.Azure.Extensions",
            "",
        ),
        (frozenset({"VMExt.CustomScript"}), "VMExt", "VMExt.CustomScript is taken instead"),
        (frozenset({"A.CustomScript", "B.CustomScript"}), "Microsoft.Azure.Extensions", "stays UnknownImage"),
        (frozenset(), "Microsoft.Azure.Extensions", "stays UnknownImage"),
    ],
)
def test_azures_publisher_is_kept_where_the_catalog_has_it(
    catalog: frozenset[str] | None, publisher: str, noted: str
) -> None:
    objects, _, notes = converted(extension("web/x"), catalog=catalog)
    assert objects["web-x"]["spec"]["publisher"] == publisher
    assert noted in "".join(notes)
    assert bool(noted) == bool(notes)


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        (extension("web/x", properties={"type": ""}), "it says no type"),
        (extension("x"), "does not say of which machine"),
        (extension("web/" + "x" * 90), "80 at most"),
        (extension("[uniqueString('x')]"), "only Azure makes the same way"),
        (extension("web/x", condition="[reference('x')]"), "asks Azure for a running resource"),
        (extension("web/x", copy={"name": "l", "count": 100_000}), "no number from 0 to 800"),
        (extension("web/x", properties={"settings": []}), "its settings are no object"),
        (extension("web/x", properties={"settings": {"copy": [{"name": "a"}]}}), "a copy loop over properties"),
        (extension("web/x", properties={"protectedSettingsFromKeyVault": {"a": 1}}), "in a key vault"),
        (extension("web/x", dependsOn=["[concat('a/extensions/', reference('x'))]"]), "dependsOn"),
        ({"type": VM, "name": "a.b"}, "can't be a name here"),
        ({"type": "Microsoft.Compute/virtualMachineScaleSets", "name": "s"}, "scale set s"),
        ({"type": "Microsoft.Resources/deployments", "name": "d"}, "deployment d: a template within"),
        (7, "a resource that is no object"),
    ],
)  # fmt: skip
def test_what_is_lost_is_named(resource: Any, words: str) -> None:
    _, lost, _ = converted(resource, extension("other/fine"))
    assert len(lost) == 1
    assert words in lost[0]


def test_what_two_resources_come_to_alike_is_lost_and_said() -> None:
    _, lost, _ = converted({"type": VM, "name": "web_1"}, {"type": VM, "name": "web-1"})
    assert lost == ["machine web-1: another one comes to be web-1 too"]


def test_a_condition_that_is_false_leaves_out() -> None:
    objects, lost, _ = converted(extension("web/x", condition="[equals(1, 2)]"))
    assert (objects, lost) == ({}, [])


@pytest.mark.parametrize(
    ("declared", "words", "said"),
    [
        ({"p": {"type": "string"}}, {}, "parameters without a value: p"),
        ({"p": {"type": "int"}}, {"p": "x"}, "the parameter p is of type int"),
        ({"p": {"type": "int"}}, {"p": "true"}, "the parameter p is of type int"),
        ({"p": {"type": "string", "allowedValues": ["a"]}}, {"p": "b"}, "not among its allowedValues"),
        ({}, {"q": "x"}, "has no parameter q"),
        ({"p": 7}, {}, "declared by no object"),
        ([], {}, "are no object"),
    ],
)
def test_parameters_are_checked_and_never_repeated(declared: Any, words: dict[str, str], said: str) -> None:
    with pytest.raises(ArmError, match=said):
        template.read({"parameters": declared, "resources": []}, (), words, None)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "this has none"),
        ([], "neither a template"),
        ("x", "neither a template"),
        ({"resources": 7}, "this has none"),
        ({"resources": [], "variables": []}, "are no object"),
    ],
)
def test_what_is_no_template_is_refused(document: Any, said: str) -> None:
    with pytest.raises(ArmError, match=said):
        template.read(document, (), {}, None)


def test_parameter_files_have_values_of_their_own_types() -> None:
    file = {"parameters": {"count": {"value": 3}}}
    loop = {"name": "l", "count": "[parameters('count')]"}
    found, _ = template.read(
        {
            "parameters": {"count": {"type": "int"}},
            "resources": [{"type": VM, "name": "[concat('v', copyIndex())]", "copy": loop}],
        },
        (file,),
        {},
        None,
    )
    assert [one.name for one in found.machines] == ["v0", "v1", "v2"]
    with pytest.raises(ArmError, match="is kept in a key vault"):
        template.read({"resources": []}, ({"parameters": {"p": {"reference": {}}}},), {}, None)


def test_what_az_prints_is_taken_too() -> None:
    one = {
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/Web/extensions/hello",
        "name": "hello",
        "publisher": "Microsoft.Azure.Extensions",
        "typePropertiesType": "CustomScript",
        "typeHandlerVersion": "2.1",
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "settings": {"commandToExecute": "true"},
        "protectedSettings": None,
        "provisionAfterExtensions": None,
        "autoUpgradeMinorVersion": True,
        "tags": None,
    }
    for document in ([one], one):
        found, known = template.read(document, (), {}, None)
        (made,) = manifests.make(found, known, None).objects
        assert made["metadata"]["name"] == "web-hello"
        assert made["spec"]["type"] == "CustomScript"
        assert made["spec"]["settings"] == {"commandToExecute": "true"}
        assert "Azure never shows protected settings" in found.notes[0]


_TEXTS = ("[copyIndex()]", "[concat('a')]", "web/x", VM, f"{VM}/extensions", "")
_FIELDS = (
    "type",
    "name",
    "copy",
    "count",
    "properties",
    "resources",
    "dependsOn",
    "condition",
    "tags",
    "id",
    "settings",
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(_TEXTS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6)),
    max_leaves=25,
)


@settings(max_examples=300)
@given(_JSON)
def test_whatever_it_is_ends_in_manifests_or_in_a_refusal(document: Any) -> None:
    for whole in (document, {"resources": [document]}, {"resources": document, "parameters": document}):
        # Any other error is a finding.
        with contextlib.suppress(ArmError):
            found, known = template.read(whole, (), {}, None)
            manifests.make(found, known, frozenset())

from __future__ import annotations

import gc
import json
import time
from typing import Any

import pytest

from support import objects
from vmext_operator.api import extension_image
from vmext_operator.control.settings_check import Checker
from vmext_operator.core import settings_schema
from vmext_operator.core.reasons import Reason
from vmext_operator.core.settings_schema import SchemaError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["commandToExecute"],
    "additionalProperties": False,
    "properties": {
        "commandToExecute": {"type": "string", "minLength": 1},
        "fileUris": {"type": "array", "items": {"$ref": "#/$defs/address"}},
        "mode": {"enum": ["fast", "slow"]},
    },
    "$defs": {"address": {"type": "string", "pattern": "^https?://"}},
}


def image(**spec: Any) -> extension_image.ExtensionImage:
    return extension_image.parse(objects.image(**spec))


def said(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    return sorted(settings_schema.faults(schema, document, "settings", is_secret=False))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"commandToExecute": "true", "fileUris": ["https://x/y"], "mode": "fast"}, []),
        ({}, ["settings: 'commandToExecute' is a required property"]),
        ({"commandToExecute": 7}, ["settings.commandToExecute: 7 is not of type 'string'"]),
        (
            {"commandToExecute": "x", "fileUris": ["https://x", "ftp://y"]},
            ["settings.fileUris[1]: 'ftp://y' does not match '^https?://'"],
        ),
        (
            {"commandToExecute": "x", "mod": 1},
            ["settings: Additional properties are not allowed ('mod' was unexpected)"],
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(document: dict[str, Any], expected: list[str]) -> None:
    assert said(SCHEMA, document) == expected


SECRET = "hunter2-canary"


@pytest.mark.parametrize(
    ("schema", "document", "expected"),
    [
        (SCHEMA, {"fileUris": []}, "protectedSettings: lacks commandToExecute"),
        (
            SCHEMA,
            {"commandToExecute": {SECRET: SECRET}},
            'protectedSettings.commandToExecute: does not fit type: "string"',
        ),
        (
            SCHEMA,
            {"commandToExecute": "x", "fileUris": [SECRET]},
            'protectedSettings.fileUris[0]: does not fit pattern: "^https?://"',
        ),
        (SCHEMA, {"commandToExecute": "x", SECRET: 1}, "protectedSettings: has a property that is none of "),
        (SCHEMA, {"commandToExecute": "x", "mode": SECRET}, "protectedSettings.mode: does not fit enum: "),
        (
            {"additionalProperties": {"type": "integer"}},
            {SECRET: SECRET},
            'protectedSettings.*: does not fit type: "integer"',
        ),
        ({"not": {"required": ["a"]}}, {"a": SECRET}, "protectedSettings: does not fit not: "),
        ({"const": {"a": 1}}, {"a": SECRET}, "protectedSettings: does not fit const: "),
        ({"maxProperties": 1}, {"a": SECRET, SECRET: 1}, "protectedSettings: does not fit maxProperties: 1"),
        ({"propertyNames": {"maxLength": 3}}, {SECRET: 1}, "protectedSettings: does not fit maxLength: 3"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": SECRET}, "protectedSettings: does not fit dependentRequired: "),
        ({"anyOf": [{"type": "null"}]}, {"a": SECRET}, "protectedSettings: does not fit anyOf: "),
        ({"unevaluatedProperties": False}, {SECRET: 1}, "protectedSettings: has a property that is none of "),
    ],
)
def test_nothing_of_protected_settings_is_said(schema: dict[str, Any], document: dict[str, Any], expected: str) -> None:
    held = Checker().protected(image(protectedSettingsSchema=schema), json.dumps(document).encode())
    assert held is not None
    assert held.reason is Reason.INVALID_SETTINGS
    assert expected in held.message
    assert SECRET not in held.message


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "strange"}, "$.type"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "leads out of the schema"),
        ({"properties": {"a": {"$ref": "other.json#/x"}}}, "$.properties.a.$ref"),
        ({"$dynamicRef": "file:///etc/passwd"}, "leads out of the schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "by 2020-12 only"),
        ({"properties": {f"p{number}": {"description": "x" * 1000} for number in range(70)}}, "at most 65536"),
    ],
)
def test_a_schema_that_can_not_be_used_says_why(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(SchemaError) as caught:
        settings_schema.parse(json.dumps(schema))
    assert why in str(caught.value)
    held = Checker().public(image(settingsSchema=schema), "{}")
    assert held is not None
    assert held.reason is Reason.INVALID_SCHEMA
    assert "settingsSchema of VirtualMachineExtensionImage vmext.customscript-2.1.0 can't be used: " in held.message


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#"},
        {"$id": "http://127.0.0.1:9/", "$ref": "#nowhere"},
    ],
)
def test_a_reference_that_leads_nowhere_or_in_circles_is_the_schemas_fault(schema: dict[str, Any]) -> None:
    held = Checker().public(image(settingsSchema=schema), '{"a":1}')
    assert held is not None
    assert held.reason is Reason.INVALID_SCHEMA


def nested(depth: int) -> Any:
    return {} if depth == 0 else {"a": nested(depth - 1)}


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 40 + "!"}),
        ({"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": ["b"]}] * 8}, nested(40)),
    ],
    ids=["a pattern that backtracks", "alternatives within alternatives"],
)
def test_a_check_that_takes_for_ever_is_cut_off_and_not_made_again(schema: dict[str, Any], document: Any) -> None:
    checker, text = Checker(0.05), json.dumps(document)
    held = checker.public(image(settingsSchema=schema), text)
    assert held is not None
    assert held.reason is Reason.INVALID_SCHEMA
    assert "took more than 0.05 s" in held.message
    used = time.process_time()
    assert checker.public(image(settingsSchema=schema), text) == held
    assert time.process_time() - used < 0.05


def test_a_check_whose_time_is_up_while_the_garbage_collector_is_at_work_is_cut_off_too() -> None:
    # What is raised there is lost: once, a check then went on until all memory was used.
    spent: list[float] = []

    def spend(phase: str, info: object) -> None:
        if phase == "start" and not spent:
            began = time.process_time()
            while time.process_time() - began < 0.2:
                pass
            spent.append(time.process_time() - began)

    schema = {"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": ["b"]}] * 4}
    gc.callbacks.append(spend)
    try:
        held = Checker(0.05).public(image(settingsSchema=schema), json.dumps(nested(9)))
    finally:
        gc.callbacks.remove(spend)
    assert spent
    assert held is not None
    assert "took more than 0.05 s" in held.message


def test_what_has_no_schema_is_not_checked() -> None:
    assert Checker().public(image(), "{}") is None
    assert Checker().protected(image(), b"{}") is None

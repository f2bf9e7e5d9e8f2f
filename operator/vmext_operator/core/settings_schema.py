"""Hold settings to the JSON Schema (2020-12) that the catalog has for them.

Nothing is fetched: a reference leads within its schema or nowhere. What is said of protected settings has the path and
what the schema wants there, never a value, nor a name that the schema does not have itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import referencing
from jsonschema import Draft202012Validator
from jsonschema import exceptions as jsonschema_exceptions

MAX_SCHEMA_BYTES = 64 * 1024
_DEEPEST = 64
_SHOWN = 300
_REFERENCES = ("$ref", "$dynamicRef")


class SchemaError(ValueError):
    """Tell that a schema is none, or can't be used, and where."""


def parse(text: str) -> Mapping[str, Any]:
    """Return a schema that can be used. Raises SchemaError."""
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise SchemaError(f"it has {len(text.encode())} bytes, at most {MAX_SCHEMA_BYTES} are taken")
    try:
        schema: Mapping[str, Any] = json.loads(text)
        _refuse_foreign(schema, "$", 0)
        Draft202012Validator.check_schema(schema)
    except jsonschema_exceptions.SchemaError as error:
        raise SchemaError(f"{error.json_path}: {error.message[:_SHOWN]}") from None
    except RecursionError:
        raise SchemaError(f"it is nested more than {_DEEPEST} levels deep") from None
    return schema


def _refuse_foreign(value: object, path: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise SchemaError(f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(value, dict):
        for name in _REFERENCES:
            target = value.get(name)
            if isinstance(target, str) and not target.startswith("#"):
                raise SchemaError(f"{path}.{name}: {target[:_SHOWN]!r} leads out of the schema, and nothing is fetched")
        if value.get("$schema", Draft202012Validator.META_SCHEMA["$id"]) != Draft202012Validator.META_SCHEMA["$id"]:
            raise SchemaError(f"{path}.$schema: it is {value['$schema']!r:.100}; schemas are read by 2020-12 only")
        for name, inner in value.items():
            _refuse_foreign(inner, f"{path}.{name}", depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_foreign(inner, f"{path}[{index}]", depth + 1)


def faults(schema: Mapping[str, Any], document: object, name: str, *, is_secret: bool) -> Iterator[str]:
    """Yield what of a document does not fit a schema. Raises SchemaError where the schema can't be applied.

    Args:
        schema: that was parsed.
        document: the settings.
        name: of the field that they are in.
        is_secret: whether nothing of them may be said.
    """
    # A registry without a way to retrieve anything.
    validator = Draft202012Validator(schema, registry=referencing.Registry())
    known = set(_names(schema))
    try:
        for error in validator.iter_errors(document):
            path = "".join(_step(part, known, is_secret=is_secret) for part in error.absolute_path)
            yield f"{name}{path}: " + (_wanted(error, known) if is_secret else error.message[:_SHOWN])
    except referencing.exceptions.Unresolvable as error:
        raise SchemaError(f"a reference leads nowhere: {str(error)[:_SHOWN]}") from None
    except RecursionError:
        raise SchemaError("it refers to itself without end, or the settings are nested too deeply") from None


def _names(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for inner in schema.values():
            yield from _names(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _names(inner)


def _step(part: object, known: set[str], *, is_secret: bool) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return ".*" if is_secret and part not in known else f".{str(part)[:_SHOWN]}"


def _wanted(error: jsonschema_exceptions.ValidationError, known: set[str]) -> str:
    """Return what a schema wants, of which nothing is the document's: the library's own words quote that."""
    if error.validator == "required":
        instance = error.instance if isinstance(error.instance, dict) else {}
        wanted = error.validator_value if isinstance(error.validator_value, list) else []
        return f"lacks {', '.join(str(name) for name in wanted if name not in instance)}"[:_SHOWN]
    if error.validator in ("additionalProperties", "unevaluatedProperties", "propertyNames"):
        return f"has a property that is none of {', '.join(sorted(known))}"[:_SHOWN]
    value = json.dumps(error.validator_value, ensure_ascii=False)
    return f"does not fit {error.validator}: {value}"[:_SHOWN]

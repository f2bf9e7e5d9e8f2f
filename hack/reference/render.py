"""Render CustomResourceDefinitions as pages of Markdown: the same kinds give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
FOLDER = ROOT / "docs" / "reference"
Schema = Mapping[str, Any]

_NOTE = "<!-- Made from crds/ by `make reference`; a test holds the two equal. -->"
#: What every kind has and nobody looks up.
_COMMON = ("apiVersion", "kind", "metadata")
_LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
}


def pages() -> dict[str, str]:
    """Return every page by its file name: one a kind, and the list of them."""
    kinds = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    made = {f"{_names(crd)['kind'].lower()}.md": _page(crd) for crd in kinds}
    return {"README.md": _index(kinds)} | made


def _names(crd: Schema) -> Schema:
    names: Schema = crd["spec"]["names"]
    return names


def _index(kinds: list[Schema]) -> str:
    lines = ["# The API", "", _NOTE, "", "| kind | short | what it is |", "| --- | --- | --- |"]
    for crd in kinds:
        kind = _names(crd)["kind"]
        about = _root(crd["spec"]["versions"][0])["description"]
        lines.append(f"| [{kind}]({kind.lower()}.md) | {_short(crd)} | {_cell(about)} |")
    return "\n".join([*lines, "", "What a condition's reason means: [reasons](../reasons.md).", ""])


def _page(crd: Schema) -> str:
    names, scope = _names(crd), crd["spec"]["scope"]
    lines = [f"# {names['kind']}", "", _NOTE]
    for version in crd["spec"]["versions"]:
        root = _root(version)
        where = "in a namespace" if scope == "Namespaced" else "for the whole cluster"
        facts = [f"`{crd['spec']['group']}/{version['name']}`", where, f"`kubectl get {names['plural']}`"]
        if names.get("shortNames"):
            facts.append(f"short {_short(crd)}")
        lines += ["", root["description"], "", ", ".join(facts) + "."]
        if selectable := [field["jsonPath"] for field in version.get("selectableFields") or ()]:
            lines += ["", f"Can be selected by field: {', '.join(f'`{path[1:]}`' for path in selectable)}."]
        lines += _rules(root)
        for part, schema in root["properties"].items():
            if part not in _COMMON:
                lines += ["", f"## {part}", "", schema.get("description", ""), *_rules(schema)]
                lines += ["", "| field | type | what it is |", "| --- | --- | --- |", *_rows(schema, part)]
        lines += ["", "## Columns", "", "| column | what it shows |", "| --- | --- |"]
        for column in version.get("additionalPrinterColumns") or ():
            wide = " (`-o wide`)" if column.get("priority") else ""
            lines.append(f"| {column['name']}{wide} | {_cell(column['description'])} |")
    return "\n".join([*lines, ""])


def _root(version: Schema) -> Schema:
    root: Schema = version["schema"]["openAPIV3Schema"]
    return root


def _short(crd: Schema) -> str:
    return ", ".join(f"`{name}`" for name in _names(crd).get("shortNames") or ())


def _rules(schema: Schema) -> list[str]:
    """Return the rules of an object as a list of what each of them says when it is broken."""
    rules = schema.get("x-kubernetes-validations") or ()
    return [""] * bool(rules) + [f"- {rule['message']}" for rule in rules]


def _rows(schema: Schema, path: str) -> Iterator[str]:
    """Yield a row for each field of an object, those of objects in it and of lists' items included."""
    required = schema.get("required") or ()
    for name, field in (schema.get("properties") or {}).items():
        where = f"{path}.{name}"
        kind, inner, inner_path = _type(field, where)
        must = "**required**<br>" if name in required else ""
        yield f"| `{where.partition('.')[2]}` | {must}{kind} | {_about(field)} |"
        yield from _rows(inner, inner_path)


def _type(field: Schema, where: str) -> tuple[str, Schema, str]:
    """Return a field's type in words, the schema of what is in it, and the path of that."""
    items, values = field.get("items"), field.get("additionalProperties")
    if items is not None:
        kind, inner, path = _type(items, f"{where}[]")
        return f"list of {kind}", inner, path
    if isinstance(values, Mapping):
        kind, inner, path = _type(values, f"{where}.<key>")
        return f"{kind} by name", inner, path
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string", {}, where
    if field.get("x-kubernetes-preserve-unknown-fields"):
        return "any JSON object", field, where
    if field.get("enum"):
        return " or ".join(f"`{value}`" for value in field["enum"]), {}, where
    form = field.get("format")
    return (f"{field['type']} ({form})" if form in ("date-time", "duration") else field["type"]), field, where


def _about(field: Schema) -> str:
    parts = [field.get("description", "")]
    if "default" in field:
        value = field["default"]
        parts.append(f"Default `{value if isinstance(value, str) else json.dumps(value)}`.")
    inner = field.get("items") or field.get("additionalProperties") or {}
    inner = inner if isinstance(inner, Mapping) else {}
    # That a list's item is one of them says nothing.
    if not inner.get("description", "One ").startswith("One "):
        parts.append(f"Each: {inner['description']}")
    limits = [words.format(field[key]) for key, words in _LIMITS.items() if key in field]
    limits += [f"each {words.format(inner[key])}" for key, words in _LIMITS.items() if key in inner]
    limits += [f"form `{part['pattern']}`" for part in (field, inner) if "pattern" in part]
    if limits:
        parts.append(f"Limits: {', '.join(limits)}.")
    rules = [rule for part in (field, inner) for rule in part.get("x-kubernetes-validations") or ()]
    parts += [f"Rule: {rule['message']}." for rule in rules]
    return _cell(" ".join(part for part in parts if part))


def _cell(text: str) -> str:
    """Return a text as it has to be in a table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("&lt;br>", "<br>")

"""A template's parameters: what was given for them, by their declared types, and which of them are secret."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_vmext.arm.errors import ArmError

_TYPES = {
    "string": str,
    "securestring": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "secureobject": dict,
    "array": list,
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What expressions are evaluated with.

    Attributes:
        given: by name in lower case.
        defaults: by name in lower case, expressions among them.
        secrets: texts that stand in secure parameters, given ones only: for finding where they must not be.
    """

    given: Mapping[str, Any]
    defaults: Mapping[str, Any]
    secrets: tuple[str, ...] = ()


def of_file(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a parameter file. Raises ArmError."""
    parameters = document.get("parameters")
    if not isinstance(parameters, dict):
        raise ArmError("a parameter file has an object `parameters`")
    found = {}
    for name, entry in parameters.items():
        if not isinstance(entry, dict) or "value" not in entry:
            held = "is kept in a key vault" if isinstance(entry, dict) and "reference" in entry else "has no value"
            raise ArmError(f"the parameter {name} {held}; give it by --parameters {name}=...")
        found[name] = entry["value"]
    return found


def settled(declared: object, from_files: Mapping[str, Any], from_words: Mapping[str, str]) -> Parameters:
    """Return the parameters of a template.

    Args:
        declared: the template's own.
        from_files: values with types of their own.
        from_words: values from the command line: texts, read by the declared types.

    Raises:
        ArmError: one is not declared, is missing, or has another type. It never says a value.
    """
    known = {name.lower(): (name, one) for name, one in _declared(declared)}
    given: dict[str, Any] = {}
    for name, value in (*from_files.items(), *from_words.items()):
        if name.lower() not in known:
            raise ArmError(f"the template has no parameter {name}; it has {', '.join(_names(known)) or 'none'}")
        kind = str(known[name.lower()][1].get("type", "")).lower()
        typed = _read(name, kind, value) if name in from_words else value
        given[name.lower()] = _checked(name, kind, typed, known[name.lower()][1].get("allowedValues"))
    missing = [name for key, (name, one) in known.items() if key not in given and "defaultValue" not in one]
    if missing:
        raise ArmError(
            f"parameters without a value: {', '.join(missing)}; give them by --parameters NAME=VALUE or @FILE"
        )
    defaults = {key: one["defaultValue"] for key, (_, one) in known.items() if "defaultValue" in one}
    secure = [key for key, (_, one) in known.items() if str(one.get("type", "")).lower().startswith("secure")]
    return Parameters(given, defaults, tuple(_texts(given[key] for key in secure if key in given)))


def _declared(declared: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if not isinstance(declared, dict | None):
        raise ArmError("the template's `parameters` are no object")
    for name, one in (declared or {}).items():
        if not isinstance(one, dict):
            raise ArmError(f"the parameter {name} is declared by no object")
        yield name, one


def _names(known: Mapping[str, tuple[str, Any]]) -> list[str]:
    return [name for name, _ in known.values()]


def _read(name: str, kind: str, text: str) -> Any:
    if kind in ("string", "securestring", ""):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ArmError(f"the parameter {name} is of type {kind}, and what is given is none; write it as JSON") from None


def _checked(name: str, kind: str, value: Any, allowed: object) -> Any:
    wanted = _TYPES.get(kind)
    if wanted is not None and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
        raise ArmError(f"the parameter {name} is of type {kind}, and what is given is none")
    if isinstance(allowed, list) and value not in allowed:
        raise ArmError(f"what is given for the parameter {name} is not among its allowedValues")
    return value


def _texts(values: Iterable[Any]) -> list[str]:
    found: list[str] = []
    left: list[Any] = list(values)
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str) and len(one) >= 4:
            found.append(one)
    return found


def leaked(parameters: Parameters, texts: Sequence[str]) -> bool:
    """Tell whether a secure parameter's text stands in one of the texts."""
    return any(secret in text for secret in parameters.secrets for text in texts)

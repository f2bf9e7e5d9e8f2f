"""Manifests of the machines and extensions of a template; protected settings apart, as Secrets."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubectl_vmext.arm.errors import ArmError
from kubectl_vmext.arm.parameters import Parameters, leaked
from kubectl_vmext.arm.resources import Extension, Found, Machine
from vmext_operator.api import API_VERSION

SECRET_KEY = "settings"  # noqa: S105 -- the name of a key
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?")
_FIELDS = {
    "autoUpgradeMinorVersion": bool,
    "enableAutomaticUpgrade": bool,
    "suppressFailures": bool,
    "forceUpdateTag": str,
}


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a template: objects to apply, and Secrets, whose values nobody prints unasked."""

    objects: tuple[dict[str, Any], ...]
    secrets: tuple[dict[str, Any], ...]


def make(found: Found, parameters: Parameters, catalog: frozenset[str] | None) -> Made:
    """Return the manifests; what can't be carried over goes to what was found.

    Args:
        found: machines and extensions.
        parameters: for telling where a secret would stand in the open.
        catalog: the handlers that the catalog has, as it writes them; None where it was not asked.
    """
    objects: dict[tuple[str, str], dict[str, Any]] = {}
    secrets = []
    for machine in found.machines:
        _add(objects, found, f"machine {machine.name}", lambda one=machine: _machine(one, found))
    for extension in found.extensions:
        what = f"extension {extension.vm}/{extension.name}"
        made = _add(objects, found, what, lambda one=extension: _extension(one, found, parameters, catalog))
        hidden = extension.properties.get("protectedSettings")
        if made is not None and hidden:
            secrets.append(_secret(made, hidden))
    return Made(tuple(objects.values()), tuple(secrets))


def _add(objects: dict[tuple[str, str], dict[str, Any]], found: Found, what: str, build: Any) -> dict[str, Any] | None:
    try:
        made: dict[str, Any] = build()
    except ArmError as error:
        found.lost.append(f"{what}: {error}")
        return None
    key = (made["kind"], made["metadata"]["name"])
    if key in objects:
        found.lost.append(f"{what}: another one comes to be {key[1]} too")
        return None
    objects[key] = made
    return made


def machine_name(name: str) -> str:
    """Return a machine's name as Kubernetes takes it. Raises ArmError."""
    lowered = name.lower().replace("_", "-")
    if len(lowered) > 63 or not _LABEL.fullmatch(lowered):
        raise ArmError(f"{name[:80]} can't be a name here: letters, digits and - only, 63 at most")
    return lowered


def extension_name(vm: str, name: str) -> str:
    """Return an extension's name: a machine's in Azure, a namespace's here. Raises ArmError."""
    made = f"{machine_name(vm)}-{name.lower().replace('_', '-').replace('.', '-')}"
    if len(made) > 80 or not _LABEL.fullmatch(made):
        raise ArmError(f"{made[:100]} can't be a name here: letters, digits and - only, 80 at most")
    return made


def _machine(machine: Machine, found: Found) -> dict[str, Any]:
    name = machine_name(machine.name)
    if name != machine.name:
        found.notes.append(f"machine {machine.name} is called {name} here")
    spec = {} if machine.location is None else {"location": _location(machine.location)}
    metadata: dict[str, Any] = {"name": name}
    labels = {key: value for key, value in machine.tags.items() if _is_label(key, value)}
    if labels:
        metadata["labels"] = labels
    for key in machine.tags.keys() - labels.keys():
        found.notes.append(f"machine {machine.name}: its tag {key[:80]} can't be a label, and is left out")
    return {"apiVersion": API_VERSION, "kind": "VirtualMachine", "metadata": metadata, "spec": spec}


def _is_label(key: str, value: str) -> bool:
    return all(len(word) <= 63 and _WORD.fullmatch(word) for word in (key, value or "empty"))


def _location(location: str) -> str:
    """Return a location as Azure itself keeps it: West Europe is westeurope."""
    short = location.lower().replace(" ", "")
    if len(short) > 63 or not _LABEL.fullmatch(short):
        raise ArmError(f"{location[:80]} is no location")
    return short


def _extension(
    extension: Extension, found: Found, parameters: Parameters, catalog: frozenset[str] | None
) -> dict[str, Any]:
    given, what = extension.properties, f"extension {extension.vm}/{extension.name}"
    publisher, type_ = _required(given, "publisher"), _required(given, "type")
    publisher, type_ = _offered(publisher, type_, catalog, found, what)
    spec: dict[str, Any] = {
        "vmName": machine_name(extension.vm),
        "publisher": publisher,
        "type": type_,
        "typeHandlerVersion": _required(given, "typeHandlerVersion"),
    }
    for name, kind in _FIELDS.items():
        if isinstance(given.get(name), kind):
            spec[name] = given[name]
    settings = given.get("settings")
    if isinstance(settings, dict):
        spec["settings"] = settings
        if leaked(parameters, [json.dumps(settings, ensure_ascii=False)]):
            found.notes.append(f"{what}: a secure parameter stands in its public settings, for all to read")
    elif settings is not None:
        raise ArmError("its settings are no object")
    name = extension_name(extension.vm, extension.name)
    hidden = given.get("protectedSettings")
    if hidden:
        if not isinstance(hidden, dict):
            raise ArmError("its protectedSettings are no object")
        spec["protectedSettings"] = {"secretRef": {"name": f"{name}-protected", "key": SECRET_KEY}}
    if given.get("protectedSettingsFromKeyVault"):
        found.lost.append(f"{what}: its protected settings are in a key vault; put them into a Secret")
    if extension.depends_on:
        spec["dependsOn"] = [extension_name(extension.vm, one) for one in extension.depends_on]
    if extension.tags:
        spec["tags"] = dict(extension.tags)
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachineExtension",
        "metadata": {"name": name},
        "spec": spec,
    }


def _required(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise ArmError(f"it says no {name}")
    return value


def _offered(publisher: str, type_: str, catalog: frozenset[str] | None, found: Found, what: str) -> tuple[str, str]:
    """Return publisher and type as the catalog has them: Azure's own where it has, else ours of the same type."""
    if catalog is None:
        return publisher, type_
    known = {handler.lower(): handler for handler in catalog}
    asked = f"{publisher}.{type_}"
    if asked.lower() in known:
        return publisher, type_
    same = sorted(handler for key, handler in known.items() if key.rpartition(".")[2] == type_.lower())
    if len(same) == 1:
        found.notes.append(f"{what}: the catalog has no {asked}; {same[0]} is taken instead")
        own, _, kind = same[0].rpartition(".")
        return own, kind
    found.notes.append(f"{what}: the catalog has no {asked}; add it, or it stays UnknownImage")
    return publisher, type_


def _secret(owner: Mapping[str, Any], hidden: Mapping[str, Any]) -> dict[str, Any]:
    reference = owner["spec"]["protectedSettings"]["secretRef"]
    data = base64.b64encode(json.dumps(hidden).encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": reference["name"]},
        "type": "Opaque",
        "data": {reference["key"]: data},
    }


def handlers(entries: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the handlers of catalog entries, ``publisher.type``."""
    return frozenset(f"{one['spec']['publisher']}.{one['spec']['type']}" for one in entries)

"""Machines and extensions out of a template's resources: loops unrolled, names and dependencies resolved."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_vmext.arm import evaluate
from kubectl_vmext.arm.errors import ArmError
from kubectl_vmext.arm.evaluate import Scope

MACHINES = "microsoft.compute/virtualmachines"
EXTENSIONS = "microsoft.compute/virtualmachines/extensions"
_SETS = "microsoft.compute/virtualmachinescalesets"
_NESTED = "microsoft.resources/deployments"
_MAX_COPIES = 800
_IN_ID = re.compile(r"microsoft\.compute/virtualmachines/([^/]+)/extensions/([^/]+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine of a template."""

    name: str
    location: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension of a template.

    Attributes:
        vm: the machine's name as the template has it.
        name: its own, the last part.
        properties: evaluated; protected settings among them.
        depends_on: names of extensions on the same machine.
        tags: as declared.
    """

    vm: str
    name: str
    properties: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """What a template holds.

    Attributes:
        lost: what should have been carried over and could not, in words.
        notes: what one should know besides.
        others: resources that are not vmext's to make, counted by type.
    """

    machines: list[Machine] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    others: collections.Counter[str] = field(default_factory=collections.Counter)


@dataclass(frozen=True, slots=True)
class _Draft:
    extension: Extension
    waits_for: tuple[str, ...]
    labels: frozenset[str]


def find(template: Mapping[str, Any], scope: Scope) -> Found:
    """Return a template's machines and extensions. Raises ArmError where it is no template."""
    raw = template.get("resources")
    if not isinstance(raw, list | dict):
        raise ArmError("a template has `resources`, and this has none")
    found = Found()
    drafts: list[_Draft] = []
    entries = [("", one) for one in raw] if isinstance(raw, list) else list(raw.items())
    for symbol, resource in entries:
        if isinstance(resource, dict):
            drafts += _taken(resource, scope, found, symbol=symbol)
        else:
            found.lost.append("a resource that is no object")
    found.extensions += [_tied(draft, drafts, found) for draft in drafts]
    return found


def _taken(resource: Mapping[str, Any], scope: Scope, found: Found, *, symbol: str = "", vm: str = "") -> list[_Draft]:
    """Return the extensions of a resource and of those nested in it; machines go to what is found."""
    kind = str(resource.get("type", "")).lower()
    if vm and "/" not in kind:
        kind = f"{MACHINES}/{kind}"
    if resource.get("existing") is True:
        return []
    if kind not in (MACHINES, EXTENSIONS):
        _leave(resource, kind, found)
        return []
    what = f"{'machine' if kind == MACHINES else 'extension'} {_label(resource.get('name'))}"
    drafts: list[_Draft] = []
    try:
        for turn, loop in _turns(resource, scope, nested=bool(vm)):
            if evaluate.value(resource.get("condition", True), turn) is not True:
                continue
            labels = frozenset({symbol.lower(), loop} - {""})
            if kind == EXTENSIONS:
                drafts.append(_extension(resource, turn, vm, labels, found))
            else:
                drafts += _machine(resource, turn, found)
    except ArmError as error:
        found.lost.append(f"{what}: {error}")
    return drafts


def _turns(resource: Mapping[str, Any], scope: Scope, *, nested: bool) -> Iterator[tuple[Scope, str]]:
    loop = resource.get("copy")
    if loop is None:
        yield scope, ""
        return
    if nested or not isinstance(loop, dict):
        raise ArmError("a copy loop within another resource; write it beside that one")
    name = evaluate.text(loop.get("name"), scope, "the name of its copy loop")
    count = evaluate.value(loop.get("count"), scope)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MAX_COPIES:
        raise ArmError(f"the count of its copy loop is no number from 0 to {_MAX_COPIES}")
    for index in range(count):
        yield scope.within(name, index), name.lower()


def _machine(resource: Mapping[str, Any], scope: Scope, found: Found) -> list[_Draft]:
    name = evaluate.text(resource.get("name"), scope, "its name")
    location = None
    if "location" in resource:
        try:
            location = evaluate.text(resource["location"], scope, "its location")
        except ArmError as error:
            found.notes.append(f"machine {name}: its location is left out: {error}")
    found.machines.append(Machine(name, location, _tags(resource, scope, found, f"machine {name}")))
    nested = resource.get("resources")
    if not isinstance(nested, list):
        return []
    return [draft for one in nested if isinstance(one, dict) for draft in _taken(one, scope, found, vm=name)]


def _extension(resource: Mapping[str, Any], scope: Scope, vm: str, labels: frozenset[str], found: Found) -> _Draft:
    full = evaluate.text(resource.get("name"), scope, "its name")
    machine, slash, name = full.rpartition("/")
    if not slash and not vm:
        # A parent by its symbol, as Bicep writes it, is no part of what a template says.
        raise ArmError(f"its name {full[:80]} does not say of which machine: VM/NAME")
    properties = evaluate.value(resource.get("properties", {}), scope)
    if not isinstance(properties, dict):
        raise ArmError("its properties are no object")
    what = f"extension {full}"
    extension = Extension(machine or vm, name, properties, (), _tags(resource, scope, found, what))
    return _Draft(extension, _waits(resource, scope, found, what), labels)


def _waits(resource: Mapping[str, Any], scope: Scope, found: Found, what: str) -> tuple[str, ...]:
    raw = resource.get("dependsOn")
    texts = []
    for one in raw if isinstance(raw, list) else ():
        try:
            texts.append(evaluate.text(one, scope, "what it depends on"))
        except ArmError as error:
            # A network interface of a name that only Azure makes is nobody's loss.
            if "extensions" in str(one).lower():
                found.lost.append(f"{what}: dependsOn: {error}")
    return tuple(texts)


def _tied(draft: _Draft, drafts: list[_Draft], found: Found) -> Extension:
    """Return an extension with those that it depends on; machines, networks and the like are dropped silently."""
    own = draft.extension
    names: dict[str, None] = {}
    for text in draft.waits_for:
        for other in drafts:
            if other is draft or not _is_meant(text, own, other):
                continue
            if other.extension.vm.lower() == own.vm.lower():
                names[other.extension.name] = None
            elif text.lower() not in other.labels:
                found.lost.append(
                    f"extension {own.vm}/{own.name}: it depends on {other.extension.vm}/{other.extension.name}, "
                    "which is on another machine"
                )
    return Extension(own.vm, own.name, own.properties, tuple(names), own.tags)


def _is_meant(text: str, own: Extension, other: _Draft) -> bool:
    lowered, vm, name = text.lower(), other.extension.vm.lower(), other.extension.name.lower()
    if lowered in other.labels:
        return True
    match = _IN_ID.search(text)
    if match is not None:
        return (match[1].lower(), match[2].lower()) == (vm, name)
    return lowered == f"{vm}/{name}" or (lowered == name and vm == own.vm.lower())


def _tags(resource: Mapping[str, Any], scope: Scope, found: Found, what: str) -> dict[str, str]:
    try:
        tags = evaluate.value(resource.get("tags") or {}, scope)
    except ArmError as error:
        found.notes.append(f"{what}: its tags are left out: {error}")
        return {}
    return {key: one for key, one in tags.items() if isinstance(one, str)} if isinstance(tags, dict) else {}


def _leave(resource: Mapping[str, Any], kind: str, found: Found) -> None:
    if kind == _NESTED:
        found.lost.append(
            f"deployment {_label(resource.get('name'))}: a template within the template; convert it alone"
        )
    elif kind.startswith(_SETS):
        found.lost.append(f"scale set {_label(resource.get('name'))}: vmext has machines, each by its name")
    else:
        found.others[str(resource.get("type", "(no type)"))[:100]] += 1


def _label(name: object) -> str:
    return str(name)[:80] if isinstance(name, str) else "without a name"

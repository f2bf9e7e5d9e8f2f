"""What would change on which machine if some files were applied: the compile itself, asked without writing anything.

Objects come as the API server gives them, and as users write them. What is in no file stays as it is: applying files
takes nothing away.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vmext_operator.api import extension_image, goal_state, virtual_machine, virtual_machine_extension
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import Entry, EntryState, GoalState
from vmext_operator.api.meta import Key
from vmext_operator.api.protected import Sealed
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import goal_compile, protected, settings_schema, verdict
from vmext_operator.core.declared import Declared
from vmext_operator.core.reasons import Reason

#: Stands for what only the operator can encrypt: another one than any that is there.
_UNSEALED = "planned"


class Action(enum.Enum):
    """What would become of an extension on its machine."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"
    HOLD = "hold"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Change:
    """What would become of one extension.

    Attributes:
        machine: where.
        extension: its name.
        handler: ``publisher.type``.
        action: what.
        before: the version that the machine is told to have now, empty for none.
        after: the version that it would be told to have, empty for none.
        runs: whether something of it would run on the machine.
        why: each reason for that in words; for HOLD, what it would wait for or what is wrong.
    """

    machine: Key
    extension: str
    handler: str
    action: Action
    before: str
    after: str
    runs: bool
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class World:
    """All objects that decisions are made from, as plain objects by their keys."""

    machines: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    extensions: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    images: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    goals: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)


def plan(live: World, files: Iterable[Mapping[str, Any]], *, namespace: str, now: datetime) -> tuple[Change, ...]:
    """Return what applying objects would change, by machine and extension. Raises ParseError.

    Args:
        live: what the API server has.
        files: objects as users write them; those of other kinds than ours are left out.
        namespace: of those that name none.
        now: when.
    """
    machines, extensions, images = dict(live.machines), dict(live.extensions), dict(live.images)
    known: Mapping[str, dict[Key, Mapping[str, Any]]] = {
        virtual_machine.KIND: machines,
        virtual_machine_extension.KIND: extensions,
        extension_image.KIND: images,
    }
    for obj in files:
        kind = str(obj.get("kind"))
        if kind in known:
            metadata = obj.get("metadata") or {}
            scope = "" if kind == extension_image.KIND else str(metadata.get("namespace") or namespace)
            key = Key(scope, str(metadata.get("name") or ""))
            known[kind][key] = _applied(obj, known[kind].get(key), key, now)

    parsed = [virtual_machine_extension.parse(obj) for obj in extensions.values()]
    catalog: dict[str, list[ExtensionImage]] = {}
    for obj in images.values():
        image = extension_image.parse(obj)
        catalog.setdefault(image.handler_key, []).append(image)
    changes: list[Change] = []
    for key in sorted({*machines, *(one.vm_key for one in parsed)}):
        own = [one for one in parsed if one.vm_key == key]
        if key not in machines:
            changes += [_held(one, None, f"there is no VirtualMachine {key}") for one in own]
            continue
        machine = virtual_machine.parse(machines[key])
        goal = live.goals.get(Key(key.namespace, goal_state.name_of(key.name, machine.anchor_uid)))
        elsewhere = {one.meta.key.name: one.vm_name for one in parsed if one.vm_key != key and _is_beside(one, key)}
        found = _Machine(machine, None if goal is None else goal_state.parse(goal), own, elsewhere)
        changes += _of_machine(found, catalog, live, now)
    return tuple(changes)


@dataclass(frozen=True, slots=True)
class _Machine:
    machine: VirtualMachine
    goal_state: GoalState | None
    extensions: Sequence[VirtualMachineExtension]
    elsewhere: Mapping[str, str]


def _is_beside(extension: VirtualMachineExtension, machine: Key) -> bool:
    return extension.meta.key.namespace == machine.namespace


def _applied(obj: Mapping[str, Any], live: Mapping[str, Any] | None, key: Key, now: datetime) -> Mapping[str, Any]:
    """Return an object as it would be in the API server."""
    spec = dict(obj.get("spec") or {})
    if live is None:
        made = {"name": key.name, "namespace": key.namespace, "uid": f"planned-{key}", "resourceVersion": "0"}
        return {**obj, "metadata": {**made, "generation": 1, "creationTimestamp": now.isoformat()}, "spec": spec}
    before: Mapping[str, Any] = live.get("spec") or {}
    if all(name in before and before[name] == value for name, value in spec.items()):
        return live
    metadata = {**live["metadata"], "generation": int(live["metadata"].get("generation") or 0) + 1}
    return {**live, "metadata": metadata, "spec": {**before, **spec}}


def _of_machine(
    found: _Machine, catalog: Mapping[str, Sequence[ExtensionImage]], live: World, now: datetime
) -> list[Change]:
    last = found.goal_state.goal if found.goal_state is not None else None
    declared = Declared(
        machine=found.machine,
        extensions=found.extensions,
        catalog=catalog,
        last=last,
        report=found.goal_state.report if found.goal_state is not None else None,
        gone=frozenset(),
        now=now,
        credential=last.credential if last is not None else None,
        elsewhere=found.elsewhere,
    )
    sealed = {one.meta.uid: _sealed(one, declared, live) for one in found.extensions if one.protected is not None}
    compiled = goal_compile.compile_goal(replace(declared, protected=sealed, refused=_refused(declared)))
    changes = []
    for extension in sorted(found.extensions, key=lambda one: one.meta.key.name):
        before, held = declared.before(extension), compiled.held.get(extension.meta.uid)
        if held is not None:
            changes.append(_held(extension, before, f"{held.reason.value}: {held.message}"))
        else:
            changes.append(_change(extension, before, compiled.goal.entry(extension.meta.key.name)))
    return changes


def _refused(declared: Declared) -> dict[str, verdict.Held]:
    """Return by UID whose settings do not fit their catalog entry's schema; what is there already is not asked."""
    versions, found = goal_compile.versions(declared), {}
    for extension in declared.extensions:
        handler, before = versions.get(extension.meta.uid), declared.before(extension)
        offered = declared.catalog.get(extension.handler_key, ())
        image = next((one for one in offered if handler and one.version.text == handler.version), None)
        if image is None or not image.settings_schema:
            continue
        if before is not None and (before.settings, before.handler.version) == (extension.settings, image.version.text):
            continue
        try:
            schema = settings_schema.parse(image.settings_schema)
            faults = list(settings_schema.faults(schema, json.loads(extension.settings), "settings", is_secret=False))
        except settings_schema.SchemaError as error:
            found[extension.meta.uid] = verdict.stalls(Reason.INVALID_SCHEMA, str(error))
            continue
        if faults:
            found[extension.meta.uid] = verdict.stalls(Reason.INVALID_SETTINGS, "; ".join(faults))
    return found


def _sealed(extension: VirtualMachineExtension, declared: Declared, live: World) -> Sealed | verdict.Held:
    """Return what stands for protected settings: what is there where they are declared as before, else another."""
    pinned, before = declared.machine.credential, declared.before(extension)
    if pinned is None or not pinned.certificate:
        return protected.not_enrolled(extension.vm_name)
    assert extension.protected is not None, "nobody asks otherwise"
    sealed = before.sealed if before is not None else None
    if not extension.protected.secret:
        return protected.of_encrypted(extension.protected, pinned, extension.vm_name, sealed)
    known = live.extensions.get(extension.meta.key)
    as_before = known is not None and virtual_machine_extension.parse(known).protected == extension.protected
    return sealed if as_before and sealed is not None else Sealed("", pinned.thumbprint, _UNSEALED)


def _held(extension: VirtualMachineExtension, before: Entry | None, why: str) -> Change:
    version = before.handler.version if before is not None else ""
    return _made(extension, Action.HOLD, version, version, runs=False, why=(why,))


def _change(extension: VirtualMachineExtension, before: Entry | None, after: Entry | None) -> Change:
    if after is None or after.uid != extension.meta.uid:
        return _made(extension, Action.NOTHING, "", "", runs=False, why=())
    old, new = before.handler.version if before is not None else "", after.handler.version
    if after.state is not EntryState.ENABLED:
        action = Action.NOTHING if before == after else Action.REMOVE
        runs = after.state is EntryState.UNINSTALL and action is Action.REMOVE
        return _made(extension, action, old, "", runs=runs, why=("it is being deleted",))
    if before is None:
        return _made(extension, Action.ADD, "", new, runs=True, why=("it is new on the machine",))
    why = []
    if old != new:
        why.append(f"version {old} is replaced by {new}")
    if before.settings != after.settings:
        why.append(f"settings change: {', '.join(_differences(before.settings, after.settings))}")
    if before.force_update_tag != after.force_update_tag:
        why.append("forceUpdateTag changes")
    if (before.sealed.content if before.sealed else "") != (after.sealed.content if after.sealed else ""):
        why.append("protected settings change, or can't be compared from here")
    if before.sequence_number != after.sequence_number and not why:
        why.append("the machine has taken higher sequence numbers")
    if before == after:
        return _made(extension, Action.NOTHING, old, new, runs=False, why=())
    quiet = () if why else ("nothing of it runs: only what it waits for, its limits or its address change",)
    return _made(extension, Action.CHANGE, old, new, runs=bool(why), why=tuple(why) or quiet)


def _differences(before: str, after: str) -> list[str]:
    """Return the names of the settings that differ: never their values."""
    old, new = json.loads(before), json.loads(after)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name) or (name in old) != (name in new))


def _made(
    extension: VirtualMachineExtension, action: Action, before: str, after: str, *, runs: bool, why: tuple[str, ...]
) -> Change:
    handler = f"{extension.publisher}.{extension.type}"
    return Change(extension.vm_key, extension.meta.key.name, handler, action, before, after, runs, why)

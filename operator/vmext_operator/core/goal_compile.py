"""Compile a machine's goal state: a pure function of what is declared, the catalog, the last goal and the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vmext_operator.api.goal_state import Entry, EntryState, Goal, Handler, Outcome
from vmext_operator.api.protected import Sealed
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import conflict, dependencies, verdict
from vmext_operator.core.choices import Choices
from vmext_operator.core.declared import Declared
from vmext_operator.core.reasons import Reason
from vmext_operator.core.sequence_numbers import Numbers

MAX_SETTINGS_BYTES = 256 * 1024
MAX_GOAL_BYTES = 1024 * 1024
MAX_ENTRIES = 256
DEFAULT_ENABLE_TIMEOUT_S = 20 * 60
#: Extensions that run what a user wrote may take long.
LONG_ENABLE_TIMEOUT_S = 90 * 60
LONG_RUNNING_TYPES = frozenset({"customscript", "linuxchefclient", "chefclient"})


@dataclass(frozen=True, slots=True)
class Compiled:
    """The goal, and by UID why an extension is not in it."""

    goal: Goal
    held: Mapping[str, verdict.Held]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a machine should have of an extension."""

    handler: Handler
    sealed: Sealed | None


def compile_goal(declared: Declared) -> Compiled:
    """Return the goal state that the machine should have now.

    The same input gives the same goal, in whatever order the extensions come; compiling again from its own result
    changes nothing. While the machine, or the operator, is paused, all that its goal says of extensions stays.
    """
    compiled = _compile(declared)
    if not declared.machine.paused and not declared.paused:
        return compiled
    last = declared.last
    goal = compiled.goal
    if last is None:
        last = replace(goal, model_hash="", last_sequence_number=0, extensions=())
    who = f"{declared.machine.meta.key.name} is" if declared.machine.paused else "the operator is"
    waits = verdict.waits(Reason.PAUSED, f"{who} paused; what is declared is carried out when that ends")
    changed = {
        extension.meta.uid: waits
        for extension in declared.extensions
        if last.entry(extension.meta.key.name) != goal.entry(extension.meta.key.name)
    }
    kept = replace(
        last,
        vm_uid=goal.vm_uid,
        anchor_uid=goal.anchor_uid,
        credential=goal.credential,
        thumbprint=goal.thumbprint,
        heartbeat_seconds=goal.heartbeat_seconds,
    )
    return Compiled(kept, {**changed, **compiled.held})


def _compile(declared: Declared) -> Compiled:
    last, pinned = declared.last, declared.machine.credential
    choices, settled, model_hash = _settle(declared)
    numbers = Numbers(declared)

    held, wanted = dict(settled.held), {}
    for extension in declared.extensions:
        uid = extension.meta.uid
        if declared.leaves_since(extension) is None and uid not in held:
            found = _wanted(extension, declared, settled.follows.get(uid) or choices.of(extension))
            if isinstance(found, verdict.Held):
                held[uid] = found
            else:
                wanted[uid] = found
    held = dependencies.hold(declared, held, lambda one: _begins(one, wanted.get(one.meta.uid), declared))

    entries: dict[str, Entry] = {}
    for entry in last.extensions if last is not None else ():
        kept = _left_over(entry, declared)
        if kept is not None:
            entries[entry.name] = numbers.answer(kept)
            numbers.keep(entries[entry.name])

    fresh: set[str] = set()
    size = len(json.dumps([entry.render() for entry in entries.values()]))
    # The oldest first: whoever came last finds the goal full.
    for extension in sorted(declared.extensions, key=lambda extension: extension.meta.age_order):
        uid, name = extension.meta.uid, extension.meta.key.name
        if declared.leaves_since(extension) is not None:
            leaving = _leaving(extension, declared, numbers)
            if leaving is not None:
                entries[name] = numbers.answer(leaving)
                numbers.keep(entries[name])
            continue
        if uid in held:
            continue
        entry = _entry(extension, wanted[uid], declared, numbers)
        entry_size = len(json.dumps(entry.render()))
        if size + entry_size > MAX_GOAL_BYTES or (name not in entries and len(entries) >= MAX_ENTRIES):
            held[uid] = verdict.stalls(
                Reason.GOAL_STATE_FULL,
                f"with this extension the goal state of {extension.vm_name} would have more than {MAX_GOAL_BYTES} "
                f"bytes or {MAX_ENTRIES} extensions; make its settings smaller, or move extensions to another machine",
            )
            continue
        numbers.keep(entry)
        size += entry_size
        entries[name] = entry
        fresh.add(name)

    # What is held back now but in force already stays as it was: nothing is ever taken away for being held back.
    for extension in declared.extensions:
        before = declared.before(extension)
        if extension.meta.uid in held and before is not None and before.name not in entries:
            entries[before.name] = numbers.answer(before)
            numbers.keep(entries[before.name])

    entries = dependencies.without_circles(entries, fresh)
    return Compiled(
        goal=Goal(
            vm_name=declared.machine.meta.key.name,
            vm_uid=declared.machine.meta.uid,
            anchor_uid=declared.machine.anchor_uid,
            model_hash=model_hash,
            last_sequence_number=numbers.highest,
            extensions=tuple(entries[name] for name in sorted(entries)),
            credential=declared.credential,
            thumbprint=pinned.thumbprint if pinned is not None else "",
            heartbeat_seconds=declared.machine.heartbeat_s,
        ),
        held=held,
    )


def versions(declared: Declared) -> Mapping[str, Handler]:
    """Return by UID the version that each extension is to have that is not being deleted, where there is one."""
    choices, settled, _ = _settle(declared)
    living = [one for one in declared.extensions if one.meta.deleted is None and one.meta.uid not in settled.held]
    found = {one.meta.uid: settled.follows.get(one.meta.uid) or choices.handler(one) for one in living}
    return {uid: handler for uid, handler in found.items() if handler is not None}


def _settle(declared: Declared) -> tuple[Choices, conflict.Settled, str]:
    """Return the versions, who has which handler, and the hash of the model that they were chosen for."""
    last, model_hash = declared.last, _model_hash(declared.machine, declared.extensions)
    choices = Choices(declared, choose_anew=last is None or last.model_hash != model_hash)
    settled = conflict.settle(declared.extensions, declared.in_force(), choices.handler, choices.admits)
    return choices, settled, model_hash


def _wanted(
    extension: VirtualMachineExtension, declared: Declared, chosen: Handler | verdict.Held
) -> _Wanted | verdict.Held:
    """Return what the machine should have of an extension, or why it can have nothing."""
    size = len(extension.settings.encode())
    if size > MAX_SETTINGS_BYTES:
        return verdict.stalls(
            Reason.INVALID_SETTINGS,
            f"settings are {size} bytes, at most {MAX_SETTINGS_BYTES} are taken; "
            "have the extension download what is large",
        )
    refused = declared.refused.get(extension.meta.uid)
    if refused is not None:
        return refused
    sealed = declared.protected.get(extension.meta.uid)
    if isinstance(sealed, verdict.Held):
        return sealed
    if isinstance(chosen, verdict.Held):
        return chosen
    return _Wanted(chosen, sealed)


def _model_hash(machine: VirtualMachine, extensions: Sequence[VirtualMachineExtension]) -> str:
    """Return a hash that changes when anything is declared differently: versions are chosen anew then (design, 3)."""
    metas = [machine.meta, *(extension.meta for extension in extensions)]
    parts = sorted(f"{meta.uid}:{meta.generation}" for meta in metas)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _left_over(entry: Entry, declared: Declared) -> Entry | None:
    """Return what becomes of an entry of the last goal whose extension is not declared any more.

    Nothing is uninstalled because it is missing: what was enabled is orphaned, and only once the API server itself has
    said that the extension is gone. An entry ends when the machine has said that it is done with it.
    """
    if entry.uid in {extension.meta.uid for extension in declared.extensions}:
        return None  # decided below, with its extension
    if entry.uid not in declared.gone:
        return entry
    answer = declared.report.answers.get(entry.name) if declared.report is not None else None
    if answer is not None and answer.outcome is Outcome.REMOVED and answer.answers(entry):
        return None
    if declared.report is None and entry.state is not EntryState.UNINSTALL:
        return None  # no machine has ever read it
    return replace(entry, state=EntryState.ORPHAN) if entry.state is EntryState.ENABLED else entry


def _leaving(extension: VirtualMachineExtension, declared: Declared, numbers: Numbers) -> Entry | None:
    """Return the entry of an extension that is to leave its machine, None where the machine never had it."""
    entry, lost, state = declared.before(extension), declared.lost(extension), declared.leaves_as(extension)
    if lost is not None:
        entry = replace(_entry(extension, _Wanted(lost, None), declared, numbers), settings="{}", depends_on=())
    return replace(entry, state=state) if entry is not None and state is not None else None


def _entry(extension: VirtualMachineExtension, wanted: _Wanted, declared: Declared, numbers: Numbers) -> Entry:
    """Return the entry of an extension that the machine should have."""
    before = declared.before(extension)
    runs_again = before is None or _is_another(extension, wanted, before) or numbers.is_behind(before)
    timeout = extension.timeout_seconds
    if timeout is None:
        offered = declared.catalog.get(extension.handler_key, ())
        image = next((one for one in offered if one.version.text == wanted.handler.version), None)
        timeout = image.enable_timeout_seconds if image is not None else None
    if timeout is None:
        long_running = extension.type.lower() in LONG_RUNNING_TYPES
        timeout = LONG_ENABLE_TIMEOUT_S if long_running else DEFAULT_ENABLE_TIMEOUT_S
    return Entry(
        name=extension.meta.key.name,
        uid=extension.meta.uid,
        state=EntryState.ENABLED,
        sequence_number=numbers.next() if before is None or runs_again else before.sequence_number,
        force_update_tag=extension.force_update_tag,
        settings=extension.settings,
        timeout_seconds=timeout,
        handler=wanted.handler,
        sealed=wanted.sealed,
        depends_on=extension.depends_on,
        suppress_failures=extension.suppress_failures,
    )


def _begins(extension: VirtualMachineExtension, wanted: _Wanted | None, declared: Declared) -> bool:
    """Tell whether something of an extension would run that the machine has not been told to run yet.

    What it was told under a number that it refuses is no such thing: that gets a higher one, whatever it depends on.
    """
    before = declared.before(extension)
    return wanted is not None and (
        before is None or before.handler.version != wanted.handler.version or _is_another(extension, wanted, before)
    )


def _is_another(extension: VirtualMachineExtension, wanted: _Wanted, before: Entry) -> bool:
    """Tell whether an extension is to run with something else than the machine was told last."""
    return (
        before.settings != extension.settings
        or before.force_update_tag != extension.force_update_tag
        or _content(before.sealed) != _content(wanted.sealed)
    )


def _content(sealed: Sealed | None) -> str:
    """Return what tells protected contents apart: the same one, encrypted to another certificate, runs nothing."""
    return "" if sealed is None else sealed.content

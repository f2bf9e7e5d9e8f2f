"""Compile a machine's goal state: a pure function of what is declared, the catalog, the last goal and the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from vmext_operator.api.credential import NextToken
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import Entry, EntryState, Goal, Handler, Outcome, Report
from vmext_operator.api.protected import Sealed
from vmext_operator.api.version import Version
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import conflict, verdict, version_choice
from vmext_operator.core.reasons import Reason

MAX_SETTINGS_BYTES = 256 * 1024
MAX_GOAL_BYTES = 1024 * 1024
MAX_ENTRIES = 256
DEFAULT_ENABLE_TIMEOUT_S = 20 * 60
#: Extensions that run what a user wrote may take long.
LONG_ENABLE_TIMEOUT_S = 90 * 60
LONG_RUNNING_TYPES = frozenset({"customscript", "linuxchefclient", "chefclient"})
#: A catalog entry may come in the same commit as what asks for it, a little later.
CATALOG_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Declared:
    """All that the compile looks at.

    Attributes:
        machine: the VirtualMachine.
        extensions: its extensions, in any order.
        catalog: the catalog's entries by lower-case ``publisher.type``.
        last: the goal in force, None where there is none yet.
        report: what the machine reported, None where it never did.
        gone: UIDs that the last goal has and that the API server, asked for each by name, no longer has.
        now: for the deadlines of deletions.
        credential: the token that the machine is to use next, None for none.
        protected: by UID, an extension's protected settings encrypted for the machine, or why there are none.
    """

    machine: VirtualMachine
    extensions: Sequence[VirtualMachineExtension]
    catalog: Mapping[str, Sequence[ExtensionImage]]
    last: Goal | None
    report: Report | None
    gone: frozenset[str]
    now: datetime
    credential: NextToken | None = None
    protected: Mapping[str, Sealed | verdict.Held] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compiled:
    """The goal, and by UID why an extension is not in it."""

    goal: Goal
    held: Mapping[str, verdict.Held]


def compile_goal(declared: Declared) -> Compiled:
    """Return the goal state that the machine should have now.

    The same input gives the same goal, in whatever order the extensions come; compiling again from its own result
    changes nothing.
    """
    last = declared.last
    model_hash = _model_hash(declared.machine, declared.extensions)
    choose_anew = last is None or last.model_hash != model_hash
    choices = _Choices(declared, choose_anew=choose_anew)
    settled = conflict.settle(declared.extensions, last, choices.handler, choices.admits)
    held = dict(settled.held)
    numbers = _Numbers(declared)

    entries: dict[str, Entry] = {}
    for entry in last.extensions if last is not None else ():
        kept = _left_over(entry, declared)
        if kept is not None:
            entries[entry.name] = numbers.answer(kept)
            numbers.keep(entries[entry.name])

    size = len(json.dumps([entry.render() for entry in entries.values()]))
    # The oldest first: whoever came last finds the goal full.
    for extension in sorted(declared.extensions, key=lambda extension: extension.meta.age_order):
        uid, name = extension.meta.uid, extension.meta.key.name
        before = _before(extension, last)
        if extension.meta.deleted is not None:
            if before is not None:
                entries[name] = numbers.answer(_leaving(extension, before, declared.now))
                numbers.keep(entries[name])
            continue
        if uid in held:
            continue
        if len(extension.settings.encode()) > MAX_SETTINGS_BYTES:
            held[uid] = verdict.stalls(
                Reason.INVALID_SETTINGS,
                f"settings are {len(extension.settings.encode())} bytes, at most {MAX_SETTINGS_BYTES} are taken; "
                "have the extension download what is large",
            )
            continue
        sealed = declared.protected.get(uid)
        if isinstance(sealed, verdict.Held):
            held[uid] = sealed
            continue
        chosen = settled.follows.get(uid) or choices.of(extension)
        if isinstance(chosen, verdict.Held):
            held[uid] = chosen
            continue
        entry = replace(_entry(extension, chosen, declared.catalog, before, sealed, numbers), sealed=sealed)
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

    # What is held back now but in force already stays as it was: nothing is ever taken away for being held back.
    if last is not None:
        for extension in declared.extensions:
            before = _before(extension, last)
            if extension.meta.uid in held and before is not None and before.name not in entries:
                entries[before.name] = numbers.answer(before)
                numbers.keep(entries[before.name])

    return Compiled(
        goal=Goal(
            vm_uid=declared.machine.meta.uid,
            model_hash=model_hash,
            last_sequence_number=numbers.highest,
            extensions=tuple(entries[name] for name in sorted(entries)),
            credential=declared.credential,
        ),
        held=held,
    )


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


def _leaving(extension: VirtualMachineExtension, before: Entry, now: datetime) -> Entry:
    """Return the entry of an extension that is being deleted."""
    deleted = extension.meta.deleted
    assert deleted is not None
    late = now >= deleted + timedelta(seconds=extension.deletion_timeout_seconds)
    state = EntryState.ORPHAN if extension.orphan_on_delete or late else EntryState.UNINSTALL
    return replace(before, state=state)


def _before(extension: VirtualMachineExtension, last: Goal | None) -> Entry | None:
    """Return an extension's entry in the last goal: not that of one of the same name that is gone."""
    before = last.entry(extension.meta.key.name) if last is not None else None
    return before if before is not None and before.uid == extension.meta.uid else None


class _Choices:
    """Which version each extension would have by itself; found once for each."""

    def __init__(self, declared: Declared, *, choose_anew: bool) -> None:
        self._declared = declared
        self._choose_anew = choose_anew
        self._found: dict[str, Handler | verdict.Held] = {}

    def of(self, extension: VirtualMachineExtension) -> Handler | verdict.Held:
        """Return the version, or why there is none."""
        uid = extension.meta.uid
        if uid not in self._found:
            before = _before(extension, self._declared.last)
            if extension.meta.deleted is not None and before is not None:
                self._found[uid] = before.handler
            else:
                self._found[uid] = _handler(extension, self._declared, before, choose_anew=self._choose_anew)
        return self._found[uid]

    def handler(self, extension: VirtualMachineExtension) -> Handler | None:
        """Return the version, or None where there is none."""
        found = self.of(extension)
        return found if isinstance(found, Handler) else None

    def admits(self, extension: VirtualMachineExtension, version: Version) -> bool:
        """Tell whether an extension asks for that version among others."""
        return _request(extension, self._declared).admits(version)


def _request(extension: VirtualMachineExtension, declared: Declared) -> version_choice.Request:
    return version_choice.Request(
        extension.type_handler_version, extension.auto_upgrade_minor_version, declared.machine.location
    )


def _handler(
    extension: VirtualMachineExtension, declared: Declared, before: Entry | None, *, choose_anew: bool
) -> Handler | verdict.Held:
    """Return the version that the machine should have of this extension, or why there is none."""
    offered = declared.catalog.get(extension.handler_key, ())
    in_force = before.handler if before is not None else None
    request = _request(extension, declared)
    stays = in_force is not None and not choose_anew and not extension.enable_automatic_upgrade
    # A request that could not be met when the model changed is still to be met: the version before it does not answer.
    if stays and in_force is not None and request.admits(Version(in_force.version)):
        return version_choice.current(in_force, offered)
    chosen = version_choice.choose(request, offered, in_force)
    if chosen is not None:
        return chosen
    name = f"{extension.publisher}.{extension.type}"
    return verdict.stalls(
        Reason.UNKNOWN_IMAGE, version_choice.describe_lack(name, request, offered), after_s=CATALOG_PATIENCE_S
    )


def _entry(
    extension: VirtualMachineExtension,
    handler: Handler,
    catalog: Mapping[str, Sequence[ExtensionImage]],
    before: Entry | None,
    sealed: Sealed | None,
    numbers: _Numbers,
) -> Entry:
    """Return the entry of an extension that the machine should have."""
    runs_again = (
        before is None
        or before.settings != extension.settings
        or before.force_update_tag != extension.force_update_tag
        or _content(before.sealed) != _content(sealed)
        or numbers.is_behind(before)
    )
    timeout = extension.timeout_seconds
    if timeout is None:
        image = next(
            (one for one in catalog.get(extension.handler_key, ()) if one.version.text == handler.version), None
        )
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
        handler=handler,
    )


def _content(sealed: Sealed | None) -> str:
    """Return what tells protected contents apart: the same one, encrypted to another certificate, runs nothing."""
    return "" if sealed is None else sealed.content


class _Numbers:
    """The machine's counter of sequence numbers: what is made anew is always higher than all that went before."""

    def __init__(self, declared: Declared) -> None:
        seen = [0]
        if declared.last is not None:
            seen.append(declared.last.last_sequence_number)
        for extension in declared.extensions:
            number = extension.status.get("sequenceNumber")
            seen.append(number if isinstance(number, int) else 0)
        self._report = declared.report
        if declared.report is not None:
            seen.append(declared.report.highest_sequence_number)
            seen.extend(answer.sequence_number for answer in declared.report.answers.values())
        self.highest = max(seen)

    def is_behind(self, entry: Entry) -> bool:
        """Tell whether the machine refuses this very entry because it has taken a higher number already."""
        answer = self._report.answers.get(entry.name) if self._report is not None else None
        return answer is not None and answer.reason == Reason.SEQUENCE_BEHIND.value and answer.answers(entry)

    def answer(self, entry: Entry) -> Entry:
        """Return an entry with a higher number where the machine refuses the one that it has."""
        return replace(entry, sequence_number=self.next()) if self.is_behind(entry) else entry

    def next(self) -> int:
        """Return the number that comes next; it is not taken until an entry keeps it."""
        return self.highest + 1

    def keep(self, entry: Entry) -> None:
        """Take the number of an entry that has found its place in the goal."""
        self.highest = max(self.highest, entry.sequence_number)

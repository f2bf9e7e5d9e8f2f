"""GoalState: what one machine should do (spec, the operator's) and what came of it (status, the agent's)."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from vmext_operator.api import credential, extension_image, fields, meta, protected
from vmext_operator.api.meta import Key
from vmext_operator.errors import ParseError

PLURAL = "goalstates"
KIND = "GoalState"
#: An annotation of a GoalState: its enrolment is revoked, and nothing more is written to it. People and tools set it.
REVOKED = "vmext.dev/revoked"
#: How many hexadecimal digits of an anchor's UID are in a name: all of them are random, and nobody guesses so many.
_DIGITS = 12
#: That a machine can say it has taken: there is always a higher one, and every JSON parser keeps it as it is.
MAX_SEQUENCE_NUMBER = (1 << 53) - 1

E = TypeVar("E", bound=enum.Enum)
R = TypeVar("R")


class EntryState(enum.Enum):
    """What the machine should do with an extension."""

    ENABLED = "enabled"
    UNINSTALL = "uninstall"
    ORPHAN = "orphan"


class Outcome(enum.Enum):
    """How far the machine is with an extension."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    REMOVED = "Removed"


@dataclass(frozen=True, slots=True)
class Handler:
    """The code that carries an extension out, in one exact version."""

    name: str
    version: str
    package: extension_image.Package
    multi_config: bool = False
    installs_packages: bool = True
    limits: extension_image.Limits = extension_image.UNLIMITED

    def render(self) -> dict[str, Any]:
        """Return the handler as the API has it; what is not said means the usual."""
        return fields.without_none(
            {
                "name": self.name,
                "version": self.version,
                "package": self.package.render(),
                "multiConfig": True if self.multi_config else None,
                "installsPackages": None if self.installs_packages else False,
                "limits": self.limits.render() or None,
            }
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One extension of the goal."""

    name: str
    uid: str
    state: EntryState
    sequence_number: int
    force_update_tag: str | None
    settings: str
    timeout_seconds: int
    handler: Handler
    sealed: protected.Sealed | None = None
    depends_on: tuple[str, ...] = ()
    suppress_failures: bool = False

    def render(self) -> dict[str, Any]:
        """Return the entry as the API has it."""
        return fields.without_none(
            {
                "name": self.name,
                "uid": self.uid,
                "state": self.state.value,
                "sequenceNumber": self.sequence_number,
                "forceUpdateTag": self.force_update_tag,
                "settings": self.settings,
                "protectedSettings": None if self.sealed is None else self.sealed.ciphertext,
                "thumbprint": None if self.sealed is None else self.sealed.thumbprint,
                "protectedHash": None if self.sealed is None else self.sealed.content,
                "timeoutSeconds": self.timeout_seconds,
                "dependsOn": list(self.depends_on) or None,
                "suppressFailures": True if self.suppress_failures else None,
                "handler": self.handler.render(),
            }
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """The spec of a GoalState; entries are in order of their names.

    ``vm_name``, ``vm_uid`` and ``anchor_uid`` say which enrolment of which machine it is for.
    """

    vm_name: str
    vm_uid: str
    anchor_uid: str
    model_hash: str
    last_sequence_number: int
    extensions: tuple[Entry, ...]
    credential: credential.NextToken | None = None
    #: Of the certificate that the machine is known by, empty for none.
    thumbprint: str = ""
    heartbeat_seconds: int | None = None

    def entry(self, name: str) -> Entry | None:
        """Return the entry of that extension name, or None."""
        return next((entry for entry in self.extensions if entry.name == name), None)

    def render(self) -> dict[str, Any]:
        """Return the goal as the API has it."""
        return fields.without_none(
            {
                "vmName": self.vm_name,
                "vmUID": self.vm_uid,
                "anchorUID": self.anchor_uid,
                "modelHash": self.model_hash,
                "lastSequenceNumber": self.last_sequence_number,
                "heartbeatSeconds": self.heartbeat_seconds,
                "credential": None if self.credential is None else self.credential.render(),
                "thumbprint": self.thumbprint or None,
                "extensions": [entry.render() for entry in self.extensions],
            }
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the machine says of one entry; ``raw`` is the whole of it, for what only passes through."""

    uid: str
    state: EntryState
    sequence_number: int
    version: str
    outcome: Outcome
    operation: str | None
    reason: str | None
    message: str | None
    installed_version: str | None
    failed_version: str | None
    kept_by: str | None
    notes: tuple[str, ...]
    raw: Mapping[str, Any]

    def answers(self, entry: Entry) -> bool:
        """Tell whether this speaks of exactly that entry, not of one before it."""
        return (self.uid, self.state, self.sequence_number, self.version) == (
            entry.uid,
            entry.state,
            entry.sequence_number,
            entry.handler.version,
        )


@dataclass(frozen=True, slots=True)
class Undeclared:
    """What a machine says is on it and not in its goal: a handler, or one extension of a handler that takes several."""

    handler: str
    version: str
    extension: str = ""
    multi_config: bool = False

    def render(self) -> dict[str, Any]:
        """Return it as the API has it."""
        return fields.without_none(
            {
                "handler": self.handler,
                "version": self.version,
                "extension": self.extension or None,
                "multiConfig": True if self.multi_config else None,
            }
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """The machine, in one boot, that writes a status; both are empty where it does not say."""

    id: str = ""
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy of a machine says of itself; texts are empty where it does not say."""

    name: str
    hostname: str
    machine: str
    reason: str
    time: str


@dataclass(frozen=True, slots=True)
class Report:
    """The status of a GoalState: all that a machine says, and its copies of themselves."""

    agent_version: str | None
    guest: Mapping[str, Any]
    answers: Mapping[str, Answer]
    highest_sequence_number: int = 0
    request: credential.CertificateRequest | None = None
    held: credential.Held | None = None
    undeclared: tuple[Undeclared, ...] = ()
    holder: Holder = Holder()
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True, slots=True)
class GoalState:
    """A GoalState as it stands in the API server.

    Attributes:
        meta: of the object.
        goal: what is wanted.
        report: what the agent reported, None before it has.
        is_revoked: whether somebody marked it: the enrolment that it belongs to has ended.
    """

    meta: meta.Meta
    goal: Goal
    report: Report | None
    is_revoked: bool = False

    @property
    def vm_key(self) -> Key:
        """Return the key of the machine that it is for."""
        return Key(self.meta.key.namespace, self.goal.vm_name)


def name_of(vm_name: str, anchor_uid: str) -> str:
    """Return the name of a machine's GoalState for one enrolment.

    Who was enrolled before may still have a watch open, and the API server asks for its token no more. A watch of one
    name never gets an object of another, so that each enrolment has a GoalState of its own, by a name that nobody can
    guess (design, 10).
    """
    return f"{vm_name}-{anchor_uid.replace('-', '')[:_DIGITS]}"


def parse(obj: Mapping[str, Any]) -> GoalState:
    """Parse a GoalState. Raises ParseError for the spec; answers that can't be read count as not given."""
    spec = fields.field(obj, "object", "spec", dict)
    entries = fields.field(spec, "spec", "extensions", list)
    status = fields.optional(obj, "object", "status", dict)
    token = fields.optional(spec, "spec", "credential", dict)
    annotations = fields.optional(fields.field(obj, "object", "metadata", dict), "metadata", "annotations", dict) or {}
    return GoalState(
        meta=meta.parse(obj),
        goal=Goal(
            vm_name=fields.field(spec, "spec", "vmName", str),
            vm_uid=fields.field(spec, "spec", "vmUID", str),
            anchor_uid=fields.field(spec, "spec", "anchorUID", str),
            model_hash=fields.field(spec, "spec", "modelHash", str),
            last_sequence_number=fields.field(spec, "spec", "lastSequenceNumber", int),
            extensions=tuple(
                sorted(
                    (_entry(entry, f"spec.extensions[{index}]") for index, entry in enumerate(entries)),
                    key=lambda entry: entry.name,
                )
            ),
            credential=None if token is None else credential.parse_next_token(token, "spec.credential"),
            thumbprint=fields.optional(spec, "spec", "thumbprint", str) or "",
            heartbeat_seconds=fields.optional(spec, "spec", "heartbeatSeconds", int),
        ),
        report=None if not status else _report(status),
        is_revoked=REVOKED in annotations,
    )


def _entry(value: object, path: str) -> Entry:
    obj = fields.as_object(value, path)
    handler = fields.field(obj, path, "handler", dict)
    return Entry(
        name=fields.field(obj, path, "name", str),
        uid=fields.field(obj, path, "uid", str),
        state=_enum(EntryState, fields.field(obj, path, "state", str), f"{path}.state"),
        sequence_number=fields.field(obj, path, "sequenceNumber", int),
        force_update_tag=fields.optional(obj, path, "forceUpdateTag", str),
        settings=fields.field(obj, path, "settings", str),
        timeout_seconds=fields.field(obj, path, "timeoutSeconds", int),
        handler=Handler(
            name=fields.field(handler, f"{path}.handler", "name", str),
            version=fields.field(handler, f"{path}.handler", "version", str),
            package=extension_image.parse_package(
                fields.field(handler, f"{path}.handler", "package", dict), f"{path}.handler.package"
            ),
            multi_config=fields.optional(handler, f"{path}.handler", "multiConfig", bool) is True,
            installs_packages=fields.optional(handler, f"{path}.handler", "installsPackages", bool) is not False,
            limits=_limits(fields.optional(handler, f"{path}.handler", "limits", dict) or {}, f"{path}.handler.limits"),
        ),
        sealed=protected.parse_sealed(obj, path),
        depends_on=tuple(sorted(str(name) for name in fields.optional(obj, path, "dependsOn", list) or ())),
        suppress_failures=fields.optional(obj, path, "suppressFailures", bool) is True,
    )


def _limits(obj: Mapping[str, Any], path: str) -> extension_image.Limits:
    return extension_image.Limits(
        cpu_millicores=fields.optional(obj, path, "cpuMillicores", int),
        memory_bytes=fields.optional(obj, path, "memoryBytes", int),
    )


def _report(status: Mapping[str, Any]) -> Report:
    answers = {}
    for name, raw in (fields.optional(status, "status", "extensions", dict) or {}).items():
        try:
            answers[name] = _answer(raw, f"status.extensions.{name}")
        except ParseError:
            # A guest may write what it likes; what can't be read is as good as not written.
            continue
    return Report(
        agent_version=fields.optional(status, "status", "agentVersion", str),
        guest=fields.optional(status, "status", "guest", dict) or {},
        answers=answers,
        highest_sequence_number=_number(status, "status", "highestSequenceNumber"),
        request=_readable(credential.parse_request, status, "certificateRequest"),
        held=_readable(credential.parse_held, status, "credential"),
        undeclared=_undeclared(status),
        holder=_readable(_holder, status, "holder") or Holder(),
        copies=_readable(_copies, status, "copies") or (),
    )


def _undeclared(status: Mapping[str, Any]) -> tuple[Undeclared, ...]:
    """Return what a machine says is on it and not in its goal; what can't be read of that counts as not written."""
    found = []
    try:
        for index, raw in enumerate(fields.optional(status, "status", "undeclared", list) or ()):
            path = f"status.undeclared[{index}]"
            one = fields.as_object(raw, path)
            found.append(
                Undeclared(
                    handler=fields.field(one, path, "handler", str),
                    version=fields.field(one, path, "version", str),
                    extension=fields.optional(one, path, "extension", str) or "",
                    multi_config=fields.optional(one, path, "multiConfig", bool) is True,
                )
            )
    except ParseError:
        return ()
    return tuple(found)


def _holder(obj: Mapping[str, Any], path: str) -> Holder:
    return Holder(fields.field(obj, path, "id", str), fields.optional(obj, path, "machine", str) or "")


def _copies(obj: Mapping[str, Any], path: str) -> tuple[Copy, ...]:
    found = []
    for name in sorted(obj):
        one = fields.as_object(obj[name], f"{path}.{name}")
        told = [fields.optional(one, path, field, str) or "" for field in ("hostname", "machine", "reason", "time")]
        found.append(Copy(name, *told))
    return tuple(found)


def _readable(parse: Callable[[Mapping[str, Any], str], R], status: Mapping[str, Any], name: str) -> R | None:
    """Return a part of a status, None where it is absent or can't be read: a guest may write what it likes."""
    try:
        obj = fields.optional(status, "status", name, dict)
        return None if obj is None else parse(obj, f"status.{name}")
    except ParseError:
        return None


def _answer(value: object, path: str) -> Answer:
    raw = fields.as_object(value, path)
    return Answer(
        uid=fields.field(raw, path, "uid", str),
        state=_enum(EntryState, fields.field(raw, path, "state", str), f"{path}.state"),
        sequence_number=_number(raw, path, "sequenceNumber"),
        version=fields.field(raw, path, "version", str),
        outcome=_enum(Outcome, fields.field(raw, path, "outcome", str), f"{path}.outcome"),
        operation=fields.optional(raw, path, "operation", str),
        reason=fields.optional(raw, path, "reason", str),
        message=fields.optional(raw, path, "message", str),
        installed_version=fields.optional(raw, path, "installedVersion", str),
        failed_version=fields.optional(raw, path, "failedVersion", str),
        kept_by=fields.optional(raw, path, "keptBy", str),
        notes=tuple(str(note) for note in fields.optional(raw, path, "notes", list) or ()),
        raw=raw,
    )


def _number(obj: Mapping[str, Any], path: str, name: str) -> int:
    """Return a number that a machine says it has taken, 0 for none. Raises ParseError."""
    number = fields.optional(obj, path, name, int) or 0
    if not 0 <= number <= MAX_SEQUENCE_NUMBER:
        raise ParseError(f"{path}.{name}", f"is {number}, not between 0 and {MAX_SEQUENCE_NUMBER}")
    return number


def _enum(kind: type[E], value: str, path: str) -> E:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise ParseError(path, f"{value!r} is none of {known}") from None

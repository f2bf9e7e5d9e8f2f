"""The goal state: what the operator wants of this machine, parsed once into values."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent.errors import GoalStateError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENABLED, UNINSTALL, ORPHAN = "enabled", "uninstall", "orphan"
_STATES = (ENABLED, UNINSTALL, ORPHAN)

_EXTENSION = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,78}[a-z0-9])?")
_HANDLER = re.compile(r"(?=.{1,201}\Z)[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*")
_VERSION = re.compile(r"(?=.{1,48}\Z)[0-9]+(?:\.[0-9]+)*")
#: Whoever asks for more means for ever, and no clock can count that far.
_LONGEST_TIMEOUT_S = 10 * 366 * 86_400
_SHA256 = re.compile(r"[0-9a-f]{64}")
_THUMBPRINT = re.compile(r"[0-9A-F]{40}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Key(NamedTuple):
    """What says which entry of a goal a status answers (``crds/goalstates.yaml``)."""

    uid: str
    state: str
    sequence_number: int
    version: str


class Package(NamedTuple):
    """Where the zip of a handler is, and how to know it; ``signature`` is its publisher's in base64, empty for none."""

    urls: tuple[str, ...]
    sha256: str
    size_bytes: int
    signature: str = ""


class Settings(NamedTuple):
    """What an extension is configured with.

    Attributes:
        public: a JSON object as text.
        protected: base64 of DER CMS EnvelopedData, empty for none.
        thumbprint: of the certificate that it is encrypted to: SHA-1 in upper-case hex, empty for none.
        digest: tells one from another.
    """

    public: str
    protected: str = ""
    thumbprint: str = ""
    digest: str = ""


class Limits(NamedTuple):
    """What the commands of a handler may use at most; 0 for as much as they like."""

    cpu_millicores: int = 0
    memory_bytes: int = 0


class Entry(NamedTuple):
    """One extension of the goal.

    Attributes:
        name: of the extension.
        key: which entry this is.
        handler: ``<publisher>.<type>``.
        package: of the handler.
        settings: for its settings file.
        timeout_s: how long enabling may take.
        depends_on: names of extensions that must have succeeded before.
        suppress_failures: its failure does not hold back those that depend on it.
        multi_config: its handler takes several extensions at once.
        installs_packages: its commands may need the machine's package manager.
        limits: of its commands.
        level: 0 where it depends on nothing, else one more than the highest level that it depends on.
    """

    name: str
    key: Key
    handler: str
    package: Package
    settings: Settings
    timeout_s: int
    depends_on: tuple[str, ...] = ()
    suppress_failures: bool = False
    multi_config: bool = False
    installs_packages: bool = True
    limits: Limits = Limits()
    level: int = 0

    @property
    def version(self) -> str:
        """Return the version of the handler."""
        return self.key.version


class Refused(NamedTuple):
    """An entry that can't be carried out as it is written."""

    name: str
    key: Key
    why: str


class NextToken(NamedTuple):
    """The token that the agent is to use next: base64 of DER CMS EnvelopedData for a certificate."""

    id: str
    token: str
    thumbprint: str


class Goal(NamedTuple):
    """What is wanted.

    Attributes:
        uid: of the object.
        generation: of the object: its incarnation.
        entries: by level, and within one by name.
        refused: what can't be carried out as it is written.
        last_sequence_number: the highest number ever given on this machine.
        credential: the token to use next, None for none.
        thumbprint: of the certificate that the operator knows the machine by, empty for none.
        heartbeat_s: how often the machine's Lease is renewed, 0 for never.
        vm_uid: of the VirtualMachine that it is for.
        anchor_uid: of the Secret that the tokens of the enrolment are bound to that it is for.
    """

    uid: str
    generation: int
    entries: tuple[Entry, ...]
    refused: tuple[Refused, ...] = ()
    last_sequence_number: int = 0
    credential: NextToken | None = None
    thumbprint: str = ""
    heartbeat_s: int = 0
    vm_uid: str = ""
    anchor_uid: str = ""

    def is_of(self, vm_uid: str, anchor_uid: str) -> bool:
        """Tell whether it is for this enrolment; a machine that was enrolled for no UID takes any."""
        return not vm_uid or (self.vm_uid, self.anchor_uid) == (vm_uid, anchor_uid)

    def entry(self, name: str) -> Entry | None:
        """Return the entry of that extension, or None."""
        return next((entry for entry in self.entries if entry.name == name), None)


def is_extension(name: str) -> bool:
    """Tell whether a name is one that an extension can have."""
    return _EXTENSION.fullmatch(name) is not None


def is_handler(name: str, version: str) -> bool:
    """Tell whether a name and a version are such as a handler can have."""
    return _HANDLER.fullmatch(name) is not None and _VERSION.fullmatch(version) is not None


def parse(obj: Mapping[str, object]) -> Goal:
    """Parse a GoalState. An entry that is wrong is refused alone; raises GoalStateError where nothing can be read."""
    metadata, spec = _field(obj, "", "metadata", dict), _field(obj, "", "spec", dict)
    items = _field(spec, "spec.", "extensions", list)
    entries: dict[str, Entry] = {}
    refused: list[Refused] = []
    for index, item in enumerate(items):
        path = f"spec.extensions[{index}]"
        if not isinstance(item, dict):
            raise GoalStateError(path, "is not an object")
        handler = _field(item, f"{path}.", "handler", dict)
        name = _field(item, f"{path}.", "name", str)
        key = Key(
            _field(item, f"{path}.", "uid", str),
            _field(item, f"{path}.", "state", str),
            _field(item, f"{path}.", "sequenceNumber", int),
            _field(handler, f"{path}.handler.", "version", str),
        )
        try:
            entry = _entry(item, handler, name, key, f"{path}.")
            _refuse_clash(entry, entries, path)
            entries[name] = entry
        except GoalStateError as error:
            refused.append(Refused(name, key, str(error)))
    ordered, circular = by_level(entries)
    return Goal(
        _field(metadata, "metadata.", "uid", str),
        _field(metadata, "metadata.", "generation", int),
        ordered,
        (*refused, *circular),
        _field(spec, "spec.", "lastSequenceNumber", int),
        _credential(spec.get("credential")),
        _known_by(spec.get("thumbprint")),
        max(0, _field(spec, "spec.", "heartbeatSeconds", int, 0)),
        _field(spec, "spec.", "vmUID", str),
        _field(spec, "spec.", "anchorUID", str),
    )


def _credential(value: object) -> NextToken | None:
    """Return the next token; one that can't be read is as good as none: it must keep nothing else from running."""
    if not isinstance(value, dict):
        return None
    parts = [part for part in (value.get(name) for name in NextToken._fields) if isinstance(part, str) and part]
    return NextToken(*parts) if len(parts) == len(NextToken._fields) else None


def _known_by(value: object) -> str:
    """Return a thumbprint; one that can't be read is as good as none."""
    return value if isinstance(value, str) and _THUMBPRINT.fullmatch(value) else ""


def _entry(item: Mapping[str, object], handler: Mapping[str, object], name: str, key: Key, path: str) -> Entry:
    # Names and versions become parts of paths and of commands: nothing passes that could mean more than a name.
    _match(_EXTENSION, name, f"{path}name", "lower-case letters, digits, dots and dashes")
    handler_name = _field(handler, f"{path}handler.", "name", str)
    _match(_HANDLER, handler_name, f"{path}handler.name", "<publisher>.<type> in letters and digits")
    _match(_VERSION, key.version, f"{path}handler.version", "numbers with dots between them")
    if key.state not in _STATES:
        why = f"is {key.state[:64]!r}, and this agent knows {', '.join(_STATES)} alone; update the agent"
        raise GoalStateError(f"{path}state", why)
    if key.sequence_number < 0:
        raise GoalStateError(f"{path}sequenceNumber", "is below 0")
    described = _field(handler, f"{path}handler.", "package", dict)
    where = f"{path}handler.package."
    sha256 = _field(described, where, "sha256", str)
    _match(_SHA256, sha256, f"{where}sha256", "64 lower-case hex digits")
    timeout_s = _field(item, path, "timeoutSeconds", int)
    size_bytes = _field(described, where, "sizeBytes", int)
    if timeout_s < 1 or size_bytes < 1:
        raise GoalStateError(path.rstrip("."), "timeoutSeconds or sizeBytes is below 1")
    limits = _field(handler, f"{path}handler.", "limits", dict, {})
    depends_on = _texts(item, path, "dependsOn", [])
    if name in depends_on:
        raise GoalStateError(f"{path}dependsOn", f"{name} depends on itself")
    return Entry(
        name,
        key,
        handler_name,
        Package(_texts(described, where, "urls"), sha256, size_bytes, _field(described, where, "signature", str, "")),
        _settings(item, path),
        min(timeout_s, _LONGEST_TIMEOUT_S),
        depends_on=tuple(sorted(set(depends_on))),
        suppress_failures=_field(item, path, "suppressFailures", bool, False),
        multi_config=_field(handler, f"{path}handler.", "multiConfig", bool, False),
        installs_packages=_field(handler, f"{path}handler.", "installsPackages", bool, True),
        limits=Limits(
            max(0, _field(limits, f"{path}handler.limits.", "cpuMillicores", int, 0)),
            max(0, _field(limits, f"{path}handler.limits.", "memoryBytes", int, 0)),
        ),
    )


def _settings(item: Mapping[str, object], path: str) -> Settings:
    public = _field(item, path, "settings", str)
    try:
        parsed = json.loads(public)
    except (ValueError, RecursionError):
        # What json says may quote the settings.
        raise GoalStateError(f"{path}settings", "is not JSON") from None
    if not isinstance(parsed, dict):
        raise GoalStateError(f"{path}settings", "is not a JSON object")
    protected = _field(item, path, "protectedSettings", str, "")
    thumbprint = _field(item, path, "thumbprint", str, "")
    if protected and not _BASE64.fullmatch(protected):
        raise GoalStateError(f"{path}protectedSettings", "is not base64")
    if bool(protected) != bool(thumbprint):
        raise GoalStateError(f"{path}protectedSettings", "and thumbprint are of no use without each other")
    if thumbprint:
        _match(_THUMBPRINT, thumbprint, f"{path}thumbprint", "40 upper-case hex digits")
    return settings_of(public, protected, thumbprint)


def settings_of(public: str, protected: str = "", thumbprint: str = "") -> Settings:
    """Return settings with their digest."""
    digest = hashlib.sha256(json.dumps([public, protected, thumbprint]).encode()).hexdigest()[:32]
    return Settings(public, protected, thumbprint, digest)


def _texts(obj: Mapping[str, object], path: str, key: str, default: list[object] | None = None) -> tuple[str, ...]:
    values = _field(obj, path, key, list, default)
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(values):
        raise GoalStateError(f"{path}{key}", "holds something that is no string")
    return texts


def _refuse_clash(entry: Entry, entries: Mapping[str, Entry], path: str) -> None:
    if entry.name in entries:
        raise GoalStateError(f"{path}.name", f"{entry.name} is there twice")
    for other in entries.values():
        if (other.handler, other.key.state, entry.key.state) != (entry.handler, ENABLED, ENABLED):
            continue
        # They would take turns in updating it, for ever.
        if not (entry.multi_config and other.multi_config):
            raise GoalStateError(f"{path}.handler.name", f"{entry.handler} is {other.name}'s already")
        if entry.version != other.version:
            why = f"is {entry.version}, and {other.name} has {other.version} of the same handler"
            raise GoalStateError(f"{path}.handler.version", why)


def by_level(entries: Mapping[str, Entry]) -> tuple[tuple[Entry, ...], list[Refused]]:
    """Return the entries in the order to carry them out, and those that wait for themselves in the end."""
    levels: dict[str, int] = {}
    left = dict(entries)
    while left:
        ready = [
            name for name, entry in left.items() if not any(one in left for one in entry.depends_on if one in entries)
        ]
        if not ready:
            break
        for name in ready:
            levels[name] = max((levels[one] + 1 for one in left[name].depends_on if one in levels), default=0)
        for name in ready:
            del left[name]
    ordered = sorted(levels, key=lambda name: (levels[name], name))
    circular = [
        Refused(entry.name, entry.key, f"dependsOn: {_circle(entry.name, left)}") for _, entry in sorted(left.items())
    ]
    return tuple(entries[name]._replace(level=levels[name]) for name in ordered), circular


def _circle(name: str, left: Mapping[str, Entry]) -> str:
    """Return the way on which a name is come to again, or the way into a circle that it waits for."""
    way = [name]
    while True:
        following = min(one for one in left[way[-1]].depends_on if one in left)
        if following in way:
            round_trip = " -> ".join([*way[way.index(following) :], following])
            return f"they wait for each other: {round_trip}"
        way.append(following)


def _match(pattern: re.Pattern[str], value: str, path: str, form: str) -> None:
    if not pattern.fullmatch(value):
        raise GoalStateError(path, f"is {value[:100]!r}; it must be {form}")


if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def _field(obj: Mapping[str, object], path: str, key: str, kind: type[T], default: T | None = None) -> T:
    value = obj.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise GoalStateError(f"{path}{key}", "is missing" if value is None else f"is not of type {kind.__name__}")
    return value

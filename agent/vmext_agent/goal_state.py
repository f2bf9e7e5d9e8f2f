"""The goal state: what the operator wants of this machine, parsed once into values."""

from __future__ import annotations

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


class Key(NamedTuple):
    """What says which entry of a goal a status answers (``crds/goalstates.yaml``)."""

    uid: str
    state: str
    sequence_number: int
    version: str


class Package(NamedTuple):
    """Where the zip of a handler is, and how to know it."""

    urls: tuple[str, ...]
    sha256: str
    size_bytes: int


class Entry(NamedTuple):
    """One extension of the goal; ``settings`` is a JSON object as text."""

    name: str
    key: Key
    handler: str
    package: Package
    settings: str
    timeout_s: int

    @property
    def version(self) -> str:
        """Return the version of the handler."""
        return self.key.version


class Refused(NamedTuple):
    """An entry that can't be carried out as it is written."""

    name: str
    key: Key
    why: str


class Goal(NamedTuple):
    """What is wanted. Entries are in order of their names; ``uid`` and ``generation`` are the object's."""

    uid: str
    generation: int
    entries: tuple[Entry, ...]
    refused: tuple[Refused, ...] = ()

    def entry(self, name: str) -> Entry | None:
        """Return the entry of that extension, or None."""
        return next((entry for entry in self.entries if entry.name == name), None)


def parse(obj: Mapping[str, object]) -> Goal:
    """Parse a GoalState. An entry that is wrong is refused alone; raises GoalStateError where nothing can be read."""
    metadata = _field(obj, "", "metadata", dict)
    items = _field(_field(obj, "", "spec", dict), "spec.", "extensions", list)
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
            _refuse_twice(entry, entries, path)
            entries[name] = entry
        except GoalStateError as error:
            refused.append(Refused(name, key, str(error)))
    return Goal(
        _field(metadata, "metadata.", "uid", str),
        _field(metadata, "metadata.", "generation", int),
        tuple(entries[name] for name in sorted(entries)),
        tuple(refused),
    )


def _entry(item: Mapping[str, object], handler: Mapping[str, object], name: str, key: Key, path: str) -> Entry:
    # Names and versions become parts of paths and of commands: nothing passes that could mean more than a name.
    _match(_EXTENSION, name, f"{path}name", "lower-case letters, digits, dots and dashes")
    handler_name = _field(handler, f"{path}handler.", "name", str)
    _match(_HANDLER, handler_name, f"{path}handler.name", "<publisher>.<type> in letters and digits")
    _match(_VERSION, key.version, f"{path}handler.version", "numbers with dots between them")
    if key.state not in _STATES:
        raise GoalStateError(f"{path}state", f"{key.state!r} is none of {', '.join(_STATES)}")
    if key.sequence_number < 0:
        raise GoalStateError(f"{path}sequenceNumber", "is below 0")
    described = _field(handler, f"{path}handler.", "package", dict)
    where = f"{path}handler.package."
    urls = _field(described, where, "urls", list)
    sha256 = _field(described, where, "sha256", str)
    _match(_SHA256, sha256, f"{where}sha256", "64 lower-case hex digits")
    settings = _field(item, path, "settings", str)
    try:
        parsed = json.loads(settings)
    except (ValueError, RecursionError):
        # What json says may quote the settings.
        raise GoalStateError(f"{path}settings", "is not JSON") from None
    if not isinstance(parsed, dict):
        raise GoalStateError(f"{path}settings", "is not a JSON object")
    timeout_s = _field(item, path, "timeoutSeconds", int)
    size_bytes = _field(described, where, "sizeBytes", int)
    if timeout_s < 1 or size_bytes < 1:
        raise GoalStateError(path.rstrip("."), "timeoutSeconds or sizeBytes is below 1")
    texts = tuple(url for url in urls if isinstance(url, str))
    if len(texts) != len(urls):
        raise GoalStateError(f"{where}urls", "holds something that is no string")
    package = Package(texts, sha256, size_bytes)
    return Entry(name, key, handler_name, package, settings, min(timeout_s, _LONGEST_TIMEOUT_S))


def _refuse_twice(entry: Entry, entries: Mapping[str, Entry], path: str) -> None:
    if entry.name in entries:
        raise GoalStateError(f"{path}.name", f"{entry.name} is there twice")
    for other in entries.values():
        # They would take turns in updating it, for ever.
        if (other.handler, other.key.state, entry.key.state) == (entry.handler, ENABLED, ENABLED):
            raise GoalStateError(f"{path}.handler.name", f"{entry.handler} is {other.name}'s already")


def _match(pattern: re.Pattern[str], value: str, path: str, form: str) -> None:
    if not pattern.fullmatch(value):
        raise GoalStateError(path, f"is {value[:100]!r}; it must be {form}")


if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def _field(obj: Mapping[str, object], path: str, key: str, kind: type[T]) -> T:
    value = obj.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise GoalStateError(f"{path}{key}", "is missing" if value is None else f"is not of type {kind.__name__}")
    return value

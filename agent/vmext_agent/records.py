"""What the agent knows of each extension and each handler on this machine: values, and their form on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent.goal_state import Key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.goal_state import Entry

#: States of a handler's folder (contract, A1).
NOT_INSTALLED, INSTALLED, ENABLED, FAILED_UPGRADE = "NotInstalled", "Installed", "Enabled", "FailedUpgrade"
IN_FORCE = (INSTALLED, ENABLED)
#: Of a folder that no command can be run in: its manifest is gone or spoilt.
UNUSABLE = "Unusable"
STATES = (NOT_INSTALLED, INSTALLED, ENABLED, FAILED_UPGRADE)

#: Exit code given to a command for one that was not run (contract, A4).
NOT_RUN = "NOT_RUN"


class Folder(NamedTuple):
    """One version of a handler on disk: its state, and what its manifest says of updates."""

    state: str
    update_with_install: bool = True
    continue_on_update_failure: bool = False


class HandlerStatus(NamedTuple):
    """What the agent says of a handler (contract, 4 and 6)."""

    status: str
    code: int
    message: str


class Verdict(NamedTuple):
    """How an entry ended other than by enabling. ``retry``: it is tried again by itself."""

    outcome: str
    operation: str
    reason: str
    message: str
    ended: str
    retry: bool = False


class Move(NamedTuple):
    """A change of version that has begun: exit codes of what is done, by name of the step."""

    source: str
    target: str
    done: Mapping[str, str]


class Enabled(NamedTuple):
    """The last enable that returned 0; ``until`` is when its status must be final, in seconds since 1970."""

    uid: str
    version: str
    sequence_number: int
    boot: str
    until: float


class Record(NamedTuple):
    """What the agent knows of an extension; ``key`` and ``package`` are those of the entry it works on or did last."""

    extension: str
    handler: str
    key: Key
    package: str
    began: str
    verdict: Verdict | None = None
    move: Move | None = None
    enabled: Enabled | None = None
    handler_status: HandlerStatus | None = None

    @property
    def is_enabled(self) -> bool:
        """Tell whether the entry has been enabled, in this boot of the machine or an earlier one."""
        enabled = self.enabled
        return enabled is not None and (enabled.uid, enabled.sequence_number, enabled.version) == (
            self.key.uid,
            self.key.sequence_number,
            self.key.version,
        )


class Disk(NamedTuple):
    """What is on the machine: records by extension, folders by handler and version, and which boot this is."""

    records: Mapping[str, Record]
    handlers: Mapping[str, Mapping[str, Folder]]
    boot: str

    def in_force(self, handler: str) -> str | None:
        """Return the installed version of a handler: the highest, as in the contract, or None."""
        folders = self.handlers.get(handler, {})
        return max((v for v, folder in folders.items() if folder.state in IN_FORCE), key=version_key, default=None)


def version_key(version: str) -> tuple[int, ...]:
    """Return what versions are sorted by."""
    return tuple(int(part) for part in version.split("."))


def package_id(entry: Entry) -> str:
    """Return what tells one package from another: another one is worth another try."""
    return " ".join((entry.package.sha256, str(entry.package.size_bytes), *entry.package.urls))


def begin(record: Record | None, entry: Entry, now: str) -> Record:
    """Return the record of an entry that work begins on; what is known of the handler stays known."""
    if record is None or record.handler != entry.handler:
        return Record(entry.name, entry.handler, entry.key, package_id(entry), now)
    move = record.move if record.move is not None and record.move.target == entry.version else None
    return record._replace(key=entry.key, package=package_id(entry), began=now, verdict=None, move=move)


def dump(record: Record) -> bytes:
    """Return a record's form on disk."""
    document = {
        name: value._asdict() if isinstance(value, (Key, Verdict, Move, Enabled, HandlerStatus)) else value
        for name, value in record._asdict().items()
    }
    return json.dumps(document, separators=(",", ":")).encode()


def load(data: bytes, extension: str) -> Record:
    """Parse what ``dump`` made of that extension's record. Raises ValueError for anything else."""
    try:
        document = json.loads(data)
        record = Record(
            _text(document["extension"]),
            _text(document["handler"]),
            Key(**document["key"]),
            _text(document["package"]),
            _text(document["began"]),
            Verdict(**document["verdict"]) if document["verdict"] else None,
            Move(**document["move"]) if document["move"] else None,
            Enabled(**document["enabled"]) if document["enabled"] else None,
            HandlerStatus(**document["handler_status"]) if document["handler_status"] else None,
        )
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"it is no record: {error!r}") from None
    if record.extension != extension:
        raise ValueError(f"it is the record of {record.extension!r:.100}")
    for value, kinds in _shape(record):
        if not isinstance(value, kinds):
            raise ValueError(f"it is no record: {value!r:.80} is of another type than it was")  # noqa: TRY004 -- one kind of error for whoever reads files
    return record


def _shape(record: Record) -> list[tuple[object, tuple[type, ...]]]:
    key, verdict, move, enabled, status = record.key, record.verdict, record.move, record.enabled, record.handler_status
    pairs: list[tuple[object, tuple[type, ...]]] = [(text, (str,)) for text in (key.uid, key.state, key.version)]
    pairs.append((key.sequence_number, (int,)))
    if verdict is not None:
        pairs += [(text, (str,)) for text in verdict[:5]]
    if move is not None:
        pairs += [(move.source, (str,)), (move.target, (str,)), (move.done, (dict,))]
    if enabled is not None:
        pairs += [(enabled.uid, (str,)), (enabled.version, (str,)), (enabled.sequence_number, (int,))]
        pairs += [(enabled.boot, (str,)), (enabled.until, (int, float))]
    if status is not None:
        pairs += [(status.status, (str,)), (status.code, (int,)), (status.message, (str,))]
    return pairs


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no string")
    return value

"""What the agent knows of each extension and each handler on this machine: values, and their form on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent.goal_state import Key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from vmext_agent.goal_state import Entry

#: States of a handler's folder (contract, A1).
NOT_INSTALLED, INSTALLED, ENABLED, FAILED_UPGRADE = "NotInstalled", "Installed", "Enabled", "FailedUpgrade"
IN_FORCE = (INSTALLED, ENABLED)
#: Of a folder that no command can be run in: its manifest is gone or spoilt.
UNUSABLE = "Unusable"
STATES = (NOT_INSTALLED, INSTALLED, ENABLED, FAILED_UPGRADE)

#: How a handler was taken away: by its own uninstall, or as a folder in which no command could be run.
UNINSTALLED, DISCARDED = "Uninstalled", "Discarded"

#: Exit code given to a command for one that was not run (contract, A4).
NOT_RUN = "NOT_RUN"


class Folder(NamedTuple):
    """One version of a handler on disk.

    Attributes:
        state: of the handler.
        update_with_install: what its manifest says of updates.
        continue_on_update_failure: likewise.
        multi_config: it takes several extensions at once, by its manifest.
        enabled: names of the extensions that are enabled in a multi-config handler.
        sha256: of the package that it was unpacked from, empty where nobody knows.
        number: the highest sequence number of its settings files.
        heartbeat: it keeps a heartbeat file, by its manifest.
    """

    state: str
    update_with_install: bool = True
    continue_on_update_failure: bool = False
    multi_config: bool = False
    enabled: frozenset[str] = frozenset()
    sha256: str = ""
    number: int = 0
    heartbeat: bool = False


class HandlerStatus(NamedTuple):
    """What the agent says of a handler (contract, 4 and 6)."""

    status: str
    code: int
    message: str


class Verdict(NamedTuple):
    """How an entry ended other than by enabling.

    Attributes:
        outcome: one of ``lifecycle``'s.
        operation: at which it ended.
        reason: CamelCase.
        message: for people.
        ended: RFC 3339.
        retry: it is tried again by itself.
        failed_version: that was taken back, empty where none was.
        kept_by: an extension that has the handler still, where another one of it was removed; empty for none.
    """

    outcome: str
    operation: str
    reason: str
    message: str
    ended: str
    retry: bool = False
    failed_version: str = ""
    kept_by: str = ""


class Enabled(NamedTuple):
    """The last enable that returned 0.

    Attributes:
        uid: of the entry.
        version: of the handler.
        sequence_number: of the entry.
        boot: in which it was enabled.
        until: when its status must be final, in seconds since that boot; in another boot nothing is over by time
            before it has been enabled there.
        not_resumed: when it was found that its work was cut off and nothing takes it up, RFC 3339; empty for not.
    """

    uid: str
    version: str
    sequence_number: int
    boot: str
    until: float
    not_resumed: str = ""


class Attempt(NamedTuple):
    """The enable that was begun last: what its status file says counts from its first beginning on.

    Attributes:
        uid: of the entry.
        version: of the handler.
        sequence_number: of the entry.
        before: which status file was there when it was begun again (``status_files.identity``), empty for none; None
            where it was begun once.
    """

    uid: str
    version: str
    sequence_number: int
    before: str | None = None


class Deadline(NamedTuple):
    """A time in seconds since a boot; in another boot it says nothing."""

    boot: str
    at: float


class Failure(NamedTuple):
    """Why a change of version is taken back; ``kind`` is the step's, empty where the goal no longer wants it."""

    kind: str
    extension: str
    reason: str
    code: int
    message: str


class Move(NamedTuple):
    """A change of a handler's version that has begun, and is neither settled nor taken back.

    Attributes:
        handler: ``<publisher>.<type>``.
        source: version that was in force.
        target: version that is to be.
        was: what was enabled of the source, by extension.
        done: exit codes of what is done, by the step's mark (``plan.mark``).
        failure: why it goes back; None while it goes forward.
        lost: what the commands said that failed on the way back, by their mark.
    """

    handler: str
    source: str
    target: str
    was: Mapping[str, Enabled] = {}
    done: Mapping[str, str] = {}
    failure: Failure | None = None
    lost: Mapping[str, str] = {}


class Record(NamedTuple):
    """What the agent knows of an extension.

    Attributes:
        extension: its name.
        handler: ``<publisher>.<type>``.
        key: of the entry that the agent works on, or did last.
        package: which one that entry names (``package_id``).
        began: when work on the entry began, RFC 3339.
        verdict: how the entry ended, if not by enabling.
        enabled: what is enabled of it, which may be of an earlier entry.
        settings: which settings are in its settings file (``settings_id``).
        handler_status: what the agent says of the handler.
        busy_until: till when a busy package manager is waited for; None before it was busy.
        attempt: the enable that was begun last, None where another command has run since.
        removal: how its handler was taken away, ``UNINSTALLED`` or ``DISCARDED``; empty where nothing was yet.
    """

    extension: str
    handler: str
    key: Key
    package: str
    began: str
    verdict: Verdict | None = None
    enabled: Enabled | None = None
    settings: str = ""
    handler_status: HandlerStatus | None = None
    busy_until: Deadline | None = None
    attempt: Attempt | None = None
    removal: str = ""

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
    """What is on the machine, and what is known of it besides.

    Attributes:
        records: by extension.
        handlers: folders by handler and version.
        boot: which boot of the machine this is.
        aside: versions that were set aside, by handler.
        moves: changes of versions under way, by handler.
        outcomes: of the extensions that are enabled, by extension: ``lifecycle``'s words.
        forbidden: extensions that the machine's policy keeps from running: for which reason, and in which words.
        highest: the highest sequence number that the machine has taken.
        incarnation: uid and generation of the newest goal that it has taken.
        unreadable: extensions that are wanted with protected settings that can't be read here: as ``forbidden``.
    """

    records: Mapping[str, Record]
    handlers: Mapping[str, Mapping[str, Folder]]
    boot: str
    aside: Mapping[str, frozenset[str]] = {}
    moves: Mapping[str, Move] = {}
    outcomes: Mapping[str, str] = {}
    forbidden: Mapping[str, tuple[str, str]] = {}
    highest: int = 0
    incarnation: tuple[str, int] = ("", 0)
    unreadable: Mapping[str, tuple[str, str]] = {}

    def in_force(self, handler: str) -> str | None:
        """Return the installed version of a handler: the highest, as in the contract, or None.

        While a change goes on it is the version that the change has got to.
        """
        found = [version for version, folder in self.handlers.get(handler, {}).items() if folder.state in IN_FORCE]
        return max(found, key=version_key) if len(found) > 1 else (found[0] if found else None)


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
    begun = record._replace(
        key=entry.key, package=package_id(entry), began=now, verdict=None, busy_until=None, removal=""
    )
    # What failed before a removal says nothing of how the removal goes.
    return begun if entry.key.state == "enabled" else begun._replace(handler_status=None)


def dump(value: Record | Move) -> bytes:
    """Return the form on disk of a record or a move."""
    return json.dumps(_plain(value), separators=(",", ":")).encode()


def _plain(value: object) -> object:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value


def load(data: bytes, extension: str) -> Record:
    """Parse what ``dump`` made of that extension's record. Raises ValueError for anything else."""
    record = _load(data, _record)
    if record.extension != extension:
        raise ValueError(f"it is the record of {record.extension!r:.100}")
    return record


def load_move(data: bytes, handler: str) -> Move:
    """Parse what ``dump`` made of that handler's move. Raises ValueError for anything else."""
    move = _load(data, _move)
    if move.handler != handler:
        raise ValueError(f"it is about {move.handler!r:.100}")
    return move


def _record(document: Any) -> Record:
    return Record(
        extension=_is(str, document["extension"]),
        handler=_is(str, document["handler"]),
        key=_made(Key, document["key"], (str, str, int, str)),
        package=_is(str, document["package"]),
        began=_is(str, document["began"]),
        verdict=_or_none(
            document["verdict"], lambda one: _made(Verdict, one, (str, str, str, str, str, bool, str, str))
        ),
        enabled=_or_none(document["enabled"], _enabled),
        settings=_is(str, document["settings"]),
        handler_status=_or_none(document["handler_status"], lambda one: _made(HandlerStatus, one, (str, int, str))),
        busy_until=_or_none(document["busy_until"], lambda one: _made(Deadline, one, (str, (int, float)))),
        attempt=_or_none(document["attempt"], _attempt),
        removal=_is(str, document["removal"]),
    )


def _move(document: Any) -> Move:
    source, target = (_version(document[name]) for name in ("source", "target"))
    was, done, lost = (_is(dict, document[name]) for name in ("was", "done", "lost"))
    return Move(
        handler=_is(str, document["handler"]),
        source=source,
        target=target,
        was={name: _enabled(one) for name, one in was.items()},
        done={mark: _is(str, code) for mark, code in done.items()},
        failure=_or_none(document["failure"], lambda one: _made(Failure, one, (str, str, str, int, str))),
        lost={mark: _is(str, words) for mark, words in lost.items()},
    )


def _enabled(document: Any) -> Enabled:
    return _made(Enabled, document, (str, str, int, str, (int, float), str))


def _attempt(document: Any) -> Attempt:
    return _made(Attempt, document, (str, str, int, (str, type(None))))


def _version(value: object) -> str:
    text: str = _is(str, value)
    version_key(text)
    return text


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
    N = TypeVar("N", bound=tuple[Any, ...])


def _load(data: bytes, make: Callable[[Any], T]) -> T:
    try:
        return make(json.loads(data))
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is not what was written there: {error!r:.200}") from None


def _or_none(document: object, make: Callable[[Any], T]) -> T | None:
    return None if document is None else make(document)


def _made(kind: type[N], document: Any, kinds: tuple[Any, ...]) -> N:
    """Return a value of a named tuple's type whose fields have the types that they must have."""
    value = kind(**_is(dict, document))
    for part, expected in zip(value, kinds):
        _is(expected, part)
    return value


def _is(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.80} is of another type")
    return value

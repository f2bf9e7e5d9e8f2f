"""From what is known to ``GoalState.status`` (``crds/goalstates.yaml``): pure, and always within its limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vmext_agent import lifecycle, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmext_agent.goal_state import Key, Refused
    from vmext_agent.hold import Held
    from vmext_agent.records import HandlerStatus, Record
    from vmext_agent.status import ExtensionStatus
    from vmext_agent.undeclared import Undeclared

    #: A JSON object.
    Document = dict[str, "object"]

EXTENSION_BYTES = 16 << 10
TOTAL_BYTES = 512 << 10
_MESSAGE = 8192
_HANDLER_MESSAGE = 16384
_SHORTEST = 64
_NOTE, _NOTES = 1024, 8


def extension(
    record: Record,
    *,
    operation: str,
    said: ExtensionStatus | None,
    ended: str,
    now: float,
    identity: str = "",
    version: str | None,
    handler_status: HandlerStatus | None = None,
    notes: Sequence[str] = (),
    held: Held | None = None,
    key: Key | None = None,
    over: str = "",
) -> Document:
    """Return what is reported of one extension.

    Args:
        record: what is known of it.
        operation: what is being done with it now, empty for nothing.
        said: its status file for this sequence number, None for none.
        ended: when the status file was written, RFC 3339.
        now: as ``lifecycle.outcome`` has it.
        identity: of its status file (``status_files.identity``), empty for none.
        over: when its time to say something final was over, RFC 3339.
        version: of the handler in force, None for none.
        handler_status: what the handler's heartbeat says; None for what the agent knows.
        notes: what people should know besides.
        held: why the entry that is wanted is not being carried out, None where it is.
        key: of that entry, where it is not the record's.
    """
    document: Document = {**_key(key or record.key)}
    verdict = record.verdict
    document["startTime"] = record.began
    if verdict is not None:
        document |= {"outcome": verdict.outcome, "operation": verdict.operation, "endTime": verdict.ended}
        document |= {"reason": verdict.reason, "message": verdict.message, "failedVersion": verdict.failed_version}
        document["keptBy"] = verdict.kept_by
    elif record.is_enabled and record.enabled is not None:
        outcome = lifecycle.outcome(record, said, now, identity)
        not_resumed = record.enabled.not_resumed if lifecycle.was_not_resumed(record, identity) else ""
        document |= _enabled(said, ended, outcome, over, not_resumed)
    else:
        document |= {"outcome": lifecycle.RUNNING, "operation": operation}
    if held is not None:
        document = _held(document, held)
    document["installedVersion"] = version
    document["notes"] = [text.cut(text.clean(note), _NOTE) for note in notes[:_NOTES]]
    status_ = handler_status or record.handler_status
    if status_ is not None:
        document["handlerStatus"] = status_._asdict()
    if said is not None and (record.is_enabled or verdict is not None):
        document["extensionStatus"] = _said(said)
    return fit(document, EXTENSION_BYTES)


def _held(document: Document, held: Held) -> Document:
    """Return a document of an entry that is not carried out: how an earlier one ended is no answer to it."""
    outcome = lifecycle.FAILED if held.failed else lifecycle.RUNNING
    kept = {key: value for key, value in document.items() if key in ("uid", "state", "sequenceNumber", "version")}
    if "startTime" in document:
        kept["startTime"] = document["startTime"]
    return {**kept, "outcome": outcome, "reason": held.reason, "message": held.message}


def waiting(key: Key, held: Held) -> Document:
    """Return what is reported of an entry of which nothing is known but why it is not carried out."""
    return fit(_held(_key(key), held), EXTENSION_BYTES)


def _enabled(said: ExtensionStatus | None, ended: str, outcome: str, over: str, not_resumed: str) -> Document:
    """Return the part that the status file of an enabled extension decides."""
    document: Document = {"operation": "Enable", "outcome": outcome}
    if said is not None and said.is_final:
        document["endTime"] = ended
        if outcome == lifecycle.FAILED:
            message = said.message or f"the extension reported an error with code {said.code} and no message"
            document |= {"reason": "ExecutionFailed", "message": message}
    elif outcome == lifecycle.FAILED and not_resumed:
        message = (
            "the machine was restarted, or the extension was killed, before it reported how it ended; enabled again,"
            " its handler did not take up the work, and nothing of it runs; change forceUpdateTag to run it again"
        )
        document |= {"reason": "NotResumed", "message": message, "endTime": not_resumed}
    elif outcome == lifecycle.FAILED:
        what = "wrote no status" if said is None else "was still transitioning"
        message = f"the extension {what} until its time was over; what it started goes on"
        document |= {"reason": "TimedOut", "message": message, "endTime": over}
    elif said is not None:
        document["message"] = said.message
    return document


def refused(entry: Refused, began: str) -> Document:
    """Return what is reported of an entry that can't be carried out as it is written."""
    document: Document = {**_key(entry.key), "outcome": lifecycle.FAILED, "reason": "InvalidGoalState"}
    document |= {"message": entry.why, "startTime": began, "endTime": began}
    return fit(document, EXTENSION_BYTES)


def _key(key: Key) -> Document:
    return {"uid": key.uid, "state": key.state, "sequenceNumber": key.sequence_number, "version": key.version}


def _said(said: ExtensionStatus) -> Document:
    document: Document = {"status": said.status, "operation": said.operation, "code": said.code}
    document |= {"message": said.message, "time": said.time}
    if said.substatuses:
        document["substatuses"] = [part._asdict() for part in said.substatuses]
    return document


def fit(document: Document, limit: int) -> Document:
    """Return a document of at most `limit` bytes as JSON, its texts cut in the middle where need be; without blanks."""
    bound = _HANDLER_MESSAGE
    fitted = _cut(document, bound)
    while size(fitted) > limit and bound > _SHORTEST:
        bound //= 2
        fitted = _cut(document, bound)
    said = fitted.get("extensionStatus")
    while size(fitted) > limit and isinstance(said, dict) and said.get("substatuses"):
        parts = said["substatuses"]
        said["substatuses"] = parts[: len(parts) // 2]
    return fitted


def size(document: Mapping[str, object]) -> int:
    """Return how many bytes a document takes as JSON."""
    return len(json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def _cut(document: Mapping[str, object], bound: int) -> Document:
    made: Document = {}
    for key, value in document.items():
        if isinstance(value, dict):
            made[key] = _cut(value, bound)
        elif isinstance(value, list):
            if value:
                made[key] = [_cut(part, bound) if isinstance(part, dict) else part for part in value]
        elif key == "message" and isinstance(value, str) and value:
            own = _MESSAGE if "outcome" in document else _HANDLER_MESSAGE
            made[key] = text.cut(text.clean(value), min(own, bound))
        elif value not in (None, ""):
            made[key] = value
    return made


def undeclared(found: Sequence[Undeclared]) -> list[Document]:
    """Return what is reported of what is on the machine and declared nowhere."""
    made: list[Document] = []
    for one in found:
        document: Document = {"handler": one.handler, "version": one.version}
        if one.extension:
            document["extension"] = one.extension
        if one.several:
            document["multiConfig"] = True
        made.append(document)
    return made


def whole(facts: Mapping[str, object], extensions: Mapping[str, tuple[Document, int]]) -> Document:
    """Return the whole status, within its limit: each extension is cut to its share where all together are too long.

    `extensions` are documents and their sizes (``size``).
    """
    made = {name: document for name, (document, _) in extensions.items()}
    room = TOTAL_BYTES - size(facts)
    if sum(length for _, length in extensions.values()) > room:
        share = max(1024, room // max(len(made), 1) - 128)
        made = {name: fit(one, share) for name, one in made.items()}
    return {**facts, "extensions": made}


def without_times(document: Mapping[str, object]) -> Document:
    """Return what is reported of an extension without when that was: what is left tells whether there is news."""
    made = {key: value for key, value in document.items() if key != "endTime"}
    said = made.get("extensionStatus")
    if isinstance(said, dict):
        made["extensionStatus"] = {key: value for key, value in said.items() if key != "time"}
    return made


def merge_patch(old: Mapping[str, object], new: Mapping[str, object]) -> Document:
    """Return the JSON merge patch (RFC 7386) that makes `new` of `old`; empty where they are the same."""
    patch: Document = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if value == before:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        else:
            patch[key] = value
    return patch

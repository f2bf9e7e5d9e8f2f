"""From what is known to ``GoalState.status`` (``crds/goalstates.yaml``): pure, and always within its limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vmext_agent import clock, lifecycle, status, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.goal_state import Key, Refused
    from vmext_agent.records import Record
    from vmext_agent.status import ExtensionStatus

    #: A JSON object.
    Document = dict[str, "object"]

EXTENSION_BYTES = 16 << 10
TOTAL_BYTES = 512 << 10
_MESSAGE = 8192
_HANDLER_MESSAGE = 16384
_SHORTEST = 64


def extension(
    record: Record,
    *,
    operation: str,
    said: ExtensionStatus | None,
    ended: str,
    now: float,
    version: str | None,
) -> Document:
    """Return what is reported of one extension.

    Args:
        record: what is known of it.
        operation: what is being done with it now, empty for nothing.
        said: its status file for this sequence number, None for none.
        ended: when the status file was written, RFC 3339.
        now: seconds since 1970.
        version: of the handler in force, None for none.
    """
    document: Document = {**_key(record.key)}
    verdict = record.verdict
    document["startTime"] = record.began
    if verdict is not None:
        document |= {"outcome": verdict.outcome, "operation": verdict.operation, "endTime": verdict.ended}
        document |= {"reason": verdict.reason, "message": verdict.message}
    elif record.is_enabled and record.enabled is not None:
        document |= _enabled(said, ended, now, record.enabled.until)
    else:
        document |= {"outcome": lifecycle.RUNNING, "operation": operation}
    document["installedVersion"] = version
    if record.handler_status is not None:
        document["handlerStatus"] = record.handler_status._asdict()
    if said is not None and (record.is_enabled or verdict is not None):
        document["extensionStatus"] = _said(said)
    return fit(document, EXTENSION_BYTES)


def _enabled(said: ExtensionStatus | None, ended: str, now: float, until: float) -> Document:
    """Return the part that the status file of an enabled extension decides."""
    document: Document = {"operation": "Enable"}
    if said is not None and said.is_final:
        failed = said.status == status.ERROR
        document |= {"outcome": lifecycle.FAILED if failed else lifecycle.SUCCEEDED, "endTime": ended}
        if failed:
            message = said.message or f"the extension reported an error with code {said.code} and no message"
            document |= {"reason": "ExecutionFailed", "message": message}
    elif now >= until:
        what = "wrote no status" if said is None else "was still transitioning"
        message = f"the extension {what} until its time was over; what it started goes on"
        document |= {"outcome": lifecycle.FAILED, "reason": "TimedOut", "message": message}
        document["endTime"] = clock.rfc3339(until)
    else:
        document["outcome"] = lifecycle.RUNNING
        if said is not None:
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
            made[key] = [_cut(part, bound) for part in value]
        elif key == "message" and isinstance(value, str) and value:
            own = _MESSAGE if "outcome" in document else _HANDLER_MESSAGE
            made[key] = text.cut(text.clean(value), min(own, bound))
        elif value not in (None, ""):
            made[key] = value
    return made


def whole(facts: Mapping[str, object], extensions: Mapping[str, Document]) -> Document:
    """Return the whole status, within its limit: each extension is cut to its share where all together are too long."""
    share = max(1024, (TOTAL_BYTES - size(facts)) // max(len(extensions), 1) - 128)
    if sum(size(one) for one in extensions.values()) > TOTAL_BYTES - size(facts):
        extensions = {name: fit(one, share) for name, one in extensions.items()}
    return {**facts, "extensions": dict(extensions)}


def merge_patch(old: Mapping[str, object], new: Mapping[str, object]) -> Document:
    """Return the JSON merge patch (RFC 7386) that makes `new` of `old`; empty where they are the same."""
    patch: Document = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif value != before:
            patch[key] = value
    return patch

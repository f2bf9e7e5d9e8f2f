"""Goal states and disks for the tests of the agent's decisions, with as little said as a test needs to say."""

from __future__ import annotations

from typing import Any

from vmext_agent import goal_state, records
from vmext_agent.goal_state import Entry, Goal, Key, Package
from vmext_agent.records import Disk, Enabled, Folder, Move, Record, Verdict

HANDLER = "Test.Tracer"
BOOT = "boot-1"
NOW = "2026-01-01T00:00:00Z"


def entry(
    name: str = "one",
    *,
    state: str = goal_state.ENABLED,
    number: int = 1,
    version: str = "1.0.0",
    uid: str = "uid-1",
    handler: str = HANDLER,
    urls: tuple[str, ...] = ("http://127.0.0.1/p.zip",),
    sha256: str = "a" * 64,
    settings: str = "{}",
    **fields: Any,
) -> Entry:
    key, package = Key(uid, state, number, version), Package(urls, sha256, 100)
    return Entry(name, key, handler, package, goal_state.settings_of(settings), 60, **fields)


def goal(*entries: Entry, generation: int = 1, last: int | None = None, uid: str = "uid-goal") -> Goal:
    ordered, circular = goal_state.by_level({one.name: one for one in entries})
    highest = max((one.key.sequence_number for one in entries), default=0)
    return Goal(uid, generation, ordered, tuple(circular), highest if last is None else last)


def record(of: Entry, *, enabled: bool = False, boot: str = BOOT, **fields: Any) -> Record:
    made = records.begin(None, of, NOW)
    if enabled:
        key = of.key
        fields.setdefault("enabled", Enabled(key.uid, key.version, key.sequence_number, boot, 0.0))
        fields.setdefault("settings", of.settings.digest)
    return made._replace(**fields)


def disk(*found: Record, folders: dict[str, Folder] | None = None, boot: str = BOOT, **fields: Any) -> Disk:
    handlers = {HANDLER: folders} if folders else {}
    return Disk({one.extension: one for one in found}, handlers, boot, **fields)


def failed(reason: str = "InstallFailed", *, retry: bool = False) -> Verdict:
    return Verdict("Failed", "Install", reason, "it failed", NOW, retry)


def raw_entry(**fields: Any) -> dict[str, Any]:
    package = {"urls": ["http://127.0.0.1/p.zip"], "sha256": "a" * 64, "sizeBytes": 100}
    base: dict[str, Any] = {
        "name": "one",
        "uid": "uid-1",
        "state": "enabled",
        "sequenceNumber": 1,
        "settings": "{}",
        "timeoutSeconds": 60,
        "handler": {"name": HANDLER, "version": "1.0.0", "package": package},
    }
    return base | fields


def raw_goal(*entries: Any) -> dict[str, Any]:
    spec = {"vmUID": "uid-vm", "anchorUID": "uid-anchor", "extensions": list(entries), "lastSequenceNumber": 9}
    return {"metadata": {"uid": "uid-goal", "generation": 3}, "spec": spec}


__all__ = [
    "BOOT",
    "HANDLER",
    "NOW",
    "Entry",
    "Folder",
    "Goal",
    "Move",
    "disk",
    "entry",
    "failed",
    "goal",
    "raw_entry",
    "raw_goal",
    "record",
]

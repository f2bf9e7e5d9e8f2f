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
) -> Entry:
    return Entry(name, Key(uid, state, number, version), handler, Package(urls, "a" * 64, 100), "{}", 60)


def goal(*entries: Entry) -> Goal:
    return Goal("uid-goal", 1, entries)


def record(of: Entry, *, enabled: bool = False, boot: str = BOOT, **fields: Any) -> Record:
    made = records.begin(None, of, NOW)
    if enabled:
        key = of.key
        fields["enabled"] = Enabled(key.uid, key.version, key.sequence_number, boot, 0.0)
    return made._replace(**fields)


def disk(*found: Record, folders: dict[str, Folder] | None = None, boot: str = BOOT) -> Disk:
    handlers = {HANDLER: folders} if folders else {}
    return Disk({one.extension: one for one in found}, handlers, boot)


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
    return {"metadata": {"uid": "uid-goal", "generation": 3}, "spec": {"extensions": list(entries)}}


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

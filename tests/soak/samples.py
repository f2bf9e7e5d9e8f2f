"""What parsers get in real life: the seeds of the fuzzing."""

from __future__ import annotations

import json
from typing import Any

HANDLER = "Test.Tracer"
COMMANDS = {f"{name}Command": f"bin/{name}.sh" for name in ("install", "enable", "disable", "uninstall", "update")}


def _entry(name: str, number: int, **fields: Any) -> dict[str, Any]:
    package = {"urls": ["https://192.0.2.1/p.zip", "http://192.0.2.2/p.zip"], "sha256": "a" * 64, "sizeBytes": 4711}
    handler = {"name": f"{HANDLER}{name}", "version": "1.2.3", "package": package}
    base: dict[str, Any] = {
        "name": name, "uid": f"uid-{name}", "state": "enabled", "sequenceNumber": number, "timeoutSeconds": 1200,
        "settings": '{"a": [1, null, "x"]}', "handler": handler,
    }  # fmt: skip
    return {**base, **fields}


def goal_states() -> list[Any]:
    """Return GoalStates as the API server has them."""
    manager = {"manager": "vmext", "operation": "Apply", "fieldsV1": {"f:spec": {"f:vmUID": {}}}}
    owner = {"kind": "VirtualMachine", "name": "web-1", "uid": "uid-vm"}
    metadata = {
        "annotations": {"a/b": "c"}, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 3,
        "labels": {"app": "x"}, "managedFields": [manager], "name": "web-1", "namespace": "default",
        "ownerReferences": [owner], "resourceVersion": "12", "uid": "uid-goal",
    }  # fmt: skip
    limits = {"cpuMillicores": 500, "memoryBytes": 1 << 28}
    several = {**_entry("two", 2)["handler"], "name": "Test.Many", "multiConfig": True, "installsPackages": False}
    entries = [
        [_entry("one", 1)],
        [
            _entry("one", 3, protectedSettings="TUlJ", thumbprint="AB" * 20),
            _entry("two", 2, handler={**several, "limits": limits}, dependsOn=["one"], suppressFailures=True),
            _entry("three", 4, handler=several, dependsOn=["one", "two"], forceUpdateTag="again"),
            _entry("four", 1, state="uninstall", dependsOn=["five"]),
            _entry("five", 1, state="orphan", dependsOn=["four"]),
        ],
        [],
    ]
    spec = {
        "vmName": "web-1",
        "vmUID": "uid-vm",
        "anchorUID": "uid-anchor",
        "modelHash": "0f" * 16,
        "lastSequenceNumber": 9,
    }
    status = {"observedGeneration": 2, "extensions": {"one": {"uid": "uid-one", "outcome": "Succeeded"}}}
    return [{"metadata": metadata, "spec": {**spec, "extensions": one}, "status": status} for one in entries]


def events() -> list[Any]:
    """Return lines of a watch."""
    failure = {"kind": "Status", "code": 410, "message": "too old resource version"}
    kinds = ("MODIFIED", "MODIFIED", "DELETED")
    found: list[Any] = [{"type": kind, "object": obj} for kind, obj in zip(kinds, goal_states(), strict=True)]
    return [
        *found,
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "99"}}},
        {"type": "ERROR", "object": failure},
    ]


def manifests() -> list[Any]:
    """Return HandlerManifest.json's of packages."""
    full = {
        **COMMANDS, "updateMode": "UpdateWithoutInstall", "continueOnUpdateFailure": True, "reportHeartbeat": "true",
        "supportsMultipleExtensions": False, "rebootAfterInstall": False, "process": {"name": "x"},
    }  # fmt: skip
    described = {"version": 1.0, "name": "Tracer", "publisher": "Test", "handlerManifest": full}
    return [[{"handlerManifest": COMMANDS}], [described], [{"handlerManifest": {**COMMANDS, "updateMode": None}}]]


def statuses() -> list[Any]:
    """Return status files."""
    message = {"lang": "en-US", "message": "Enable succeeded: \n[stdout]\nhé\n"}
    part = {"name": "StdOut", "status": "success", "code": 0, "formattedMessage": message}
    full = {"name": "x", "operation": "Enable", "status": "success", "code": "0", "formattedMessage": message}
    time = "2026-01-02T03:04:05.678Z"
    return [
        [{"version": 1.0, "timestampUTC": time, "status": {**full, "substatus": [part, None, {**part, "code": -3}]}}],
        [{"status": {"status": "transitioning"}, "timestampUTC": "2024-02-29T00:00:00+02:00"}],
        [],
    ]


def heartbeats() -> list[Any]:
    """Return heartbeat files."""
    message = {"lang": "en-US", "message": "all is well"}
    beat = {"status": "Ready", "code": 0, "Message": "fine", "formattedMessage": message}
    return [[{"version": 1.0, "heartbeat": beat}], [{"version": 1.0, "heartbeat": {"status": "notready", "code": "7"}}]]


def records() -> list[Any]:
    """Return records of an extension ``one``."""
    key = {"uid": "uid-one", "state": "enabled", "sequence_number": 1, "version": "1.2.3"}
    enabled = {"uid": "uid-one", "version": "1.2.3", "sequence_number": 1, "boot": "boot-1", "until": 1767225600.5}
    verdict = {
        "outcome": "Failed", "operation": "Install", "reason": "InstallFailed", "message": "it failed",
        "ended": "2026-01-01T00:00:00Z", "retry": True, "failed_version": "",
    }  # fmt: skip
    base = {
        "extension": "one", "handler": HANDLER, "key": key, "package": "a 1 http://x", "began": "2026-01-01T00:00:00Z",
        "verdict": None, "enabled": None, "settings": "d1", "handler_status": None, "busy_until": None,
    }  # fmt: skip
    handler_status = {"status": "Ready", "code": 0, "message": "Plugin enabled"}
    return [{**base, "enabled": enabled, "handler_status": handler_status}, {**base, "verdict": verdict}, base]


def moves() -> list[Any]:
    """Return records of a change of version."""
    enabled = {"uid": "uid-one", "version": "1.2.3", "sequence_number": 1, "boot": "boot-1", "until": 1767225600}
    failure = {"kind": "update", "extension": "one", "reason": "UpdateFailed", "code": 1, "message": "it failed"}
    base = {
        "handler": HANDLER, "source": "1.2.3", "target": "1.3.0", "was": {"one": enabled}, "failure": None,
        "done": {"disable one": "0", "update": "1"}, "lost": {"back disable one": "[ExtensionOperationError]"},
    }  # fmt: skip
    return [base, {**base, "failure": failure}, {**base, "was": {}, "done": {}, "lost": {}}]


def commands() -> list[Any]:
    """Return step.json files."""
    key = {"uid": "uid-one", "state": "enabled", "sequence_number": 1, "version": "1.2.3"}
    purpose = {
        "kind": "enable", "extension": "one", "handler": HANDLER, "version": "1.2.3", "key": key, "source": "1.0.0",
        "variables": {"AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE": "0"}, "back": False, "until": 1767225600.5,
        "settings": "d1",
    }  # fmt: skip
    return [
        {
            "purpose": purpose,
            "attempts": 1,
            "boot": "boot-1",
            "line": "/bin/true -x",
            "deadline": 1234.5,
            "began": 1174.5,
        }
    ]


def policies() -> list[Any]:
    """Return policies of a machine's owner."""
    hosts = ["packages.example.com", "*.example.org", "192.0.2.1:8080", "[2001:db8::1]:443", "2001:db8::2"]
    rules = {"handlers": {"allow": [HANDLER], "deny": []}, "publishers": {"allow": ["Test"], "deny": ["Other"]}}
    signed = {"version": 1, "signatures": {"require": True}}
    rest = [{"version": 1, "handlers": {}}, signed]
    return [{"version": 1}, {"version": 1, **rules, "downloads": {"hosts": hosts}}, *rest]


def goal_states_for_the_operator() -> list[Any]:
    """Return GoalStates whose status a guest wrote."""
    said = {
        "status": "success", "operation": "Enable", "code": 0, "message": "done", "time": "2026-01-01T12:00:00Z",
        "substatuses": [{"name": "StdOut", "status": "error", "code": 1, "message": "hé"}],
    }  # fmt: skip
    answer = {
        "uid": "uid-one", "state": "enabled", "sequenceNumber": 1, "version": "1.2.3", "outcome": "Succeeded",
        "operation": "Enable", "reason": "ExecutionFailed", "message": "it failed", "installedVersion": "1.2.3",
        "startTime": "2026-01-01T12:00:00Z", "endTime": "2026-01-01T12:00:00Z", "notes": ["a note"],
        "handlerStatus": {"status": "Ready", "code": 0, "message": "Plugin enabled"}, "extensionStatus": said,
        "failedVersion": "1.3.0",
    }  # fmt: skip
    guest = {"os": "debian", "version": "12", "kernel": "6.1", "arch": "x86_64", "hostname": "web-1", "python": "3.11"}
    metadata = {"resourceVersion": "7", "finalizers": []}
    made = []
    for goal, outcome in zip(goal_states(), ("Succeeded", "Failed", "Running"), strict=True):
        answers = {"one": {**answer, "outcome": outcome}}
        status = {
            "observedGeneration": 3, "highestSequenceNumber": 4, "agentVersion": "0.1.0", "guest": guest,
            "extensions": answers,
        }  # fmt: skip
        made.append({**goal, "metadata": {**goal["metadata"], **metadata}, "status": status})
    return made


def rendered(trees: list[Any]) -> list[bytes]:
    """Return them as files."""
    return [json.dumps(tree).encode() for tree in trees]

"""Tiny extensions for benchmarks of the agent: handlers of a few lines, so that what is measured is the agent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from guests.agent_machine import Machine, manifest, zipped

VERSION = "1.0.0"
#: Long enough for fifty of them one after the other on a busy machine.
PATIENCE_S = 120.0
#: Bash, for its clock: the first act at enable is to write down the time to the microsecond, and starts no process.
_SCRIPT = """#!/bin/bash
[ "$1" = enable ] || exit 0
echo "$EPOCHREALTIME" > "started.$ConfigSequenceNumber"
echo '{status}' > status/.new
mv status/.new "status/$ConfigSequenceNumber.status"
"""


class TinyExtensions:
    """A machine whose goal is some number of tiny extensions, each of a handler of its own."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        script = _SCRIPT.replace("{status}", status("success")).encode()
        self._package = machine.package(zipped({"HandlerManifest.json": manifest(), "handler": script}), "tiny.zip")

    def want(self, names: Iterable[str]) -> None:
        """Ask for these extensions and no others, in one goal, each with a new sequence number."""
        self.machine.entries = {name: self._entry(name) for name in names}
        self.machine.apply()

    def enable_again(self, name: str) -> int:
        """Ask for an enable of one that is installed; return its new sequence number."""
        self.machine.entries[name] = self._entry(name)
        self.machine.apply()
        return self.machine.last

    def remove(self) -> None:
        """Uninstall all of them, and take them out of the goal when they are gone."""
        for entry in self.machine.entries.values():
            entry["state"] = "uninstall"
        self.machine.apply()
        self.wait("Removed")
        self.machine.entries = {}
        self.machine.apply()
        self._wait(lambda reported: not reported)

    def wait(self, outcome: str) -> None:
        """Wait until every extension of the goal has this outcome for what is asked of it now."""
        wanted = {name: (one["state"], one["sequenceNumber"], outcome) for name, one in self.machine.entries.items()}

        def all_of_them(reported: Mapping[str, Any]) -> bool:
            return wanted == {
                name: (one["state"], one["sequenceNumber"], one.get("outcome")) for name, one in reported.items()
            }

        self._wait(all_of_them)

    def path(self, name: str, file: str) -> Path:
        """Return where the host reaches a file in the folder of an extension's handler."""
        return self.machine.guest.path(f"/var/lib/waagent/{_handler(name)}-{VERSION}/{file}")

    def _wait(self, test: Callable[[Mapping[str, Any]], bool]) -> None:
        def check(obj: Mapping[str, Any] | None) -> bool:
            return test(((obj or {}).get("status") or {}).get("extensions", {}))

        self.machine.api.wait("GoalState", self.machine.name, check, timeout_s=PATIENCE_S)

    def _entry(self, name: str) -> dict[str, Any]:
        self.machine.last += 1
        return {
            "name": name,
            "uid": f"uid-{name}",
            "state": "enabled",
            "sequenceNumber": self.machine.last,
            "settings": json.dumps({}),
            "timeoutSeconds": 60,
            "handler": {"name": _handler(name), "version": VERSION, "package": self._package},
        }


def status(word: str) -> str:
    """Return a status file that says ``success``, ``error`` or ``transitioning``."""
    said = {"name": "tiny", "operation": "Enable", "status": word, "code": 0}
    message = {"formattedMessage": {"lang": "en-US", "message": "a tiny extension"}}
    return json.dumps([{"version": 1.0, "timestampUTC": "2026-01-01T00:00:00Z", "status": said | message}])


def _handler(name: str) -> str:
    return f"Bench.{name.capitalize()}"

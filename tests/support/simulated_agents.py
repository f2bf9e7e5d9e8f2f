"""Machines whose agents do at once, and with success, whatever their goals say; and that remember what they were told.

They look at all goals of a namespace a few times a second, past every proxy: what goes wrong between the operator and
the API server is the operator's affair. ``benchmarks.fleet`` has agents that cost what real ones cost; these last.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from development.api import Api, ApiError, Object
from support import objects


class Agents:
    """The agents of all machines in a namespace, on a thread of their own.

    Args:
        api: the API server, for them alone.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._highest: dict[str, int] = {}
        #: UIDs of extensions that some machine was told to uninstall, or to leave to itself.
        self.took_away: set[str] = set()
        #: What was wrong with what they were told.
        self.complaints: list[str] = []

    def work(self, ended: threading.Event) -> None:
        """Do what the goals say until it ends, however often the API server is away."""
        while not ended.wait(0.2):
            with contextlib.suppress(ApiError, requests.RequestException):
                for goal in self._api.request("GET", self._api.path("GoalState"))["items"]:
                    self._carry_out(goal)

    def _carry_out(self, goal: Object) -> None:
        name, reported = goal["spec"]["vmName"], (goal.get("status") or {}).get("extensions") or {}
        answers: dict[str, Any] = {}
        entries = {entry["name"]: entry for entry in goal["spec"].get("extensions") or ()}
        for entry in entries.values():
            wanted = objects.answer(entry, "Succeeded" if entry["state"] == "enabled" else "Removed")
            known = reported.get(entry["name"]) or {}
            if any(known.get(field) != value for field, value in wanted.items()):
                self._take(name, entry, known)
                answers[entry["name"]] = wanted | {"installedVersion": entry["handler"]["version"]}
        answers |= {gone: None for gone in reported if gone not in entries}
        if answers or goal.get("status", {}).get("observedGeneration") != goal["metadata"]["generation"]:
            facts = {"agentVersion": "0.1.0", "observedGeneration": goal["metadata"]["generation"]}
            highest = {"highestSequenceNumber": self._highest.get(name, 0)}
            self._api.patch_status("GoalState", name, facts | highest | {"extensions": answers})

    def _take(self, name: str, entry: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        number = entry["sequenceNumber"]
        if known.get("uid") == entry["uid"] and known["sequenceNumber"] > number:
            self.complaints.append(f"{name}: {entry['name']} went back to {number} from {known['sequenceNumber']}")
        if entry["state"] != "enabled":
            self.took_away.add(entry["uid"])
        self._highest[name] = max(self._highest.get(name, 0), number)


@contextlib.contextmanager
def running(api: Api) -> Iterator[Agents]:
    """Let agents work until the block ends."""
    agents, ended = Agents(api), threading.Event()
    thread = threading.Thread(target=agents.work, args=(ended,))
    thread.start()
    try:
        yield agents
    finally:
        ended.set()
        thread.join()

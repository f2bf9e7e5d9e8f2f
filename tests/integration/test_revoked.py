"""A right that has ended: what is declared after it is never seen by who had it, a watch that never ends included."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import control_plane
from development import credentials
from development.api import Api, Object, condition
from development.house import extension
from development.operator_process import Operator
from integration.test_identity import enrol, hold, opened
from support import declaring, tokens
from support.waiting import eventually
from vmext_operator.api import goal_state

NAME = "web-1"
MERGE = "application/merge-patch+json"


@pytest.fixture
def operator(cluster: control_plane.Cluster, tmp_path: Path) -> Iterator[Operator]:
    made = Operator(credentials.of_operator(cluster, tmp_path), tmp_path / "operator.log")
    made.start()
    yield made
    made.stop()


class Thief:
    """Who has a machine's token, and opened a watch with it while it was good.

    It asks the server to keep the watch open for a day, and never lets go of the connection.
    """

    def __init__(self, cluster: control_plane.Cluster, token: str, goal: str) -> None:
        self.token, self.goal = token, goal
        collection, _, name = goal.rpartition("/")
        where = urlsplit(cluster.server)
        tls = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._connection = HTTPSConnection(str(where.hostname), where.port, context=tls, timeout=120)
        target = f"{collection}?watch=1&fieldSelector=metadata.name%3D{name}&timeoutSeconds=86400"
        self._connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self.lines: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self._answer.readline():
                self.lines.append(line)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        found = [json.loads(line) for line in self.lines]
        return [(one["type"], one["object"]) for one in found]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.sock.close()


def declare(api: Api, mark: str) -> None:
    """Declare an extension whose settings have that mark in them."""
    api.apply(extension("one", NAME, publisher="Test", type="Script", typeHandlerVersion="1", settings={"mark": mark}))


def told(api: Api, mark: str) -> Object:
    """Wait until a goal of the machine has that mark in it; return that goal."""

    def has(goal: Object | None) -> bool:
        return mark in json.dumps((goal or {}).get("spec"))

    found = api.wait("GoalState", NAME, has)
    assert found is not None
    return found


@pytest.fixture
def thief(operator: Operator, cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Thief]:
    api.apply(declaring.image("Script", "1.0.0"))
    enrol(api)
    hold(api, "uid-of-what-it-was-enrolled-with")
    declare(api, "before")
    goal = told(api, "before")
    token = opened(tmp_path, goal["spec"]["credential"]["token"])
    made = Thief(cluster, token, api.path("GoalState", NAME))
    eventually(lambda: made.lines)
    yield made
    made.close()


def is_shut_out(thief: Thief, api: Api, mark: str) -> None:
    """Check that a thief never sees what is declared from now on, however the machine goes on."""
    declare(api, mark)
    goal = told(api, mark)
    assert goal["metadata"]["name"] != thief.events[0][1]["metadata"]["name"]
    eventually(lambda: thief.events[-1][0] == "DELETED")
    assert not any(mark.encode() in line for line in thief.lines)


def revoke(api: Api) -> None:
    """Do what ``kubectl vmext revoke`` does first of all for a goal state: mark it."""
    mark = {"metadata": {"annotations": {goal_state.REVOKED: "now"}}}
    api.request("PATCH", api.path("GoalState", NAME), mark, MERGE)


def test_what_is_declared_after_a_revoke_is_not_seen_by_a_watch_that_was_open(
    thief: Thief, cluster: control_plane.Cluster, api: Api
) -> None:
    revoke(api)
    # In the same moment: nobody has had time to do anything about it.
    is_shut_out(thief, api, "in-the-first-moment")
    eventually(lambda: tokens.answer(cluster, thief.token, thief.goal) == 401, timeout_s=30)
    is_shut_out(thief, api, "later")
    # Another machine is enrolled in its place, and the watch is still open.
    enrol(api, 2)
    is_shut_out(thief, api, "for-the-next-machine")


def test_the_sequence_numbers_and_versions_of_a_revoked_machine_are_carried_on(thief: Thief, api: Api) -> None:
    before = told(api, "before")
    revoke(api)
    after = api.wait("GoalState", NAME, lambda goal: (goal or before)["metadata"]["uid"] != before["metadata"]["uid"])
    assert after is not None
    assert after["spec"]["lastSequenceNumber"] == before["spec"]["lastSequenceNumber"]
    assert after["spec"]["extensions"] == before["spec"]["extensions"], (
        "nothing runs again where the machine comes back"
    )
    assert "credential" not in after["spec"]
    declare(api, "changed")
    assert told(api, "changed")["spec"]["lastSequenceNumber"] == before["spec"]["lastSequenceNumber"] + 1


def test_an_extension_of_a_machine_that_is_shut_out_is_neither_ready_nor_failed(thief: Thief, api: Api) -> None:
    declaring.report(api, outcome="Succeeded", installed="1.0.0")
    api.wait_ready("one")
    revoke(api)
    declare(api, "changed")
    found = declaring.wait_reason(api, "one", "Reconciling", "NotEnrolled")
    ready = condition(found, "Ready")
    assert ready is not None
    assert ready["status"] == "Unknown"
    assert found["status"]["typeHandlerVersion"] == "1.0.0", "what was known of it is still known"
    machine = api.wait("VirtualMachine", NAME, lambda vm: (condition(vm, "Enrolled") or {}).get("status") == "False")
    assert condition(machine, "Ready")["reason"] == "NotEnrolled"  # type: ignore[index]


def test_one_that_is_deleted_while_its_machine_is_shut_out_is_orphaned_when_its_time_is_over(
    thief: Thief, api: Api
) -> None:
    declaring.report(api, outcome="Succeeded", installed="1.0.0")
    api.wait_ready("one")
    revoke(api)
    declaring.wait_reason(api, "one", "Reconciling", "NotEnrolled")
    api.apply(
        extension(
            "one", NAME, publisher="Test", type="Script", typeHandlerVersion="1", deletionTimeout="10s",
            settings={"mark": "before"},
        )
    )  # fmt: skip
    api.delete("VirtualMachineExtension", "one")
    assert api.get("VirtualMachineExtension", "one") is not None
    api.wait_gone("VirtualMachineExtension", "one", timeout_s=40)
    listed = api.request("GET", f"/api/v1/namespaces/{api.namespace}/events")["items"]
    (event,) = (one for one in listed if one["reason"] in ("Orphaned", "Removed"))
    assert (event["reason"], event["type"]) == ("Orphaned", "Warning")
    assert "no machine is enrolled as it" in event["message"]


def test_a_machine_that_is_deleted_and_made_again_is_another_one(thief: Thief, api: Api) -> None:
    api.delete("VirtualMachine", NAME)
    api.wait_gone("VirtualMachine", NAME, timeout_s=60)
    enrol(api, 2)
    is_shut_out(thief, api, "for-the-next-machine")


def test_an_operator_that_was_away_tells_nothing_to_who_was_shut_out_meanwhile(
    operator: Operator, thief: Thief, api: Api
) -> None:
    operator.stop()
    revoke(api)
    declare(api, "while-it-was-away")
    operator.start()
    told(api, "while-it-was-away")
    eventually(lambda: thief.events[-1][0] == "DELETED")
    assert not any(b"while-it-was-away" in line for line in thief.lines)


def test_a_goal_state_by_the_anchor_before_is_not_made_anew(thief: Thief, operator: Operator, api: Api) -> None:
    # As where somebody deletes the anchor and the goal state by hand, without the plugin.
    before = thief.events[0][1]["metadata"]["name"]
    api.request("DELETE", f"/api/v1/namespaces/{api.namespace}/secrets/vmext-vm-{NAME}")
    api.delete("GoalState", NAME)
    is_shut_out(thief, api, "after-both-are-gone")
    assert before not in [one["metadata"]["name"] for one in api.request("GET", api.path("GoalState"))["items"]]

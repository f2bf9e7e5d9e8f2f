"""What an idle extension costs: a handler that writes the same again and again is no news."""

from __future__ import annotations

from pathlib import Path

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import Machine, eventually

#: Writes the same status anew all the time, with nothing new in it but the time.
REWRITES = "report success same; (while sleep 0.1; do report success same; echo >> /var/log/rewrites; done) &"


def rewrites(machine: Machine) -> int:
    return len(machine.guest.read("/var/log/rewrites").splitlines())


def written_at(machine: Machine) -> str:
    return str(machine.status()["extensionStatus"]["time"])


def test_a_status_that_is_written_anew_with_another_time_costs_no_write(
    cluster: control_plane.Cluster, api: Api, tmp_path: Path
) -> None:
    with agent_machine.running(cluster, api, tmp_path, agent={"reportEverySeconds": 0.2}) as machine:
        machine.does("enable", REWRITES)
        machine.want()
        machine.ends("Succeeded")
        eventually(lambda: rewrites(machine) >= 5)
        before, first = machine.state()["metadata"]["resourceVersion"], rewrites(machine)

        # Some seconds of it: the time in the file has one of a second.
        eventually(lambda: rewrites(machine) >= first + 40)

        assert machine.state()["metadata"]["resourceVersion"] == before
        # With something else to report it is the newest time that comes with it.
        earlier = written_at(machine)
        machine.want("other", handler="Test.Other")
        machine.ends("Succeeded", "other")
        assert written_at(machine) > earlier


def test_a_time_is_reported_once_in_a_while(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> None:
    with agent_machine.running(cluster, api, tmp_path, agent={"reportTimesSeconds": 2}) as machine:
        machine.does("enable", REWRITES)
        machine.want()
        ended = machine.ends("Succeeded")

        eventually(lambda: written_at(machine) > ended["extensionStatus"]["time"])

        assert machine.status()["endTime"] == ended["endTime"]

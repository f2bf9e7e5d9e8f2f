"""What a handler was doing in the background when its machine went down, and does not take up again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import Machine, eventually

#: A number that was seen runs nothing.
SKIP = (
    '[ ! -e mrseq ] || [ "$ConfigSequenceNumber" -gt "$(cat mrseq)" ] || exit 0; echo "$ConfigSequenceNumber" > mrseq'
)
#: The work is left to a child, which never ends it.
FORKS = f"{SKIP}\nreport transitioning 'enable in progress'\nsleep 1000 &\n"


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path) as running:
        yield running


def begun(machine: Machine, **options: Any) -> None:
    """Have an extension that is at work in the background, on a machine that goes down then."""
    machine.want(timeout_s=600, **options)
    machine.wait(lambda one: one.get("extensionStatus", {}).get("status") == "transitioning")
    machine.guest.run(["sync"])
    machine.guest.reboot()


def enables(machine: Machine) -> int:
    return sum(" enable " in line for line in machine.order())


def test_work_that_a_reboot_has_ended_is_reported_at_once(machine: Machine) -> None:
    machine.does("enable", FORKS)
    begun(machine)

    status = machine.ends("Failed")

    assert status["reason"] == "NotResumed"
    assert "forceUpdateTag" in status["message"]
    assert status["extensionStatus"]["status"] == "transitioning"
    # The next agent knows it too, and reports nothing else meanwhile.
    before = machine.state()["metadata"]["resourceVersion"]
    machine.kill_worker()
    machine.want("other", handler="Test.Other", timeout_s=600)
    machine.wait(lambda one: one["outcome"] == "Running", "other")
    assert machine.ends("Failed")["endTime"] == status["endTime"]
    assert machine.state()["metadata"]["resourceVersion"] != before
    # Another boot changes nothing, another number runs it again.
    machine.does("enable", f"{SKIP}\nreport success done\n")
    machine.want(timeout_s=600)
    machine.ends("Succeeded")
    assert machine.order()[-1] == "1.0.0 enable 3"


def test_an_extension_that_wrote_nothing_at_all_is_reported_too(machine: Machine) -> None:
    machine.does("enable", f"{SKIP}\nsleep 1000 &\n")
    machine.want(timeout_s=600)
    eventually(lambda: enables(machine) == 1 and machine.status().get("handlerStatus", {}).get("status") == "Ready")
    machine.guest.run(["sync"])
    machine.guest.reboot()

    assert machine.ends("Failed")["reason"] == "NotResumed"


def test_work_that_begins_anew_in_the_background_is_not_given_up(machine: Machine) -> None:
    child = "(while [ ! -e /var/gate ]; do sleep 0.1; done; report success done) &"
    first = "[ -e /var/once ] || report transitioning 'enable in progress'; touch /var/once"
    machine.does("enable", f"{first}\n{child}\n")
    begun(machine)
    eventually(lambda: enables(machine) == 2)

    # Longer than it takes to report what nothing works on.
    until = time.monotonic() + 5.0
    eventually(lambda: machine.status()["outcome"] != "Running" or time.monotonic() > until)

    assert machine.status()["outcome"] == "Running"
    machine.open_gate()
    machine.ends("Succeeded")


def test_a_word_that_comes_later_counts(machine: Machine) -> None:
    machine.does("enable", FORKS)
    begun(machine)
    machine.ends("Failed")

    document = [{"status": {"status": "success", "formattedMessage": {"lang": "en", "message": "by another way"}}}]
    machine.guest.write("/var/lib/waagent/Test.Tracer-1.0.0/status/1.status", json.dumps(document).encode(), mode=0o600)

    assert machine.ends("Succeeded")["extensionStatus"]["message"] == "by another way"


def test_what_depends_on_it_is_enabled_again_all_the_same(machine: Machine) -> None:
    machine.does("enable", "report success ok")
    machine.want()
    machine.want("after", handler="Test.After")
    machine.entries["after"]["dependsOn"] = ["one"]
    machine.apply()
    machine.ends("Succeeded", "after")
    machine.does("enable", f'[ "$ConfigSequenceNumber" != 2 ] || {{ report success again; exit 0; }}\n{FORKS}')
    before = enables(machine)

    begun(machine)

    machine.ends("Failed")
    # Both in the new boot: its number is skipped, the dependant's is not.
    eventually(lambda: enables(machine) == before + 3)
    machine.ends("Succeeded", "after")

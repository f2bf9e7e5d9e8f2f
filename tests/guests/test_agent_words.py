"""A status file counts from the start of its enable on: what other commands wrote under the number is no answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import Machine, eventually, manifest, zipped

SOURCE = Path(__file__).resolve().parents[1] / "handlers" / "forking" / "handler"
HANDLER = "Test.Forking"
FOLDER = f"/var/lib/waagent/{HANDLER}"


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, agent={"reportDelaySeconds": 0}) as running:
        yield running


def want(machine: Machine, version: str = "1.0.0", **options: Any) -> None:
    """Want an extension of the forking handler."""
    content = zipped({"HandlerManifest.json": manifest(), "handler": SOURCE.read_bytes()})
    package = machine.package(content, f"forking-{version}.zip")
    machine.want(version=version, handler=HANDLER, package=package, **options)


def want_several(machine: Machine, version: str, **numbers: int) -> None:
    """Want extensions of a handler that takes several, each with its number, by one goal."""
    fields = manifest(supportsMultipleExtensions=True)
    content = zipped({"HandlerManifest.json": fields, "handler": SOURCE.read_bytes()})
    handler = {"name": HANDLER, "version": version, "package": machine.package(content, f"several-{version}.zip")}
    for name, number in numbers.items():
        machine.entries[name] = {
            "name": name,
            "uid": f"uid-{name}",
            "state": "enabled",
            "sequenceNumber": number,
            "settings": "{}",
            "timeoutSeconds": 60,
            "handler": {**handler, "multiConfig": True},
        }
    machine.last = max(machine.last, *numbers.values())
    machine.apply()


def noted(machine: Machine) -> list[str]:
    """Return ``<version> <what> <number>`` of all that has happened."""
    try:
        return machine.guest.read("/var/log/forking").decode().splitlines()
    except FileNotFoundError:
        return []


def message(status: agent_machine.Status) -> str:
    return str(status["extensionStatus"]["message"])


def test_an_update_with_new_settings_is_ready_when_its_script_has_ended(machine: Machine) -> None:
    versions = [f"1.{minor}.0" for minor in range(6)]
    for number, version in enumerate(versions, 1):
        want(machine, version, settings={"number": number})

        status = machine.ends("Succeeded")

        assert noted(machine)[-1] == f"{version} ended {number}"
        assert message(status) == f"ran {number} by {version}"
    log = noted(machine)
    assert [line for line in log if "update" in line or "disable" in line], "no other command wrote a status"


def test_a_dependant_begins_when_the_script_has_ended(machine: Machine) -> None:
    want(machine)
    machine.ends("Succeeded")
    machine.want("after", handler="Test.After")
    machine.ends("Succeeded", "after")
    machine.guest.write("/etc/forking/1.1.0", b"sleep 2", mode=0o644)
    machine.does("enable", "cp /var/log/forking /var/log/seen; report success after")

    # Both run again by one goal, the second after the first.
    after = {**machine.entries["after"], "sequenceNumber": 4, "dependsOn": ["one"]}
    machine.entries["after"], machine.last = after, 4
    want(machine, "1.1.0", settings={"changed": True})
    machine.ends("Succeeded", "after")

    assert "1.1.0 ended 5" in machine.guest.read("/var/log/seen").decode().splitlines()


def test_what_was_told_before_a_change_of_version_alone_counts_on(machine: Machine) -> None:
    machine.guest.write("/etc/forking/1.0.0", b"report error 'the script failed'; exit 0", mode=0o644)
    want(machine)
    machine.ends("Failed")

    want(machine, "1.1.0", same_number=True)
    status = machine.ends("Failed")

    # mrseq has the number: the new version ran nothing, and neither disable's word nor update's is the script's.
    assert (status["reason"], message(status)) == ("ExecutionFailed", "the script failed")
    assert noted(machine)[-1] == "1.1.0 enable 1"


def test_an_old_version_that_is_back_has_its_old_word_again(machine: Machine) -> None:
    machine.guest.write("/etc/forking/1.0.0", b"report error 'the script failed'; exit 0", mode=0o644)
    want(machine)
    machine.ends("Failed")
    spoilt = SOURCE.read_text().replace('note "$command"\n', 'note "$command"\n[ "$command" != install ] || exit 7\n')
    bad = zipped({"HandlerManifest.json": manifest(), "handler": spoilt.encode()})
    machine.want(version="1.1.0", handler=HANDLER, package=machine.package(bad, "bad.zip"), same_number=True)
    machine.wait(lambda one: one.get("reason") == "InstallFailed")
    assert noted(machine)[-2:] == ["1.0.0 install 1", "1.0.0 enable 1"]

    want(machine, same_number=True)
    status = machine.ends("Failed")

    assert (status["reason"], message(status)) == ("ExecutionFailed", "the script failed")
    assert noted(machine)[-1] == "1.0.0 enable 1"


def test_an_enable_that_was_cut_off_keeps_what_it_had_written(machine: Machine) -> None:
    machine.guest.write("/etc/forking/1.0.0", b"report success early; sleep 1000", mode=0o644)
    want(machine)
    machine.ends("Succeeded")

    machine.kill_agent()
    machine.guest.reboot()
    eventually(lambda: noted(machine).count("1.0.0 enable 1") == 2)

    machine.want("other", handler="Test.Other")
    machine.ends("Succeeded", "other")
    assert message(machine.ends("Succeeded")) == "early"


def test_extensions_of_one_handler_have_a_word_each(machine: Machine) -> None:
    want_several(machine, "1.0.0", one=1, two=2)
    for name in ("one", "two"):
        machine.ends("Succeeded", name)

    want_several(machine, "1.1.0", one=3, two=2)

    assert message(machine.ends("Succeeded", "one")) == "ran 3 by 1.1.0"
    # Of this one nothing is new, and nothing ran.
    assert message(machine.ends("Succeeded", "two")) == "ran 2 by 1.0.0"
    assert "1.1.0 began 2" not in noted(machine)


def test_an_extension_that_answers_only_before_its_enable_is_ended_at_its_timeout(machine: Machine) -> None:
    silent = SOURCE.read_text().replace('echo "$number" > mrseq\n', "exit 0\n")
    content = zipped({"HandlerManifest.json": manifest(), "handler": silent.encode()})
    machine.want(handler=HANDLER, package=machine.package(content, "silent.zip"), timeout_s=2)

    status = machine.ends("Failed")

    assert status["reason"] == "TimedOut"
    assert not machine.guest.exists(f"{FOLDER}-1.0.0/status/1.status")

"""Protected settings that a machine can't read: no handler is run with them, and what runs is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import control_plane
from development.api import Api
from development.house import agent_service
from guests import agent_machine
from guests.agent_machine import Machine
from guests.enrolled_machine import bundle, run, sealed, thumbprint
from support.certificates import certificate, rsa_key
from vmext_operator.cluster import envelopes

CANARY = "correct-horse-battery-staple"


@pytest.fixture
def enrolled(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, start=False) as machine:
        machine.guest.run(["rm", "-r", "/etc/vmext"])
        assert run(machine, "enroll", given=bundle(machine))[0] == 0
        machine.guest.start_service(agent_service())
        yield machine


def bad(machine: Machine, kind: str) -> tuple[str, str]:
    another = certificate("another-uid", rsa_key(2))
    if kind == "another machine's":
        return envelopes.seal(b"{}", another), thumbprint(machine)
    if kind == "wrong thumbprint":
        return sealed(machine, b"{}")[0], "AB" * 20
    if kind == "no object":
        return sealed(machine, f'["{CANARY}"]'.encode())
    return "AAAA", thumbprint(machine)


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    [
        ("another machine's", "ProtectedSettingsInvalid", "can't be opened with the key of"),
        ("wrong thumbprint", "WrongCertificate", "this machine has no key of it"),
        ("no object", "ProtectedSettingsInvalid", "are no JSON object"),
        ("no envelope", "ProtectedSettingsInvalid", "can't be opened with the key of"),
    ],
)
def test_nothing_is_run_with_what_can_not_be_read_and_it_recovers(
    enrolled: Machine, kind: str, reason: str, words: str
) -> None:
    enrolled.want(protected=bad(enrolled, kind))

    failed = enrolled.ends("Failed")
    assert failed["reason"] == reason
    assert words in failed["message"]
    assert enrolled.order() == []
    assert CANARY not in str(enrolled.state()) + enrolled.log()

    enrolled.want(protected=sealed(enrolled, b"{}"))
    enrolled.ends("Succeeded")
    assert enrolled.order() == ["1.0.0 install 2", "1.0.0 enable 2"]


def test_what_runs_is_left_alone_and_comes_back_at_a_boot(enrolled: Machine) -> None:
    good = sealed(enrolled, b'{"good": 1}')
    enrolled.want(protected=good)
    enrolled.ends("Succeeded")
    path = f"/var/lib/waagent/Test.Tracer-1.0.0/config/{enrolled.last}.settings"
    before = enrolled.guest.read(path)

    # Whoever may write the goal puts another machine's ciphertext there, under the same number.
    enrolled.want(protected=bad(enrolled, "another machine's"), same_number=True)

    enrolled.wait(lambda one: one["outcome"] == "Failed" and one["reason"] == "ProtectedSettingsInvalid")
    assert enrolled.guest.read(path) == before
    enrolled.guest.reboot()
    agent_machine.eventually(lambda: enrolled.order()[-1:] == ["1.0.0 enable 1"] and len(enrolled.order()) == 3)
    assert enrolled.guest.read(path) == before
    enrolled.want(protected=good, same_number=True)
    enrolled.ends("Succeeded")
    enrolled.remove()
    enrolled.ends("Removed")


def test_what_can_not_be_read_is_no_hindrance_to_a_removal(enrolled: Machine) -> None:
    enrolled.want(protected=sealed(enrolled, b"{}"))
    enrolled.ends("Succeeded")
    enrolled.want(protected=bad(enrolled, "no envelope"))
    enrolled.ends("Failed")

    enrolled.remove()

    enrolled.ends("Removed")
    assert enrolled.order()[-2:] == ["1.0.0 disable 2", "1.0.0 uninstall 2"]

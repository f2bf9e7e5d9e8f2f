"""A machine whose owner wants packages signed: by keys that are on the machine, whatever the cluster says."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development.api import Api
from guests import agent_machine
from guests.agent_machine import HANDLER, Machine, tracer_zip
from support.certificates import public_pem, publisher_key
from vmext_operator.core import signature

KEY_FILE = "/etc/vmext/keys/Test/2026.pem"


@pytest.fixture
def machine(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path) as running:
        yield running


def package(machine: Machine, by: int | None, version: str = "1.0.0") -> dict[str, Any]:
    """Serve the tracer's package, signed by a key; None for unsigned."""
    made = machine.package(tracer_zip())
    if by is None:
        return made
    publisher, _, kind = HANDLER.rpartition(".")
    signed = signature.text(publisher, kind, version, made["sha256"], made["sizeBytes"])
    return made | {"signature": base64.b64encode(publisher_key(by).sign(signed)).decode()}


def trust(machine: Machine, number: int) -> None:
    machine.guest.write(KEY_FILE, public_pem(publisher_key(number)).encode(), mode=0o644)


def require(machine: Machine) -> None:
    policy = {"version": 1, "signatures": {"require": True}}
    machine.guest.write("/etc/vmext/policy.json", json.dumps(policy).encode(), mode=0o644)


def test_what_is_not_signed_does_not_run_where_that_is_required_and_does_once_it_is(machine: Machine) -> None:
    require(machine)
    machine.want(package=package(machine, None))

    failed = machine.ends("Failed")
    assert failed["reason"] == "SignatureInvalid"
    assert "requires signatures, and the catalog has none of Test.Tracer 1.0.0" in failed["message"]
    assert machine.order() == []
    # The catalog's entry is signed: the goal brings the signature, under the same number.
    machine.want(package=package(machine, 1), same_number=True)
    lacks = machine.wait(lambda one: "there is no key of" in one["message"])
    assert lacks["reason"] == "SignatureInvalid"
    # The owner puts the publisher's key there.
    trust(machine, 1)
    machine.ends("Succeeded")
    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1"]


def test_what_somebody_else_signed_never_runs_where_its_publishers_key_is_known(machine: Machine) -> None:
    trust(machine, 1)
    machine.want(package=package(machine, 2))

    failed = machine.ends("Failed")
    assert failed["reason"] == "SignatureInvalid"
    assert "is not good by the keys in /etc/vmext/keys/test/" in failed["message"]
    machine.want(package=package(machine, 1, version="9.9.9"), same_number=True)
    machine.wait(lambda one: one["outcome"] == "Failed")
    assert machine.order() == []
    trust(machine, 2)
    machine.want(package=package(machine, 2), same_number=True)
    machine.ends("Succeeded")


def test_what_runs_is_not_run_again_for_a_signature(machine: Machine) -> None:
    machine.want(package=package(machine, None))
    first = machine.ends("Succeeded")
    trust(machine, 1)
    require(machine)

    machine.want(package=package(machine, 1), same_number=True)
    machine.want("two", handler="Test.Other", package=machine.package(tracer_zip(), "two.zip"))

    assert machine.ends("Failed", "two")["reason"] == "SignatureInvalid"
    assert machine.status() == first
    assert machine.order() == ["1.0.0 install 1", "1.0.0 enable 1"]

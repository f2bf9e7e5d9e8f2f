"""A machine that is enrolled: its key, its certificate, and the tokens that it takes into use."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import control_plane
from development import credentials
from development.api import Api
from development.house import agent_service
from guests import agent_machine
from guests.agent_machine import Machine, eventually
from guests.enrolled_machine import ANCHOR, IDENTITY, UID, bundle, mode, patch_goal, pem, run, sealed
from support import tokens
from vmext_operator.core import certificate


@pytest.fixture
def bare(cluster: control_plane.Cluster, api: Api, tmp_path: Path) -> Iterator[Machine]:
    with agent_machine.running(cluster, api, tmp_path, start=False) as running:
        running.guest.run(["rm", "-r", "/etc/vmext"])
        yield running


def test_enrolling_makes_a_key_that_root_alone_reads_and_proposes_its_certificate(bare: Machine) -> None:
    code, said, complained = run(bare, "enroll", given=bundle(bare))

    assert (code, complained) == (0, "")
    found = certificate.check(pem(bare), UID)
    assert found.thumbprint in said
    for path in (f"{IDENTITY}/machine.pem", f"/var/lib/waagent/{found.thumbprint}.prv", "/etc/vmext/token"):
        assert mode(bare, path) == 0o600, path
    assert mode(bare, IDENTITY) == 0o700
    assert bare.guest.read(f"/var/lib/waagent/{found.thumbprint}.crt").decode() == pem(bare)
    bare.apply()
    bare.guest.start_service(agent_service())
    status = bare.api.wait("GoalState", bare.name, lambda goal: "credential" in ((goal or {}).get("status") or {}))
    assert status is not None
    assert status["status"]["certificateRequest"] == {"anchorUID": ANCHOR, "certificate": pem(bare)}
    code, said, _ = run(bare, "status")
    assert code == 0
    assert found.thumbprint in said
    assert "good for" in said
    assert "runs (pid" in said


def test_enrolling_again_keeps_the_key_and_what_people_have_configured(bare: Machine) -> None:
    run(bare, "enroll", given=bundle(bare))
    before, path = pem(bare), "/etc/vmext/agent.json"
    document = json.loads(bare.guest.read(path)) | {"packageLockSeconds": 5}
    bare.guest.write(path, json.dumps(document).encode())

    code, _, _ = run(bare, "enroll", given=bundle(bare, anchorUID="uid-other"))

    assert code == 0
    assert pem(bare) == before
    after = json.loads(bare.guest.read(path))
    assert (after["anchorUID"], after["packageLockSeconds"]) == ("uid-other", 5)


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"token": None}, 2, "has no token; paste the whole"),
        ({"token": "secret-canary"}, 2, "has a token that can't be used"),
        ({"uid": "../../etc"}, 2, "is no UID"),
        ({"server": "http://127.0.0.1:1"}, 2, "server is 'http://127.0.0.1:1'; it must be https"),
        ({"server": "https://127.0.0.1:1"}, 1, "can't be reached"),
        ({"ca": "no certificate"}, 1, "can't be used as caFile"),
    ],
)
def test_what_can_not_be_used_is_said_in_one_line(
    bare: Machine, changed: dict[str, str | None], code: int, words: str
) -> None:
    found, _, complained = run(bare, "enroll", given=bundle(bare, **changed))

    assert found == code
    assert words in complained
    assert complained.count("\n") == 1
    assert "canary" not in complained


def test_a_token_of_another_cluster_is_refused_in_words(bare: Machine) -> None:
    token = credentials.issue(bare.api, bare.name, ANCHOR)
    foreign = tokens.signed_by(ec.generate_private_key(ec.SECP256R1()), token)

    code, _, complained = run(bare, "enroll", given=bundle(bare, token=foreign))

    assert code == 1
    assert (
        "401 Unauthorized; it does not take the token, which has ended, was revoked, or is another cluster's"
        in complained
    )
    assert foreign not in complained
    # Nothing is lost by it: with a good one it goes on.
    before = pem(bare)
    assert run(bare, "enroll", given=bundle(bare))[0] == 0
    assert pem(bare) == before


def test_a_machine_is_enrolled_as_one_thing_at_a_time(bare: Machine) -> None:
    run(bare, "enroll", given=bundle(bare))
    thumbprint = certificate.check(pem(bare), UID).thumbprint

    other = bundle(bare, uid="another", name="web-2", token=credentials.issue(bare.api, "web-2", ANCHOR))
    code, _, complained = run(bare, "enroll", given=other)
    assert code == 2
    assert "vmext-agent unenroll, then paste again" in complained

    assert run(bare, "unenroll")[0] == 0
    for path in (IDENTITY, "/etc/vmext/token", "/etc/vmext/agent.json", f"/var/lib/waagent/{thumbprint}.prv"):
        assert not bare.guest.exists(path), path
    assert run(bare, "status")[0] == 3
    assert run(bare, "enroll", given=other)[0] == 0


def test_the_next_token_is_taken_into_use_once_it_works_and_runs_nothing(bare: Machine) -> None:
    run(bare, "enroll", given=bundle(bare))
    bare.guest.start_service(agent_service())
    bare.want()
    first = bare.ends("Succeeded")
    issued = credentials.issue(bare.api, bare.name, ANCHOR)

    give(bare, issued)

    held = bare.api.wait("GoalState", bare.name, lambda goal: reported(goal).get("id") == jti(issued))
    assert bare.guest.read("/etc/vmext/token").decode() == issued
    assert mode(bare, "/etc/vmext/token") == 0o600
    assert held is not None
    assert bare.status() == first
    assert bare.order() == ["1.0.0 install 1", "1.0.0 enable 1"]
    assert issued not in bare.log()


def test_a_token_that_does_not_work_is_not_taken_into_use(bare: Machine) -> None:
    run(bare, "enroll", given=bundle(bare))
    before = bare.guest.read("/etc/vmext/token")
    bare.guest.start_service(agent_service())
    bare.want()
    bare.ends("Succeeded")
    head, payload, signed = credentials.issue(bare.api, bare.name, ANCHOR).split(".")

    for text in (f"{head}.{payload}.{signed[::-1]}", "no token at all", "\x00\xff"):
        give(bare, text, id_=f"bad-{len(text)}")
        eventually(partial(is_logged, bare, f"bad-{len(text)}"))

    assert bare.guest.read("/etc/vmext/token") == before
    bare.want()
    bare.ends("Succeeded")


def test_a_token_that_could_not_be_saved_is_tried_again_by_itself(bare: Machine) -> None:
    run(bare, "enroll", given=bundle(bare))
    bare.guest.start_service(agent_service())
    bare.want()
    bare.ends("Succeeded")
    issued = credentials.issue(bare.api, bare.name, ANCHOR)
    bare.guest.run(["mount", "--bind", "/etc/vmext", "/etc/vmext"])
    bare.guest.run(["mount", "-o", "remount,bind,ro", "/etc/vmext"])

    give(bare, issued)

    failing = bare.api.wait("GoalState", bare.name, lambda goal: "renewalError" in reported(goal))
    assert "Read-only file system" in reported(failing)["renewalError"]
    bare.guest.run(["mount", "-o", "remount,bind,rw", "/etc/vmext"])
    # No change of the goal brings it: it is taken all the same, and the complaint goes with it.
    held = bare.api.wait("GoalState", bare.name, lambda goal: reported(goal).get("id") == jti(issued))
    assert "renewalError" not in reported(held)
    assert bare.order() == ["1.0.0 install 1", "1.0.0 enable 1"]


def is_logged(machine: Machine, words: str) -> bool:
    return words in machine.log()


def give(machine: Machine, token: str, *, id_: str = "") -> None:
    """Put a token into the goal, as the operator does."""
    ciphertext, thumbprint = sealed(machine, token.encode())
    given = {"id": id_ or jti(token), "token": ciphertext, "thumbprint": thumbprint}
    patch_goal(machine, credential=given | {"expiresAt": "2030-01-01T00:00:00Z"})


def jti(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])


def reported(goal: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return ((goal or {}).get("status") or {}).get("credential") or {}


def test_the_certificate_is_one_that_openssl_and_others_read(bare: Machine) -> None:
    run(bare, "enroll", given=bundle(bare))

    found = x509.load_pem_x509_certificate(pem(bare).encode())

    assert found.serial_number > 1 << 32
    assert isinstance(found.signature_hash_algorithm, hashes.SHA256)
    assert found.public_key().key_size == 3072  # type: ignore[union-attr]

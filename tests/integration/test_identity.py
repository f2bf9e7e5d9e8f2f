"""Machines and what they are known by, on a real API server; the machine's own part is played by the test."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import control_plane
from development import credentials
from development.api import Api, ApiError, Object, condition
from development.operator_process import Operator
from support import tokens
from support.certificates import certificate, private_pem, rsa_key
from support.waiting import eventually
from vmext_operator.api import goal_state

NAME = "web-1"
ACCOUNT = f"vmext-vm-{NAME}"
KINDS = {
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
}


@pytest.fixture(scope="module")
def operator(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    made = Operator(credentials.of_operator(cluster, folder), folder / "operator.log")
    made.start()
    yield made
    made.stop()


def declare(api: Api, **metadata: Any) -> Object:
    kind = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine"}
    return api.apply(kind | {"metadata": {"name": NAME, **metadata}, "spec": {}})


def path(api: Api, plural: str, name: str = ACCOUNT) -> str:
    return f"{KINDS[plural]}/namespaces/{api.namespace}/{plural}/{name}"


def uid(api: Api, plural: str, name: str = ACCOUNT) -> str | None:
    try:
        return str(api.request("GET", path(api, plural, name))["metadata"]["uid"])
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def credential(obj: Object | None) -> Mapping[str, Any]:
    return ((obj or {}).get("status") or {}).get("credential") or {}


def anchored(api: Api, but: str = "") -> str:
    """Wait until the machine has an anchor, another one than given; return its UID."""
    found = api.wait("VirtualMachine", NAME, lambda vm: credential(vm).get("anchorUID", but) != but)
    return str(credential(found)["anchorUID"])


def propose(api: Api, pem: str, anchor: str, **more: str) -> None:
    api.wait("GoalState", NAME, lambda goal: goal is not None)
    request = {"anchorUID": anchor, "certificate": pem, "signature": None, **more}
    api.patch_status("GoalState", NAME, {"certificateRequest": request})


def hold(api: Api, bound: str, *, id_: str = "jti-0", hours: float = 1) -> None:
    """Say, as the agent does, which token it has."""
    now = datetime.now(UTC)
    times = {"issuedAt": now, "expiresAt": now + timedelta(hours=hours)}
    text = {name: value.strftime("%Y-%m-%dT%H:%M:%SZ") for name, value in times.items()}
    api.patch_status("GoalState", NAME, {"credential": {"id": id_, "boundUID": bound, **text}})


def pinned(api: Api, thumbprint: str = "") -> str:
    """Wait until a certificate is pinned; return its thumbprint."""
    found = api.wait("VirtualMachine", NAME, lambda vm: credential(vm).get("thumbprint", thumbprint) != thumbprint)
    return str(credential(found)["thumbprint"])


def given(api: Api, but: str = "") -> Mapping[str, Any]:
    """Wait for a token in the goal, another one than that."""
    found = api.wait(
        "GoalState", NAME, lambda goal: ((goal or {})["spec"].get("credential") or {"id": but})["id"] != but
    )
    assert found is not None
    token: Mapping[str, Any] = found["spec"]["credential"]
    return token


def opened(tmp_path: Path, sealed: str, number: int = 1) -> str:
    (tmp_path / "key").write_bytes(private_pem(rsa_key(number)))
    command = ["openssl", "cms", "-inform", "DER", "-decrypt", "-inkey", str(tmp_path / "key")]
    done = subprocess.run(command, input=base64.b64decode(sealed), capture_output=True, check=True)
    return done.stdout.decode()


def as_machine(cluster: control_plane.Cluster, api: Api, token: str, tmp_path: Path) -> Api:
    """Return the API server as it answers one who has that token."""
    return Api(credentials.kubeconfig(cluster, token, tmp_path / "machine.kubeconfig"), api.namespace)


def enrol(api: Api, number: int = 1) -> str:
    """Play a machine that is enrolled; return its anchor's UID."""
    vm, anchor = declare(api), anchored(api)
    propose(api, certificate(vm["metadata"]["uid"], rsa_key(number)), anchor)
    pinned(api)
    return anchor


def test_a_machine_is_given_what_it_needs_and_all_of_it_goes_with_it(operator: Operator, api: Api) -> None:
    declare(api)
    anchor = anchored(api)

    assert uid(api, "secrets") == anchor
    for plural in KINDS:
        found = api.request("GET", path(api, plural))
        assert "ownerReferences" not in found["metadata"]
    assert "data" not in api.request("GET", path(api, "secrets"))

    api.delete("VirtualMachine", NAME)
    api.wait_gone("VirtualMachine", NAME)
    assert {plural: uid(api, plural) for plural in KINDS} == dict.fromkeys(KINDS)


def test_a_token_is_sealed_for_the_machine_and_opens_its_own_goal_and_nothing_more(
    operator: Operator, cluster: control_plane.Cluster, api: Api, tmp_path: Path
) -> None:
    anchor = enrol(api)
    hold(api, "uid-of-what-it-was-enrolled-with")

    token = given(api)
    secret = opened(tmp_path, token["token"])
    machine = as_machine(cluster, api, secret, tmp_path)
    goal = api.path("GoalState", NAME)
    assert machine.request("GET", goal)["spec"]["vmName"] == NAME
    merge = "application/merge-patch+json"
    machine.request("PATCH", f"{goal}/status", {"status": {"agentVersion": "1"}}, merge)
    lease = machine.request("GET", path(api, "leases"))
    machine.request("PUT", path(api, "leases"), lease | {"spec": {"holderIdentity": ACCOUNT}})
    for method, target in (
        ("GET", machine.path("GoalState")),
        ("GET", machine.path("VirtualMachine", NAME)),
        ("GET", path(api, "secrets")),
        ("PATCH", goal),
        ("POST", f"{path(api, 'serviceaccounts')}/token"),
        ("DELETE", path(api, "leases")),
    ):
        with pytest.raises(ApiError) as refused:
            machine.request(method, target, {} if method != "GET" else None, merge)
        assert refused.value.status in (403, 415), (method, target)
    machine.close()
    # It takes it: then it is noted until when that is good, and it is given no other.
    hold(api, anchor, id_=token["id"], hours=24 * 30)
    api.wait("VirtualMachine", NAME, lambda vm: "expiresAt" in credential(vm))
    assert given(api)["id"] == token["id"]


def test_a_token_ends_with_its_anchor_and_the_machine_is_let_go_of(
    operator: Operator, cluster: control_plane.Cluster, api: Api, tmp_path: Path
) -> None:
    anchor = enrol(api)
    hold(api, "uid-of-what-it-was-enrolled-with")
    secret = opened(tmp_path, given(api)["token"])
    goal = api.path("GoalState", NAME)
    assert tokens.answer(cluster, secret, goal) == 200

    # The mark is all that the operator needs; kubectl vmext revoke deletes the Secrets itself, besides.
    api.request("PATCH", goal, {"metadata": {"annotations": {goal_state.REVOKED: "1"}}}, "application/merge-patch+json")

    begun = time.monotonic()
    eventually(lambda: tokens.answer(cluster, secret, goal) == 401, timeout_s=30)
    assert time.monotonic() - begun < 15
    other = anchored(api, but=anchor)
    assert uid(api, "secrets") == other
    # The token in the goal went with the pin, and what was proposed for the old anchor is not pinned for the new one.
    found = api.wait("GoalState", NAME, lambda goal: "credential" not in (goal or {})["spec"])
    assert found is not None
    vm = api.get("VirtualMachine", NAME)
    assert credential(vm) == {"anchorUID": other}
    assert vm is not None
    propose(api, certificate(vm["metadata"]["uid"], rsa_key(2)), other)
    pinned(api)


def test_what_a_machine_was_enrolled_with_ends_once_it_has_taken_another(operator: Operator, api: Api) -> None:
    anchor = enrol(api)
    enrolment = f"{ACCOUNT}-enroll"
    created = api.request(
        "POST", path(api, "secrets", ""), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": enrolment}}
    )
    hold(api, created["metadata"]["uid"])
    token = given(api)
    assert uid(api, "secrets", enrolment) is not None

    hold(api, anchor, id_=token["id"], hours=24)

    eventually(lambda: uid(api, "secrets", enrolment) is None)


def test_what_is_no_good_certificate_is_refused_in_words(operator: Operator, api: Api) -> None:
    vm, anchor = declare(api), anchored(api)
    propose(api, certificate("another-uid", rsa_key(1)), anchor)

    def is_refused(found: Object | None) -> bool:
        enrolled = [one for one in (found or {})["status"].get("conditions", ()) if one["type"] == "Enrolled"]
        return bool(enrolled) and enrolled[0]["reason"] == "CertificateRefused" and "not for" in enrolled[0]["message"]

    api.wait("VirtualMachine", NAME, is_refused)
    propose(api, certificate(vm["metadata"]["uid"], rsa_key(1)), anchor)
    pinned(api)


@pytest.mark.parametrize(
    ("proposed", "words"),
    [
        ("no certificate at all", "it is no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it is no certificate"),
        ("", "it is no certificate"),
        (certificate("another-uid", rsa_key(2)), "it is not for"),
    ],
    ids=["words", "PEM of nothing", "nothing", "another's"],
)
def test_what_is_no_certificate_leaves_the_one_that_is_pinned(
    operator: Operator, api: Api, proposed: str, words: str
) -> None:
    anchor = enrol(api)
    before = credential(api.get("VirtualMachine", NAME))
    propose(api, proposed, anchor)

    def is_refused(found: Object | None) -> bool:
        enrolled = [one for one in (found or {})["status"].get("conditions", ()) if one["type"] == "Enrolled"]
        return bool(enrolled) and enrolled[0]["reason"] == "CertificateRefused" and words in enrolled[0]["message"]

    api.wait("VirtualMachine", NAME, is_refused)
    assert credential(api.get("VirtualMachine", NAME)) == before


def test_a_token_that_is_refused_holds_up_nothing_that_a_machine_is_told(operator: Operator, api: Api) -> None:
    operator.stop()
    # The policy takes thirty at most.
    operator.options = ["--token-days=40"]
    operator.start()
    try:
        enrol(api)
        hold(api, "uid-of-what-it-was-enrolled-with")
        eventually(lambda: "the operator mints tokens for at most 2592000 seconds" in operator.log.read_text())
        found = api.wait("GoalState", NAME, lambda goal: "thumbprint" in ((goal or {}).get("spec") or {}))
        assert found is not None
        assert "credential" not in found["spec"]
    finally:
        operator.stop()
        operator.options = []
        operator.start()


def test_a_machine_made_anew_under_a_name_has_nothing_of_the_one_before(operator: Operator, api: Api) -> None:
    anchor = enrol(api)
    others = [f"{ACCOUNT}-enroll", f"{ACCOUNT}-token"]
    for name in others:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        api.request("POST", path(api, "secrets", ""), body)
    operator.stop()
    api.request(
        "PATCH", api.path("VirtualMachine", NAME), {"metadata": {"finalizers": None}}, "application/merge-patch+json"
    )
    api.delete("VirtualMachine", NAME)
    declare(api)
    operator.start()

    assert uid(api, "secrets") is not None
    other = anchored(api)
    assert other != anchor
    assert credential(api.get("VirtualMachine", NAME)) == {"anchorUID": other}
    assert [uid(api, "secrets", name) for name in others] == [None, None]


def test_a_renewal_that_is_overdue_is_said_with_the_machines_own_words(operator: Operator, api: Api) -> None:
    anchor = enrol(api)
    now = datetime.now(UTC)
    times = {"issuedAt": now - timedelta(days=29), "expiresAt": now + timedelta(days=1)}
    text = {name: value.strftime("%Y-%m-%dT%H:%M:%SZ") for name, value in times.items()}
    why = "[Errno 30] Read-only file system: '/etc/vmext/token.new'"
    api.patch_status("GoalState", NAME, {"credential": {"id": "old", "boundUID": anchor, "renewalError": why, **text}})

    def warns(vm: Object | None) -> bool:
        found = condition(vm, "Enrolled") or {}
        return found.get("reason") == "RenewalOverdue" and why in found["message"] and found["status"] == "True"

    api.wait("VirtualMachine", NAME, warns)
    hold(api, anchor, id_=given(api)["id"], hours=24 * 30)
    api.patch_status("GoalState", NAME, {"credential": {"renewalError": None}})
    api.wait("VirtualMachine", NAME, lambda vm: (condition(vm, "Enrolled") or {}).get("reason") == "Enrolled")

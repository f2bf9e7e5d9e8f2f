"""Real control planes: several at once, outages, who may do what, and that nothing of one is left."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import control_plane
from control_plane import process
from control_plane.background import FOLDER, Named
from control_plane.binaries import SERVERS
from control_plane.instance import record
from support import scripts
from support.waiting import eventually

#: Runs a control plane until its input ends.
STARTER = """
import sys
from pathlib import Path
import control_plane
with control_plane.running(Path(sys.argv[1]), control_plane.obtain(lambda line: None)):
    print("ready", flush=True)
    sys.stdin.read()
"""
POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-red}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}
  validations:
  - {expression: "object.metadata.name != 'red'", message: "not in red"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-red}
spec: {policyName: no-red, validationActions: [Deny]}
"""


@pytest.fixture(scope="module")
def binaries() -> control_plane.Binaries:
    return control_plane.obtain(print)


@pytest.fixture(scope="module")
def one(
    binaries: control_plane.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[control_plane.ControlPlane]:
    """A control plane with an audit log, in a folder whose path is too long for a socket's."""
    folder = tmp_path_factory.mktemp("control-plane") / ("long-" * 20) / "one"
    with control_plane.running(folder, binaries, audit=True) as running:
        yield running


def ask(cluster: control_plane.Cluster, token: str | None, path: str, body: Mapping[str, object] | None = None) -> int:
    """Return the status with which a request is answered, made by a client that is as strict as can be."""
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = int(cluster.server.rpartition(":")[2])
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)) as connection:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def identities(folder: Path) -> dict[str, process.Identity]:
    found = {name: process.recorded(record(folder, name)) for name in SERVERS}
    return {name: one for name, one in found.items() if one is not None}


def listening(pid: int) -> list[str]:
    """Return the addresses that a process listens on, as the kernel writes them."""
    sockets = {os.readlink(file).removeprefix("socket:[").rstrip("]") for file in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [line.split() for family in ("tcp", "tcp6") for line in Path("/proc/net", family).read_text().splitlines()]
    return [fields[1] for fields in lines if fields[3] == "0A" and fields[9] in sockets]


def exists(cluster: control_plane.Cluster, name: str) -> bool:
    return cluster.kubectl("get", "configmap", name, "--ignore-not-found", "-o", "name") != ""


def test_two_beside_each_other_know_nothing_of_one_another(
    one: control_plane.ControlPlane, binaries: control_plane.Binaries, tmp_path: Path
) -> None:
    began = time.monotonic()
    with control_plane.running(tmp_path / "other", binaries) as other:
        print(f"ready after {time.monotonic() - began:.1f} s")
        assert other.server != one.server
        assert other.audit_log is None
        other.kubectl("create", "configmap", "only-there")
        assert exists(other, "only-there")
        assert not exists(one, "only-there")
        started = identities(other.folder)
        assert sorted(started) == sorted(SERVERS)
        assert all(who.is_alive() for who in started.values())
    assert not any(who.is_alive() for who in started.values())


def test_all_of_it_is_on_loopback_and_what_is_secret_is_its_owners(one: control_plane.ControlPlane) -> None:
    assert one.server.startswith("https://127.0.0.1:")
    assert one.folder.stat().st_mode & 0o077 == 0
    kubeconfig = json.loads(one.kubeconfig.read_text())
    secret = [one.kubeconfig, Path(kubeconfig["users"][0]["user"]["client-key"]), *one.folder.glob("keys/*.key")]
    assert len(secret) >= 5
    assert all(file.stat().st_mode & 0o077 == 0 for file in secret)
    # The authority's key has done its work: nobody can sign another certificate.
    assert not list(one.folder.rglob("ca.key"))
    port = int(one.server.rpartition(":")[2])
    assert [address for who in identities(one.folder).values() for address in listening(who.pid)] == [
        f"0100007F:{port:04X}"
    ]


def test_an_api_server_that_was_away_has_its_objects_and_its_address_again(one: control_plane.ControlPlane) -> None:
    one.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    address = one.server
    port = int(address.rpartition(":")[2])
    one.stop_api_server()
    try:
        with pytest.raises(control_plane.ControlPlaneError, match="kubectl get configmap kept failed: "):
            one.kubectl("get", "configmap", "kept")
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass
        # Nobody else can take its port in the meantime.
        with socket.socket() as thief, pytest.raises(OSError, match="Address already in use"):
            thief.bind(("127.0.0.1", port))
        with pytest.raises(control_plane.ControlPlaneError, match="is stopped already"):
            one.stop_api_server()
    finally:
        one.start_api_server()
    assert one.server == address
    assert one.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
    with pytest.raises(control_plane.ControlPlaneError, match="runs already"):
        one.start_api_server()


def test_a_service_accounts_token_authenticates_and_may_do_only_what_roles_allow(
    one: control_plane.ControlPlane,
) -> None:
    one.kubectl("create", "namespace", "accounts")
    one.kubectl("create", "serviceaccount", "reader", "-n", "accounts")
    one.kubectl("create", "role", "reads", "-n", "accounts", "--verb=get,list", "--resource=configmaps")
    one.kubectl("create", "rolebinding", "reads", "-n", "accounts", "--role=reads", "--serviceaccount=accounts:reader")
    token = one.kubectl("create", "token", "reader", "-n", "accounts").strip()
    allowed, denied = "/api/v1/namespaces/accounts/configmaps", "/api/v1/namespaces/accounts/secrets"
    eventually(lambda: ask(one, token, allowed) == 200)
    assert ask(one, token, denied) == 403
    assert ask(one, token, "/api/v1/namespaces/default/configmaps") == 403
    assert ask(one, token, allowed, {"metadata": {"name": "x"}}) == 403
    assert ask(one, None, allowed) == 401
    assert ask(one, token + "x", allowed) == 401


def test_an_admission_policy_denies_with_its_message(one: control_plane.ControlPlane) -> None:
    one.kubectl("apply", "-f", "-", input=POLICY)

    def is_denied() -> bool:
        try:
            one.kubectl("create", "configmap", "red", "--dry-run=server")
        except control_plane.ControlPlaneError as error:
            return "not in red" in str(error)
        return False

    eventually(is_denied)
    one.kubectl("create", "configmap", "green")


def test_a_namespace_that_is_deleted_goes(one: control_plane.ControlPlane) -> None:
    one.kubectl("create", "namespace", "short-lived")
    one.kubectl("create", "configmap", "inside", "-n", "short-lived")
    one.kubectl("delete", "namespace", "short-lived", "--wait=true", "--timeout=60s")


def test_the_audit_log_tells_who_wrote_what_and_no_content(one: control_plane.ControlPlane) -> None:
    one.kubectl("create", "secret", "generic", "audited", "--from-literal=password=canary-in-the-mine")
    assert one.audit_log is not None
    log = one.audit_log.read_text()
    assert "canary-in-the-mine" not in log
    events = [json.loads(line) for line in log.splitlines()]
    writes = [event for event in events if event["verb"] in ("create", "update", "patch", "delete")]
    mine = [event for event in writes if event["objectRef"].get("name") == "audited"]
    assert [(event["user"]["username"], event["verb"], event["stage"]) for event in mine] == [
        ("admin", "create", "ResponseComplete")
    ]
    # The controllers' writes can be told from the administrator's.
    others = {event["user"]["username"] for event in writes}
    assert "system:serviceaccount:kube-system:service-account-controller" in others


def test_killing_the_one_who_runs_it_leaves_no_process(binaries: control_plane.Binaries, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    starter, said = scripts.start(STARTER, str(folder))
    with starter:
        assert said == "ready"
        started = identities(folder)
        assert sorted(started) == sorted(SERVERS)
        assert all(who.is_alive() for who in started.values())
        starter.kill()
    eventually(lambda: not any(who.is_alive() for who in started.values()))


def test_a_program_that_fails_at_its_start_is_quoted_and_the_others_are_ended(
    binaries: control_plane.Binaries, tmp_path: Path
) -> None:
    broken = tmp_path / "kube-apiserver"
    broken.write_text("#!/bin/sh\necho 'no, not today' >&2\nexit 3\n")
    broken.chmod(0o755)
    folder = tmp_path / "broken"
    running = control_plane.running(folder, dataclasses.replace(binaries, kube_apiserver=broken))
    with pytest.raises(control_plane.ControlPlaneError) as raised, running:
        pytest.fail("it can't be ready")
    assert str(raised.value) == (
        f"kube-apiserver ended with 3: its log, {folder}/kube-apiserver.log, ends with:\n  no, not today"
    )
    assert not identities(folder)["etcd"].is_alive()


def test_a_program_that_dies_in_between_is_told_at_the_end(binaries: control_plane.Binaries, tmp_path: Path) -> None:
    ended = pytest.raises(control_plane.ControlPlaneError, match=r"kube-controller-manager ended with -15: its log, ")
    with ended, control_plane.running(tmp_path / "dying", binaries) as dying:
        process.end(identities(dying.folder)["kube-controller-manager"])


def test_an_existing_cluster_is_used_as_it_is(one: control_plane.ControlPlane, tmp_path: Path) -> None:
    found = control_plane.existing(one.kubeconfig, folder=tmp_path / "used")
    assert found.server == one.server
    assert found.ca_file.read_text() == one.ca_file.read_text()
    assert "default" in found.kubectl("get", "namespaces")


def test_a_kubeconfig_that_leads_nowhere_is_an_error_that_names_it(
    one: control_plane.ControlPlane, tmp_path: Path
) -> None:
    content = json.loads(one.kubeconfig.read_text())
    lost = tmp_path / "kubeconfig"
    with pytest.raises(control_plane.ControlPlaneError, match=f"there is no kubeconfig {lost}"):
        control_plane.existing(lost, folder=tmp_path / "files")
    lost.write_text(json.dumps(content | {"current-context": "gone"}))
    with pytest.raises(control_plane.ControlPlaneError, match="gone"):
        control_plane.existing(lost, folder=tmp_path / "files")
    del content["clusters"][0]["cluster"]["certificate-authority"]
    lost.write_text(json.dumps(content))
    with pytest.raises(
        control_plane.ControlPlaneError, match=r"kubeconfig names no certificate authority for https://"
    ):
        control_plane.existing(lost, folder=tmp_path / "files")


class Background:
    """The commands that people type, for one name."""

    def __init__(self) -> None:
        self.named = Named(f"test-{os.getpid()}", FOLDER)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=True, env=scripts.ENVIRONMENT
        )
        return done.stdout

    def command(self, command: str, *arguments: str) -> list[str]:
        name = [] if command == "status" else ["--name", self.named.name]
        return [sys.executable, "-W", "error", "-m", "control_plane", command, *name, *arguments]

    def kubectl(self, binaries: control_plane.Binaries, *arguments: str) -> str:
        command = [str(binaries.kubectl), "--kubeconfig", str(self.named.kubeconfig), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def background(binaries: control_plane.Binaries) -> Iterator[Background]:
    made = Background()
    yield made
    made.named.stop()


def test_one_in_the_background_goes_on_by_itself_and_is_started_once(
    background: Background, binaries: control_plane.Binaries
) -> None:
    said = background.run("start", "--audit")
    assert f"Control plane {background.named.name} is ready after " in said
    assert f"export KUBECONFIG={background.named.kubeconfig}" in said
    before = background.named.processes()
    assert sorted(before) == sorted(SERVERS)
    assert "runs already" in background.run("start")
    assert background.named.processes() == before
    assert f"{background.named.name} runs: etcd (pid {before['etcd'].pid})" in background.run("status")
    background.kubectl(binaries, "create", "configmap", "kept")
    assert '"name":"kept"' in (background.named.folder / "audit.log").read_text()

    assert "Its data is kept in" in background.run("stop", "--keep-data")
    assert not any(who.is_alive() for who in before.values())
    background.run("start")
    assert background.kubectl(binaries, "get", "configmap", "kept", "-o", "name") == "configmap/kept\n"

    assert "has ended" in background.run("stop")
    assert not background.named.folder.exists()
    assert "does not run" in background.run("stop")
    assert background.named.name not in background.run("status")


def test_what_an_interrupted_start_leaves_is_ended_by_the_next_command(background: Background) -> None:
    with subprocess.Popen(background.command("start"), env=scripts.ENVIRONMENT, stdout=subprocess.DEVNULL) as starting:
        eventually(record(background.named.folder, "kube-apiserver").exists)
        starting.kill()
    left = background.named.processes()
    assert sorted(left) == ["etcd", "kube-apiserver"]
    background.run("start")
    assert not any(who.is_alive() for who in left.values())
    assert background.named.is_running()


def test_a_start_that_is_interrupted_at_the_terminal_leaves_nothing(background: Background) -> None:
    # Whoever runs the tests in the background of a shell has them ignore it.
    command = ["env", "--default-signal=INT", *background.command("start")]
    with subprocess.Popen(command, env=scripts.ENVIRONMENT, stdout=subprocess.DEVNULL) as starting:
        eventually(record(background.named.folder, "kube-apiserver").exists)
        starting.send_signal(2)
        assert starting.wait(30) == 130
    assert not background.named.processes()

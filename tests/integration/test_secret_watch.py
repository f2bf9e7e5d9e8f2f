"""The watch of Secrets: what it brings, how soon, what it does not carry, and what is where it is refused or lost."""

from __future__ import annotations

import base64
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import control_plane
from development import house
from development.api import Api, Object
from development.operator_process import Operator
from support import accounts, declaring, proxy
from support.certificates import certificate, rsa_key
from support.proxy import Faults, Proxy
from support.waiting import eventually

RIGHTS = house.RIGHTS / "if-asked" / "watch-secrets.yaml"
#: Once it was read, a Secret has its next turn after a minute: what is there before, a watch has brought.
AT_ONCE_S = 25.0


@pytest.fixture
def between(cluster: control_plane.Cluster) -> Iterator[Proxy]:
    with proxy.running(cluster.server, cluster.ca_file, random.Random(1)) as running:
        yield running


@pytest.fixture
def account(cluster: control_plane.Cluster, tmp_path: Path) -> str:
    """The name of an operator of this test's own."""
    return f"watching-{tmp_path.name}".replace("_", "-").lower()[:60].rstrip("-")


@pytest.fixture
def operator(cluster: control_plane.Cluster, between: Proxy, account: str, tmp_path: Path) -> Iterator[Operator]:
    kubeconfig = accounts.kubeconfig(cluster, tmp_path, account, server=between.url)
    made = Operator(kubeconfig, tmp_path / "operator.log", "--watch-secrets", "--probe-address=127.0.0.1:0")
    yield made
    made.stop()


@pytest.fixture
def watching(cluster: control_plane.Cluster, operator: Operator, account: str) -> Iterator[Operator]:
    """An operator that may watch Secrets."""
    grant(cluster, account)
    operator.start()
    yield operator
    revoke(cluster, account)


def grant(cluster: control_plane.Cluster, account: str) -> None:
    cluster.kubectl("apply", "-f", str(RIGHTS))
    subject = f"--serviceaccount=vmext-system:{account}"
    role = "--clusterrole=vmext-operator-secrets"
    cluster.kubectl("create", "clusterrolebinding", f"{account}-secrets", role, subject)


def revoke(cluster: control_plane.Cluster, account: str) -> None:
    cluster.kubectl("delete", "clusterrolebinding", f"{account}-secrets")
    cluster.kubectl("delete", "-f", str(RIGHTS))


def put(api: Api, name: str, value: str | None, method: str = "PATCH") -> None:
    """Have a Secret with those settings, or none."""
    target = f"/api/v1/namespaces/{api.namespace}/secrets"
    if value is None:
        api.request("DELETE", f"{target}/{name}")
        return
    data = {"settings": base64.b64encode(json.dumps({"password": value}).encode()).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    if method == "POST":
        api.request("POST", target, body)
    else:
        api.request("PATCH", f"{target}/{name}", body, "application/merge-patch+json")


def enrolled(api: Api) -> None:
    """Declare the machine web-1 and play its agent as far as its certificate."""
    vm = declaring.machine(api)

    def of(found: Object | None) -> Object:
        credential: Object = ((found or {}).get("status") or {}).get("credential") or {}
        return credential

    api.wait("VirtualMachine", "web-1", lambda found: "anchorUID" in of(found))
    anchor = of(api.get("VirtualMachine", "web-1"))["anchorUID"]
    api.wait("GoalState", "web-1", lambda goal: goal is not None)
    pem = certificate(vm["metadata"]["uid"], rsa_key(1))
    request = {"anchorUID": anchor, "certificate": pem, "signature": None}
    api.patch_status("GoalState", "web-1", {"certificateRequest": request})
    api.wait("VirtualMachine", "web-1", lambda found: "thumbprint" in of(found))


def declared(api: Api) -> Object:
    """Have an extension of an enrolled machine with a Secret; return its entry in the goal."""
    api.apply(declaring.image("Watched", "1.0.0"))
    enrolled(api)
    put(api, "db", "first", "POST")
    declaring.declare(api, "one", "Watched", protectedSettings={"secretRef": {"name": "db", "key": "settings"}})
    return declaring.wait_entry(api, "one", sequenceNumber=1)


def wait_number(api: Api, number: int, timeout_s: float = AT_ONCE_S) -> Object:
    def there(goal: Object | None) -> bool:
        return declaring.entries(goal).get("one", {}).get("sequenceNumber") == number

    return declaring.entries(api.wait("GoalState", "web-1", there, timeout_s=timeout_s))["one"]


def readings(between: Proxy) -> dict[str, bytes]:
    """Note from now on what comes back of Secrets, by the path that was asked."""
    heard: dict[str, bytes] = {}

    def hear(path: str, part: bytes) -> None:
        if "/secrets" in path:
            heard[path] = heard.get(path, b"") + part

    between.hears = hear
    return heard


def test_a_changed_secret_reaches_the_goal_at_once_and_no_value_comes_with_the_watch(
    between: Proxy, watching: Operator, api: Api
) -> None:
    heard = readings(between)
    first, took = declared(api), []
    entry = first
    for number, value in enumerate(("second", "third", "fourth"), start=2):
        began = time.monotonic()
        put(api, "db", value)
        before, entry = entry, wait_number(api, number)
        took.append(time.monotonic() - began)
        assert entry["protectedSettings"] != before["protectedSettings"]
    print("from the change to the goal: " + ", ".join(f"{seconds:.2f} s" for seconds in took))

    lists = [parts for path, parts in heard.items() if "/api/v1/secrets" in path and "watch=" not in path]
    (watches,) = [parts for path, parts in heard.items() if "/api/v1/secrets" in path and "watch=" in path]
    assert lists
    assert watches.count(b'"name":"db"') >= 3, "they are the answers that a change came by"
    for parts in (*lists, watches):
        assert b"PartialObjectMetadata" in parts
        assert b'"data"' not in parts
    for value in ("second", "third", "fourth"):
        text = base64.b64encode(json.dumps({"password": value}).encode())
        assert text not in watches
        # By name it is read, as ever.
        assert any(text in parts for path, parts in heard.items() if path.endswith("/secrets/db"))


def test_a_label_runs_nothing_and_a_secret_that_goes_and_comes_is_said_and_recovered_from(
    watching: Operator, api: Api
) -> None:
    entry = declared(api)
    target = f"/api/v1/namespaces/{api.namespace}/secrets/db"
    api.request("PATCH", target, {"metadata": {"labels": {"a": "b"}}}, "application/merge-patch+json")
    put(api, "db", None)
    declaring.wait_reason(api, "one", "Ready", "SecretNotFound", timeout_s=AT_ONCE_S)
    # What is in force goes on.
    assert declaring.wait_entry(api, "one") == entry
    put(api, "db", "again", "POST")
    assert wait_number(api, 2)["protectedSettings"] != entry["protectedSettings"]


@pytest.mark.parametrize("gone", [True, False], ids=["too old", "broken off"])
def test_what_changes_while_the_watch_is_lost_is_found_when_it_is_back(
    between: Proxy, watching: Operator, api: Api, gone: bool
) -> None:
    declared(api)
    put(api, "db", "second")
    wait_number(api, 2)
    between.faults = Faults(hanging=True)
    put(api, "db", "third")
    # What the watch would have brought is never brought.
    what = "gone" if gone else "cut"
    between.faults = Faults(gone=1.0) if gone else Faults(cut=1.0)
    eventually(lambda: between.counts.get(what, 0) > 0)
    between.faults = proxy.NONE
    wait_number(api, 3)


def test_an_operator_that_may_not_watch_says_so_once_and_does_all_else(
    cluster: control_plane.Cluster, operator: Operator, account: str, api: Api
) -> None:
    operator.start()
    declared(api)
    lines = [line for line in operator.log.read_text().splitlines() if "secrets can't be watched" in line]
    assert len(lines) == 1
    said = json.loads(lines[0])
    assert "403" in said["message"]
    assert "chart value secrets.watch" in said["message"]
    port = re.findall(r"probes served port=(\d+)", operator.log.read_text())[-1]
    with requests.Session() as session:
        session.trust_env = False
        for probe in ("livez", "readyz"):
            assert session.get(f"http://127.0.0.1:{port}/{probe}", timeout=10).text == "ok\n"
    pid = operator.pid
    grant(cluster, account)
    try:
        # By the next list, within half a minute; then by the watch that follows it.
        for number, value in enumerate(("second", "third", "fourth"), start=2):
            put(api, "db", value)
            wait_number(api, number, timeout_s=60)
        eventually(lambda: "secrets are watched after all" in operator.log.read_text(), timeout_s=60)
        assert operator.pid == pid
    finally:
        revoke(cluster, account)

"""Whoever has stolen a machine's token: every verb on everything that the API server serves, and what of it works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import control_plane
from development import credentials
from development.api import Api
from support import declaring, objects
from support.prober import APPLY, MERGE, OF_ALL, Prober, Works
from vmext_operator.api.goal_state import name_of

NAME, ACCOUNT = "web-1", "vmext-vm-web-1"
OTHER, OTHER_ACCOUNT = "web-2", "vmext-vm-web-2"
GOAL, OTHER_GOAL = (name_of(name, objects.ANCHOR) for name in (NAME, OTHER))
GOALS, LEASES = "goalstates.vmext.dev", "leases.coordination.k8s.io"


@pytest.fixture
def thief(cluster: control_plane.Cluster, api: Api) -> Iterator[Prober]:
    """Whoever has the token of one machine; there is another one beside it, which has all that a machine has."""
    for name in (NAME, OTHER):
        api.apply(declaring.goal(name))
        token = credentials.issue(api, name, objects.ANCHOR)
        anchor = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"vmext-vm-{name}"}}
        api.request("POST", f"/api/v1/namespaces/{api.namespace}/secrets", anchor)
        if name == NAME:
            made = Prober(cluster, token)
    yield made
    made.close()


def goal(api: Api, name: str = NAME) -> str:
    return api.path("GoalState", name)


def lease(api: Api, name: str = ACCOUNT) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases/{name}"


def refusal(answer: tuple[int, Any]) -> str:
    """Return the words of a refusal."""
    status, body = answer
    assert status in (403, 413), answer
    return str(body["message"])


def test_a_stolen_token_is_good_for_one_goal_state_and_one_lease_and_nothing_else(thief: Prober, api: Api) -> None:
    namespaces = [api.namespace, "default", "kube-system", "vmext-system"]

    found = thief.what_works([NAME, OTHER, GOAL, OTHER_GOAL, ACCOUNT, OTHER_ACCOUNT], namespaces)

    print("\n".join(str(one) for one in sorted(found)))
    assert found - OF_ALL == {
        Works("get", GOALS, api.namespace, GOAL),
        Works("list", GOALS, api.namespace, GOAL),
        Works("watch", GOALS, api.namespace, GOAL),
        Works("patch", f"{GOALS}/status", api.namespace, GOAL),
        Works("apply", f"{GOALS}/status", api.namespace, GOAL),
        Works("get", LEASES, api.namespace, ACCOUNT),
        Works("update", LEASES, api.namespace, ACCOUNT),
    }
    assert found >= OF_ALL


def test_the_api_server_itself_says_the_same_of_every_namespace(
    thief: Prober, cluster: control_plane.Cluster, api: Api
) -> None:
    # It knows verbs that no request has, too: impersonate, bind, escalate, approve, sign, use.
    namespaces = cluster.kubectl("get", "namespaces", "-o", "name").split()
    found = {one: thief.rules(one.removeprefix("namespace/")) for one in namespaces}

    of_all = found["namespace/kube-system"]
    assert {resource for _, resource, _ in of_all} == {one.resource for one in OF_ALL if one.resource[0] != "/"}
    assert found.pop(f"namespace/{api.namespace}") - of_all == {
        ("get", GOALS, GOAL),
        ("list", GOALS, GOAL),
        ("watch", GOALS, GOAL),
        ("patch", "goalstates/status.vmext.dev", GOAL),
        ("get", LEASES, ACCOUNT),
        ("update", LEASES, ACCOUNT),
    }
    assert all(rules == of_all for rules in found.values())


@pytest.mark.parametrize(
    "headers",
    [
        {"Impersonate-User": "system:admin"},
        {"Impersonate-User": "system:admin", "Impersonate-Group": "system:masters"},
        {"Impersonate-User": "system:serviceaccount:vmext-system:vmext-operator"},
        {"Impersonate-User": "system:serviceaccount:{namespace}:vmext-vm-web-2"},
        {"Impersonate-User": "system:serviceaccount:{namespace}:vmext-vm-web-1", "Impersonate-Group": "system:masters"},
        {"Impersonate-User": "system:serviceaccount:{namespace}:vmext-vm-web-1", "Impersonate-Uid": "1"},
        {"Impersonate-User": "system:serviceaccount:{namespace}:vmext-vm-web-1", "Impersonate-Extra-a": "b"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_it_can_be_nobody_else(thief: Prober, api: Api, headers: dict[str, str]) -> None:
    assert thief.ask("GET", goal(api))[0] == 200
    sent = {name: value.format(namespace=api.namespace) for name, value in headers.items()}
    assert "cannot impersonate" in refusal(thief.ask("GET", goal(api), headers=sent))


def test_a_write_of_its_status_changes_nothing_else(thief: Prober, api: Api) -> None:
    before = api.get("GoalState", NAME)
    assert before is not None
    more = {"metadata": {"labels": {"a": "b"}, "finalizers": ["a/b"]}, "spec": {"modelHash": "x"}}
    status, after = thief.ask("PATCH", f"{goal(api)}/status", more | {"status": {"agentVersion": "9"}}, MERGE)

    assert status == 200
    assert after["status"]["agentVersion"] == "9"
    assert after["spec"] == before["spec"]
    assert not {"labels", "finalizers"} & set(after["metadata"])


def test_of_its_lease_it_writes_what_a_heartbeat_is(thief: Prober, api: Api) -> None:
    before = thief.ask("GET", lease(api))[1]

    def put(spec: dict[str, Any], **metadata: Any) -> tuple[int, Any]:
        newest = thief.ask("GET", lease(api))[1]
        return thief.ask("PUT", lease(api), newest | {"metadata": newest["metadata"] | metadata, "spec": spec})

    good = {"holderIdentity": NAME, "leaseDurationSeconds": 300, "renewTime": "2026-01-01T00:00:00.000000Z"}
    assert put(good)[0] == 200
    owner = {"apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "x"}
    for metadata in (
        {"finalizers": ["a/b"]},
        {"ownerReferences": [owner]},
        {"labels": {"vmext.dev/vm": OTHER}},
        {"annotations": {"vmext.dev/vm-uid": "x"}},
    ):
        assert "metadata" in refusal(put(good, **metadata)), metadata
    assert "253 characters" in refusal(put(good | {"holderIdentity": "x" * 254}))
    after = thief.ask("GET", lease(api))[1]
    assert after["spec"] == good
    for field in ("labels", "annotations"):
        assert after["metadata"][field] == before["metadata"][field]


def test_whatever_a_role_says_an_agent_writes_only_what_is_its_own(
    thief: Prober, cluster: control_plane.Cluster, api: Api
) -> None:
    too_much = f"too-much-{api.namespace}"
    options = ("--clusterrole=cluster-admin", f"--serviceaccount={api.namespace}:{ACCOUNT}")
    cluster.kubectl("create", "clusterrolebinding", too_much, *options)
    core = f"/api/v1/namespaces/{api.namespace}"
    named = {"metadata": {"name": "x"}}
    of_another = {"apiVersion": "vmext.dev/v1alpha1", "kind": "GoalState", "metadata": {"name": OTHER_GOAL}}
    machine = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": "x"}}
    label = {"metadata": {"labels": {"a": "b"}}}
    seconds = {"spec": {"expirationSeconds": 600}}
    try:
        assert thief.ask("PATCH", f"{goal(api)}/status", {"status": {"agentVersion": "1"}}, MERGE)[0] == 200
        for method, target, body, kind in (
            ("PATCH", f"{goal(api, OTHER)}/status", {"status": {"agentVersion": "1"}}, MERGE),
            ("PATCH", f"{goal(api, OTHER)}/status?fieldManager=t&force=true", of_another, APPLY),
            ("PATCH", goal(api), label, MERGE),
            ("PATCH", goal(api, OTHER), label, MERGE),
            ("DELETE", goal(api), {}, ""),
            ("DELETE", goal(api, OTHER), {}, ""),
            ("PATCH", lease(api, OTHER_ACCOUNT), label, MERGE),
            ("DELETE", lease(api), {}, ""),
            ("POST", api.path("VirtualMachine"), machine, ""),
            ("POST", f"{core}/secrets", named, ""),
            ("DELETE", f"{core}/secrets/{OTHER_ACCOUNT}", {}, ""),
            ("DELETE", f"{core}/serviceaccounts/default", {}, ""),
            ("POST", f"{core}/serviceaccounts/default/token", seconds, ""),
            ("POST", f"{core}/serviceaccounts/{ACCOUNT}/token", seconds, ""),
            ("POST", f"{core}/serviceaccounts/{OTHER_ACCOUNT}/token", seconds, ""),
        ):
            words = refusal(thief.ask(method, target, body, kind or "application/json"))
            assert "may write the status of its own GoalState and its own Lease, and nothing else" in words, target
    finally:
        cluster.kubectl("delete", "clusterrolebinding", too_much)


def test_a_status_that_is_too_large_is_refused(thief: Prober, api: Api) -> None:
    part = {"uid": "u", "state": "enabled", "sequenceNumber": 1, "version": "1", "outcome": "Succeeded"}
    long = {"message": "x" * 8000, "handlerStatus": {"message": "x" * 16000}}

    def report(count: int, size: dict[str, Any]) -> tuple[int, Any]:
        body = {"status": {"extensions": {f"e{number}": part | size for number in range(count)}}}
        return thief.ask("PATCH", f"{goal(api)}/status", body, MERGE)

    assert report(20, long)[0] == 200
    assert "may have 1048576 characters in all" in refusal(report(50, long))
    # What is beyond the API server's own bound does not get as far as that.
    status, body = report(1, {"message": "x" * 10_000_000})
    assert (status, body["reason"]) == (413, "RequestEntityTooLarge")

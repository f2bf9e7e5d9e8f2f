"""Whoever has stolen a machine's token: every verb on everything that the API server serves, and what of it works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

import control_plane
from development import credentials
from development.api import Api

NAME = "web-1"
#: All that a stolen token is good for.
ALLOWED = {
    "get goalstates web-1",
    "list goalstates by name web-1",
    "watch goalstates by name web-1",
    "patch goalstates/status web-1",
    "apply goalstates/status web-1",
    "get leases vmext-vm-web-1",
    "update leases vmext-vm-web-1",
}
#: By the API server's own default for whoever is authenticated: what one is and may, and whom the cluster trusts.
OF_ALL = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews", "clustertrustbundles"}


class Thief:
    """The API server as a thief sees it."""

    def __init__(self, cluster: control_plane.Cluster, token: str, namespace: str) -> None:
        self._server = cluster.server
        self.namespace = namespace
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(cluster.ca_file)
        self._session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json", **headers: str) -> int:
        """Make a request; return the HTTP status."""
        answer = self._session.request(
            method, self._server + path, json=body, headers={"Content-Type": kind, **headers}, timeout=30, stream=True
        )
        answer.close()
        return answer.status_code

    def resources(self) -> Iterator[tuple[str, str, bool]]:
        """Yield what discovery tells: the path of a group and version, a resource, whether it has namespaces."""
        groups = self._get("/apis")["groups"]
        bases = ["/api/v1", *(f"/apis/{version['groupVersion']}" for one in groups for version in one["versions"])]
        for base in bases:
            for one in self._get(base)["resources"]:
                yield base, one["name"], one["namespaced"]

    def _get(self, path: str) -> Any:
        return self._session.get(self._server + path, timeout=30).json()

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def thief(cluster: control_plane.Cluster, api: Api) -> Iterator[Thief]:
    for name in (NAME, "web-2"):
        goal = {"apiVersion": "vmext.dev/v1alpha1", "kind": "GoalState", "metadata": {"name": name}}
        api.apply(goal | {"spec": {"vmUID": "u", "modelHash": "h", "lastSequenceNumber": 0, "extensions": []}})
    made = Thief(cluster, credentials.issue(api, NAME), api.namespace)
    yield made
    made.close()


def works(status: int) -> bool:
    """Tell whether a request got further than authorization: what it says then is no refusal of it."""
    return status not in (401, 403, 404, 405, 415)


def tried(thief: Thief) -> set[str]:
    """Try every verb on every resource; return what works."""
    found = set()
    merge = "application/merge-patch+json"
    for base, resource, namespaced in thief.resources():
        parent, _, sub = resource.partition("/")
        for namespace in (thief.namespace, "kube-system") if namespaced else ("",):
            where = f"{base}/namespaces/{namespace}/{parent}" if namespace else f"{base}/{parent}"
            own = namespace == thief.namespace
            for name in (NAME, "web-2", f"vmext-vm-{NAME}"):
                one = f"{where}/{name}" + (f"/{sub}" if sub else "")
                label = f"{resource} {name}" + ("" if own else f" in {namespace or 'the cluster'}")
                for verb, method, kind in (
                    ("get", "GET", "application/json"),
                    ("update", "PUT", "application/json"),
                    ("patch", "PATCH", merge),
                    ("apply", "PATCH", "application/apply-patch+yaml"),
                    ("delete", "DELETE", "application/json"),
                    ("create", "POST", "application/json"),
                ):
                    if verb == "create" and not sub:
                        continue
                    body: Any = None if method == "GET" else {}
                    query = "?fieldManager=thief&force=true" if verb == "apply" else ""
                    if works(thief.ask(method, one + query, body, kind)):
                        found.add(f"{verb} {label}")
            if sub:
                continue
            label = resource + ("" if own else f" in {namespace or 'the cluster'}")
            for verb, method, query in (
                ("list", "GET", ""),
                ("watch", "GET", "?watch=1&timeoutSeconds=1"),
                ("create", "POST", ""),
                ("deletecollection", "DELETE", ""),
            ):
                if works(thief.ask(method, where + query, None if method == "GET" else {})):
                    found.add(f"{verb} {label}")
            for name in (NAME, "web-2"):
                query = f"?fieldSelector=metadata.name%3D{name}"
                for verb, more in (("list", ""), ("watch", "&watch=1&timeoutSeconds=1")):
                    if works(thief.ask("GET", where + query + more)):
                        found.add(f"{verb} {resource} by name {name}" + ("" if own else f" in {namespace}"))
    return found


def test_a_stolen_token_is_good_for_one_goal_state_and_nothing_else(thief: Thief) -> None:
    found = tried(thief)

    print("\n".join(sorted(found)))
    assert {one for one in found if one.split()[1] not in OF_ALL} == ALLOWED


def test_whatever_a_role_says_an_agent_writes_only_what_is_its_own(
    thief: Thief, cluster: control_plane.Cluster, api: Api
) -> None:
    subject = f"{api.namespace}:vmext-vm-{NAME}"
    too_much = f"too-much-{api.namespace}"
    options = ("--clusterrole=cluster-admin", f"--serviceaccount={subject}")
    cluster.kubectl("create", "clusterrolebinding", too_much, *options)
    try:
        merge, base = "application/merge-patch+json", f"/apis/vmext.dev/v1alpha1/namespaces/{api.namespace}"
        status = {"status": {"agentVersion": "1"}}
        assert thief.ask("PATCH", f"{base}/goalstates/{NAME}/status", status, merge) == 200
        assert thief.ask("PATCH", f"{base}/goalstates/web-2/status", status, merge) == 403
        assert thief.ask("PATCH", f"{base}/goalstates/{NAME}", {"metadata": {"labels": {"a": "b"}}}, merge) == 403
        assert thief.ask("POST", f"/api/v1/namespaces/{api.namespace}/secrets", {"metadata": {"name": "x"}}) == 403
        machine = {"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": "x"}}
        assert thief.ask("POST", f"{base}/virtualmachines", machine) == 403
        assert thief.ask("DELETE", f"/api/v1/namespaces/{api.namespace}/serviceaccounts/default") == 403
        assert thief.ask("POST", f"/api/v1/namespaces/{api.namespace}/serviceaccounts/default/token", {}) == 403
    finally:
        cluster.kubectl("delete", "clusterrolebinding", too_much)


def test_a_status_that_is_too_large_is_refused(thief: Thief, api: Api) -> None:
    part = {"uid": "u", "state": "enabled", "sequenceNumber": 1, "version": "1", "outcome": "Succeeded"}
    long = {"message": "x" * 8000, "handlerStatus": {"message": "x" * 16000}}
    target = f"/apis/vmext.dev/v1alpha1/namespaces/{api.namespace}/goalstates/{NAME}/status"
    merge = "application/merge-patch+json"

    def report(count: int) -> int:
        body = {"status": {"extensions": {f"e{number}": part | long for number in range(count)}}}
        return thief.ask("PATCH", target, body, merge)

    assert report(20) == 200
    assert report(50) == 413

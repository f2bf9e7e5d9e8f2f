"""Whoever has stolen the operator's token: what of all that the API server serves works, and what policies refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import control_plane
from development import credentials, house
from development.api import Api, Object
from development.house import extension
from development.operator_process import ROOT
from support import declaring, objects
from support.prober import APPLY, JSON, MERGE, OF_ALL, Prober
from support.waiting import eventually
from vmext_operator.api.goal_state import name_of

NAME, ACCOUNT, LONGEST_S = "web-1", "vmext-vm-web-1", 2_592_000
GOAL = name_of(NAME, objects.ANCHOR)
OURS = "/apis/vmext.dev/v1alpha1"
BASES = {
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    **dict.fromkeys(("virtualmachines", "virtualmachineextensions", "goalstates"), OURS),
}
GOAL_RULE = {
    "apiGroups": ["vmext.dev"],
    "resources": ["goalstates"],
    "resourceNames": [GOAL],
    "verbs": ["get", "watch"],
}
STATUS_RULE = GOAL_RULE | {"resources": ["goalstates/status"], "verbs": ["patch"]}
LEASE_RULE = {
    "apiGroups": ["coordination.k8s.io"],
    "resources": ["leases"],
    "resourceNames": [ACCOUNT],
    "verbs": ["get", "update"],
}
Answer = tuple[int, str]


class Place:
    """Requests of the thief in one namespace, only tried: what is granted leaves nothing behind."""

    def __init__(self, thief: Prober, namespace: str) -> None:
        self._thief = thief
        self._namespace = namespace

    def ask(self, method: str, target: str, body: Any, kind: str = JSON) -> Answer:
        """Make a request to an object, by plural and name, or to a collection; return the status and its words."""
        plural = target.split("/", maxsplit=1)[0]
        query = "?fieldManager=thief&dryRun=All" + ("&force=true" if kind == APPLY else "")
        path = f"{BASES.get(plural, '/api/v1')}/namespaces/{self._namespace}/{target}{query}"
        status, answer = self._thief.ask(method, path, body, kind)
        return status, str((answer or {}).get("message", ""))

    def create(self, plural: str, name: str, **fields: Any) -> Answer:
        metadata = {"name": name, **fields.pop("metadata", {})}
        return self.ask("POST", plural, {"metadata": metadata, **fields})

    def apply(self, plural: str, name: str, kind: str, **fields: Any) -> Answer:
        version = BASES.get(plural, "/api/v1").removeprefix("/apis/").removeprefix("/api/")
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}
        return self.ask("PATCH", f"{plural}/{name}", body, APPLY)

    def delete(self, plural: str, name: str) -> Answer:
        return self.ask("DELETE", f"{plural}/{name}", None)

    def mint(self, account: str, bound: Object | None, seconds: int = LONGEST_S) -> Answer:
        spec = {"audiences": [], "expirationSeconds": seconds, "boundObjectRef": bound}
        return self.ask("POST", f"serviceaccounts/{account}/token", {"spec": spec})


@pytest.fixture
def thief(cluster: control_plane.Cluster) -> Iterator[Prober]:
    """Whoever has the operator's token."""
    options = ("create", "token", credentials.OPERATOR, f"--namespace={credentials.NAMESPACE}")
    made = Prober(cluster, cluster.kubectl(*options).strip())
    yield made
    made.close()


@pytest.fixture
def here(thief: Prober, api: Api) -> Place:
    return Place(thief, api.namespace)


@pytest.fixture
def system(thief: Prober) -> Place:
    return Place(thief, "kube-system")


def make(api: Api, plural: str, name: str, **fields: Any) -> str:
    """Make an object as the administrator; return its UID."""
    target = f"{BASES.get(plural, '/api/v1')}/namespaces/{api.namespace}/{plural}"
    return str(api.request("POST", target, {"metadata": {"name": name}, **fields})["metadata"]["uid"])


def refused(policy: str, answer: Answer) -> bool:
    """Tell whether that policy of ours refused, and nobody else."""
    return answer[0] == 403 and f"ValidatingAdmissionPolicy 'vmext-operator-{policy}'" in answer[1]


def rows_of_the_table(name: str = "the operator's rights") -> dict[str, set[str]]:
    """Return the verbs by resource of what SECURITY.md says that a compromised operator may."""
    section = (ROOT / "SECURITY.md").read_text().split(f"<!-- {name} -->")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `([a-z0-9./]+)` \| ([a-z, ]+) \|", section, re.MULTILINE)
    return {resource: set(verbs.split(", ")) for resource, verbs in rows}


@pytest.fixture
def watches_secrets(cluster: control_plane.Cluster) -> Iterator[None]:
    """What the chart grants with ``secrets.watch``, for as long as a test takes."""
    rights = str(house.RIGHTS / "if-asked" / "watch-secrets.yaml")
    cluster.kubectl("apply", "-f", rights)
    yield
    cluster.kubectl("delete", "-f", rights)


def test_a_stolen_operator_may_what_the_table_says_and_no_more(thief: Prober, api: Api) -> None:
    assert what_works(thief, api) == rows_of_the_table()


def test_one_that_watches_secrets_may_what_the_second_table_says_besides(
    watches_secrets: None, thief: Prober, api: Api
) -> None:
    make(api, "secrets", "s", data={"k": "dmFsdWU="})
    eventually(lambda: thief.ask("GET", "/api/v1/secrets")[0] == 200)
    # As SECURITY.md has it: a list is one of values.
    assert "dmFsdWU=" in str(thief.ask("GET", f"/api/v1/namespaces/{api.namespace}/secrets")[1])
    besides = rows_of_the_table("the operator's rights with secrets.watch")
    both = {name: verbs | besides.get(name, set()) for name, verbs in rows_of_the_table().items()}
    assert besides.keys() <= both.keys()
    assert what_works(thief, api) == both


def what_works(thief: Prober, api: Api) -> dict[str, set[str]]:
    namespaces = [api.namespace, "default", "kube-system", "vmext-system"]

    found = thief.what_works([NAME, ACCOUNT], namespaces)

    print("\n".join(str(one) for one in sorted(found)))
    assert found >= OF_ALL
    works: dict[str, set[str]] = {}
    for one in found - OF_ALL:
        assert one.namespace in ("*", ""), one
        # An apply is a patch to who may and who may not.
        works.setdefault(one.resource, set()).add(one.verb.replace("apply", "patch"))
    return works


def test_the_api_server_itself_says_the_same_of_every_namespace(thief: Prober, cluster: control_plane.Cluster) -> None:
    names = cluster.kubectl("get", "namespaces", "-o", "name").split()
    found = [thief.rules(name.removeprefix("namespace/")) for name in names]

    assert all(rules == found[0] for rules in found)
    verbs = {verb for verb, _, _ in found[0]}
    # With none of these it could become more than it is.
    assert not verbs & {"*", "bind", "escalate", "impersonate", "approve", "sign", "deletecollection"}
    assert not {"list", "watch"} & {verb for verb, resource, _ in found[0] if resource == "secrets"}


def test_it_reads_secrets_by_name_and_finds_out_no_names(thief: Prober, api: Api) -> None:
    make(api, "secrets", "s")
    base = f"/api/v1/namespaces/{api.namespace}/secrets"

    assert thief.ask("GET", f"{base}/s")[0] == 200
    for target in (base, "/api/v1/secrets", f"{base}?fieldSelector=metadata.name%3Ds", f"{base}?watch=1"):
        assert thief.ask("GET", target)[0] == 403


def test_it_mints_tokens_for_machines_alone(here: Place, system: Place, api: Api) -> None:
    def anchored(account: str) -> Object:
        make(api, "serviceaccounts", account)
        return {"kind": "Secret", "apiVersion": "v1", "name": account, "uid": make(api, "secrets", account)}

    own, other, foreign = anchored(ACCOUNT), anchored("vmext-vm-web-2"), anchored("victim")
    pod = {"kind": "Pod", "apiVersion": "v1", "name": ACCOUNT, "uid": "x"}
    assert here.mint(ACCOUNT, own)[0] == 201
    for what, answer in {
        "another account": here.mint("victim", foreign),
        "another account, bound to a machine's Secret": here.mint("victim", own),
        "what every Pod is by default": here.mint("default", own),
        "itself": Place(here._thief, credentials.NAMESPACE).mint(credentials.OPERATOR, own),
        "a controller": system.mint("namespace-controller", own),
        "unbound": here.mint(ACCOUNT, None),
        "bound to another machine's Secret": here.mint(ACCOUNT, other),
        "bound to anybody's Secret": here.mint(ACCOUNT, foreign),
        "bound to any Secret of a name": here.mint(ACCOUNT, {**own, "uid": ""}),
        "bound to a Pod": here.mint(ACCOUNT, pod),
        "for a second too long": here.mint(ACCOUNT, own, LONGEST_S + 1),
    }.items():
        assert refused("tokens", answer), (what, answer)


def test_it_mints_no_token_in_kube_system_whatever_the_name(system: Place, cluster: control_plane.Cluster) -> None:
    cluster.kubectl("create", "serviceaccount", ACCOUNT, "--namespace=kube-system")
    cluster.kubectl("create", "secret", "generic", ACCOUNT, "--namespace=kube-system")
    try:
        uid = cluster.kubectl("get", "secret", ACCOUNT, "--namespace=kube-system", "-o", "jsonpath={.metadata.uid}")
        bound = {"kind": "Secret", "apiVersion": "v1", "name": ACCOUNT, "uid": uid}
        assert refused("tokens", system.mint(ACCOUNT, bound))
    finally:
        cluster.kubectl("delete", f"secret/{ACCOUNT}", f"serviceaccount/{ACCOUNT}", "--namespace=kube-system")


@pytest.mark.parametrize(
    ("plural", "kind"),
    [("secrets", "Secret"), ("serviceaccounts", "ServiceAccount"), ("roles", "Role"), ("leases", "Lease")],
)
def test_it_writes_what_is_named_after_a_machine(here: Place, api: Api, plural: str, kind: str) -> None:
    empty: Object = {"rules": []} if plural == "roles" else {}
    for name in ("victim", ACCOUNT):
        make(api, plural, name, **empty)

    assert here.create(plural, "vmext-vm-web-2", **empty)[0] == 201
    assert here.delete(plural, ACCOUNT)[0] == 200
    assert refused("belongings", here.create(plural, "x", **empty))
    assert refused("belongings", here.ask("POST", plural, {"metadata": {"generateName": "x-"}, **empty}))
    assert refused("belongings", here.delete(plural, "victim"))
    if plural != "secrets":
        assert here.apply(plural, ACCOUNT, kind, **empty)[0] == 200
        label = {"metadata": {"labels": {"a": "b"}}}
        assert refused("belongings", here.ask("PATCH", f"{plural}/victim", label, MERGE))
        assert refused("belongings", here.apply(plural, "x", kind, **empty))


def test_in_its_own_namespace_it_writes_its_key_and_its_lease(here: Place, thief: Prober) -> None:
    home = Place(thief, credentials.NAMESPACE)
    names = {"leases": "vmext-operator", "secrets": "vmext-operator-key"}
    for plural, name in names.items():
        answer = home.create(plural, name)
        # An operator may have been here.
        assert answer[0] in (201, 409), answer
        assert refused("belongings", home.create(plural, "x"))
        assert refused("belongings", here.create(plural, name))
    assert refused("belongings", home.create("secrets", "vmext-operator"))
    assert refused("belongings", home.create("serviceaccounts", "vmext-operator-key"))


def test_a_role_that_it_writes_holds_a_machines_rights_and_no_others(here: Place, api: Api) -> None:
    make(api, "roles", ACCOUNT, rules=[])
    good = [GOAL_RULE, STATUS_RULE, LEASE_RULE]
    assert here.apply("roles", ACCOUNT, "Role", rules=good)[0] == 200
    secrets = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    for rule in (
        secrets,
        secrets | {"resourceNames": [ACCOUNT]},
        GOAL_RULE | {"resourceNames": [name_of("web-2", objects.ANCHOR)]},
        GOAL_RULE | {"resourceNames": [NAME]},
        GOAL_RULE | {"resourceNames": [GOAL + "0"]},
        GOAL_RULE | {"resourceNames": [GOAL, name_of("web-2", objects.ANCHOR)]},
        GOAL_RULE | {"resourceNames": []},
        {key: value for key, value in GOAL_RULE.items() if key != "resourceNames"},
        GOAL_RULE | {"verbs": ["get", "patch"]},
        GOAL_RULE | {"verbs": ["delete"]},
        GOAL_RULE | {"resources": ["goalstates", "goalstates/status"]},
        GOAL_RULE | {"resources": ["virtualmachines"]},
        STATUS_RULE | {"verbs": ["patch", "get"]},
        STATUS_RULE | {"apiGroups": ["vmext.dev", ""]},
        LEASE_RULE | {"resourceNames": ["vmext-vm-web-2"]},
        LEASE_RULE | {"resourceNames": [NAME]},
        LEASE_RULE | {"verbs": ["get", "update", "delete"]},
        LEASE_RULE | {"resources": ["leases", "secrets"]},
    ):
        for answer in (
            here.apply("roles", ACCOUNT, "Role", rules=[*good, rule]),
            here.ask("PATCH", f"roles/{ACCOUNT}", {"rules": [rule]}, MERGE),
        ):
            # What it does not hold itself, the API server refuses before any policy is asked.
            assert refused("belongings", answer) or "attempting to grant" in answer[1], (rule, answer)
    assert refused("belongings", here.apply("roles", ACCOUNT, "Role", rules=[secrets]))


def test_a_rolebinding_that_it_writes_gives_a_machines_role_to_its_account(
    here: Place, api: Api, cluster: control_plane.Cluster
) -> None:
    make(api, "roles", ACCOUNT, rules=[GOAL_RULE])
    make(api, "roles", "wide", rules=[GOAL_RULE])
    group = "rbac.authorization.k8s.io"
    ref = {"apiGroup": group, "kind": "Role", "name": ACCOUNT}
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": api.namespace}
    bind = {"roleRef": ref, "subjects": [account]}
    assert here.create("rolebindings", ACCOUNT, **bind)[0] == 201
    assert refused("belongings", here.create("rolebindings", "x", **bind))
    user = {"kind": "User", "apiGroup": group, "name": "system:serviceaccount:x:y"}
    for changed in (
        {"roleRef": ref | {"name": "wide"}},
        # It holds all that this one has, so nothing but the policy is in the way.
        {"roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": credentials.OPERATOR}},
        {"subjects": [account | {"name": "default"}]},
        {"subjects": [account | {"namespace": "kube-system"}]},
        {"subjects": [account, user]},
        {"subjects": [user]},
        {"subjects": [{"kind": "Group", "apiGroup": group, "name": "system:authenticated"}]},
    ):
        assert refused("belongings", here.create("rolebindings", ACCOUNT, **(bind | changed))), changed
    admin = {"roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}}
    assert "attempting to grant" in here.create("rolebindings", ACCOUNT, **(bind | admin))[1]


def test_a_secret_that_it_makes_holds_no_account_but_a_machines(here: Place, system: Place) -> None:
    def filled_for(account: str) -> Object:
        annotations = {"kubernetes.io/service-account.name": account}
        return {"type": "kubernetes.io/service-account-token", "metadata": {"annotations": annotations}}

    assert here.create("secrets", ACCOUNT, type="Opaque")[0] == 201
    assert here.create("secrets", ACCOUNT, **filled_for(ACCOUNT))[0] == 201
    assert refused("belongings", here.create("secrets", ACCOUNT, **filled_for("default")))
    assert refused("belongings", here.create("secrets", f"{ACCOUNT}-x", **filled_for("vmext-operator")))
    assert refused("belongings", system.create("secrets", ACCOUNT, **filled_for(ACCOUNT)))
    data = {"tls.crt": "", "tls.key": ""}
    assert refused("belongings", here.create("secrets", ACCOUNT, type="kubernetes.io/tls", data=data))


def test_the_status_of_a_goal_state_is_not_its_own_to_write(here: Place, api: Api) -> None:
    api.apply(declaring.goal(NAME))

    assert here.ask("PATCH", f"goalstates/{GOAL}", {"spec": {"modelHash": "i"}}, MERGE)[0] == 200
    for answer in (
        here.ask("PATCH", f"goalstates/{GOAL}/status", {"status": {"agentVersion": "1"}}, MERGE),
        here.apply("goalstates", f"{GOAL}/status", "GoalState", metadata={"name": GOAL}, status={"agentVersion": "1"}),
    ):
        assert refused("objects", answer), answer


@pytest.mark.parametrize("plural", ["virtualmachines", "virtualmachineextensions"])
def test_of_what_users_declare_it_writes_status_and_its_own_finalizers(here: Place, api: Api, plural: str) -> None:
    metadata = {"name": NAME, "finalizers": ["example.com/theirs"], "labels": {"a": "b"}, "annotations": {"c": "d"}}
    if plural == "virtualmachines":
        declared: Object = {"kind": "VirtualMachine", "spec": {}}
        specs: list[Object] = [{"location": "x"}]
    else:
        # As large as settings may be: to compare them must not be beyond what a policy may cost.
        declared = {**extension(NAME, NAME, settings={"x": ["y" * 1000] * 250})}
        specs = [{"settings": {"x": ["z"]}}, {"settings": None}, {"forceUpdateTag": "1"}]
    api.apply(declared | {"apiVersion": "vmext.dev/v1alpha1", "metadata": metadata})

    def patch(body: Object) -> Answer:
        return here.ask("PATCH", f"{plural}/{NAME}", body, MERGE)

    theirs = metadata["finalizers"]
    for good in ([*theirs, "vmext.dev/x"], ["vmext.dev/x", *theirs], theirs):
        assert patch({"metadata": {"finalizers": good}})[0] == 200
    assert here.ask("PATCH", f"{plural}/{NAME}/status", {"status": {"observedGeneration": 1}}, MERGE)[0] == 200
    changes: list[Object] = [
        *({"spec": spec} for spec in specs),
        *({"metadata": {"finalizers": finalizers}} for finalizers in ([], ["vmext.dev/x"], [*theirs, "example.com/x"])),
        {"metadata": {"labels": {"a": "c"}}},
        {"metadata": {"labels": {"x": "y"}}},
        {"metadata": {"annotations": {"c": None}}},
        {"metadata": {"annotations": {"vmext.dev/anything": "1"}}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "x"}]}},
    ]
    for bad in changes:
        assert refused("objects", patch(bad)), bad


def test_the_policies_themselves_are_sound(cluster: control_plane.Cluster, api: Api) -> None:
    # What the API server's own type checker has to say of their expressions is in their status.
    base = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    found = {
        one["metadata"]["name"]: one
        for one in api.request("GET", base)["items"]
        if one["metadata"]["name"].startswith("vmext-")
    }
    assert sorted(found) == [
        "vmext-agents",
        "vmext-operator-belongings",
        "vmext-operator-objects",
        "vmext-operator-tokens",
        "vmext-pins",
    ]
    for policy in found.values():
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert "expressionWarnings" not in (policy.get("status") or {}).get("typeChecking", {}), policy["status"]

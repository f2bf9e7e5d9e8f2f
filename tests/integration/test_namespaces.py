"""The operator on some namespaces only, with a Role in each: some come late, lose their Role, or are made again."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import control_plane
from development import credentials, house
from development.api import Api
from development.operator_process import Operator
from support.declaring import declare, image, machine, wait_entry
from support.waiting import eventually

_numbers = itertools.count(1)
ACCOUNT = "some-namespaces"
TYPE = "Tenancy"


def rules(*, clusters: bool) -> list[dict[str, Any]]:
    """Return those of the operator's rules that are about cluster-scoped kinds, or all others: as the chart has it."""
    (role,) = (
        one for one in yaml.safe_load_all((house.RIGHTS / "rbac.yaml").read_text()) if one["kind"] == "ClusterRole"
    )
    images = "virtualmachineextensionimages"
    return [rule for rule in role["rules"] if rule["resources"][0].startswith(images) is clusters]


def grant(cluster: control_plane.Cluster, folder: Path, home: str, namespace: str) -> None:
    """Give the account of a namespace the operator's Role in another one; an empty one is the whole cluster."""
    kind, name = ("Role" if namespace else "ClusterRole"), f"{home}-operator"
    where = {"namespace": namespace} if namespace else {}
    api = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    metadata = {"metadata": {"name": name} | where}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": home}
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [subject],
    }
    file = folder / "rights.yaml"
    objects = [
        api | metadata | {"kind": kind, "rules": rules(clusters=not namespace)},
        api | metadata | {"kind": f"{kind}Binding"} | binding,
    ]
    file.write_text(yaml.safe_dump_all(objects))
    cluster.kubectl("apply", "-f", str(file))


@dataclass
class Tenancy:
    """An operator that watches some namespaces, and how to change what it may."""

    cluster: control_plane.Cluster
    folder: Path
    operator: Operator
    #: The operator's own namespace, which is not watched.
    home: str
    watched: tuple[str, ...]
    unwatched: str

    @property
    def steady(self) -> str:
        """Return the one that is there, with its Role, in every test."""
        return self.watched[-1]

    def create(self, namespace: str) -> None:
        self.cluster.kubectl("create", "namespace", namespace)

    def grant(self, namespace: str) -> None:
        grant(self.cluster, self.folder, self.home, namespace)

    def revoke(self, namespace: str) -> None:
        self.cluster.kubectl("delete", "rolebinding", f"{self.home}-operator", "-n", namespace)

    @contextlib.contextmanager
    def api(self, namespace: str) -> Iterator[Api]:
        made = Api(self.cluster.kubeconfig, namespace)
        try:
            yield made
        finally:
            made.close()

    def lines(self, text: str, namespace: str) -> list[dict[str, Any]]:
        """Return what the operator's log says of a namespace."""
        said = map(json.loads, self.operator.log.read_text().splitlines())
        return [one for one in said if text in one["message"] and one.get("namespace") == namespace]


@contextlib.contextmanager
def tenancy(cluster: control_plane.Cluster, folder: Path, *options: str) -> Iterator[Tenancy]:
    """Run an operator for six namespaces that are not there yet, by an account that has only its own."""
    name = f"tenancy-{os.getpid()}-{next(_numbers)}"
    home, watched = f"{name}-home", tuple(f"{name}-{one}" for one in ("a", "b", "c", "d", "e", "steady"))
    cluster.kubectl("create", "namespace", home)
    cluster.kubectl("create", "namespace", f"{name}-unwatched")
    cluster.kubectl("create", "serviceaccount", ACCOUNT, "-n", home)
    grant(cluster, folder, home, "")
    grant(cluster, folder, home, home)
    token = cluster.kubectl("create", "token", ACCOUNT, "-n", home, "--duration=24h").strip()
    operator = Operator(
        credentials.kubeconfig(cluster, token, folder / "operator.kubeconfig"),
        folder / "operator.log",
        f"--namespace={home}",
        f"--watch-namespaces={','.join(watched)}",
        "--resync-seconds=2",
        *options,
    )
    operator.start()
    try:
        yield Tenancy(cluster, folder, operator, home, watched, f"{name}-unwatched")
    finally:
        operator.stop()


@pytest.fixture(scope="module")
def tenants(cluster: control_plane.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenancy]:
    with tenancy(cluster, tmp_path_factory.mktemp("tenancy")) as made:
        with made.api(made.home) as api:
            api.apply(image(TYPE, "1.0.0"))
        made.create(made.steady)
        made.grant(made.steady)
        yield made
        with made.api(made.home) as api:
            api.delete("VirtualMachineExtensionImage", f"test.{TYPE}-1.0.0".lower())


def converges(tenants: Tenancy, namespace: str, vm: str = "web-1") -> None:
    """Declare a machine with an extension in a namespace and see that become a goal."""
    with tenants.api(namespace) as api:
        machine(api, vm)
        declare(api, f"{vm}-one", TYPE, vm=vm)
        assert wait_entry(api, f"{vm}-one", vm=vm)["state"] == "enabled"


def test_each_is_taken_up_when_it_and_its_role_are_there_and_no_other_waits_for_it(tenants: Tenancy) -> None:
    first, second, *_ = tenants.watched
    for namespace in tenants.watched[:-1]:
        eventually(lambda one=namespace: tenants.lines("namespace out of reach", one), namespace)  # type: ignore[misc]
    tenants.create(first)
    tenants.grant(first)
    converges(tenants, first)
    pid = tenants.operator.pid

    tenants.create(second)
    with tenants.api(second) as api:
        machine(api)
        declare(api, "one", TYPE)
        converges(tenants, first, "another")
        assert api.get("GoalState", "web-1") is None, "it is there, and the operator may not see it"
        tenants.grant(second)
        wait_entry(api, "one")
    assert len(tenants.lines("namespace out of reach", second)) == 1
    (said,) = tenants.lines("namespace in reach again", second)
    assert said["level"].lower() == "info"
    assert tenants.operator.pid == pid


def test_one_that_loses_its_role_is_left_alone_and_taken_up_again_with_what_came_meanwhile(tenants: Tenancy) -> None:
    third = tenants.watched[2]
    tenants.create(third)
    tenants.grant(third)
    converges(tenants, third)
    before = len(tenants.lines("namespace out of reach", third))
    tenants.revoke(third)
    # Its watches stand for longer: a list is refused first.
    eventually(lambda: len(tenants.lines("namespace out of reach", third)) == before + 1)
    with tenants.api(third) as api:
        machine(api, "meanwhile")
        declare(api, "one", TYPE, vm="meanwhile")
        converges(tenants, tenants.steady, "while-another-is-out-of-reach")
        tenants.grant(third)
        wait_entry(api, "one", vm="meanwhile")


def test_one_that_is_deleted_and_made_again_converges_again(tenants: Tenancy) -> None:
    fourth = tenants.watched[3]
    tenants.create(fourth)
    tenants.grant(fourth)
    converges(tenants, fourth)
    with tenants.api(fourth) as api:
        # As the documentation has it: what is declared there goes first, while the operator may let it go.
        for kind, name in (("VirtualMachineExtension", "web-1-one"), ("VirtualMachine", "web-1")):
            api.delete(kind, name)
        api.wait_gone("VirtualMachine", "web-1")
    before, pid = len(tenants.lines("namespace out of reach", fourth)), tenants.operator.pid
    tenants.cluster.kubectl("delete", "namespace", fourth, "--wait", "--timeout=60s")
    eventually(lambda: len(tenants.lines("namespace out of reach", fourth)) == before + 1)
    tenants.create(fourth)
    tenants.grant(fourth)
    converges(tenants, fourth)
    assert tenants.operator.pid == pid


def test_one_that_hangs_in_terminating_without_its_role_is_let_go_by_hand_and_converges_when_made_again(
    tenants: Tenancy,
) -> None:
    fifth = tenants.watched[4]
    tenants.create(fifth)
    tenants.grant(fifth)
    converges(tenants, fifth)
    before = len(tenants.lines("namespace out of reach", fifth))
    tenants.revoke(fifth)
    eventually(lambda: len(tenants.lines("namespace out of reach", fifth)) == before + 1)
    tenants.cluster.kubectl("delete", "namespace", fifth, "--wait=false")
    with tenants.api(fifth) as api:
        for kind, name in (("VirtualMachineExtension", "web-1-one"), ("VirtualMachine", "web-1")):
            held = api.wait(kind, name, lambda obj: obj is not None and "deletionTimestamp" in obj["metadata"])
            assert held is not None
            patch = {"metadata": {"finalizers": None}}
            api.request("PATCH", api.path(kind, name), patch, "application/merge-patch+json")
    tenants.cluster.kubectl("wait", "--for=delete", f"namespace/{fifth}", "--timeout=60s")
    tenants.create(fifth)
    tenants.grant(fifth)
    converges(tenants, fifth)


def test_what_is_not_listed_is_not_touched(tenants: Tenancy) -> None:
    with tenants.api(tenants.unwatched) as api:
        machine(api)
        declare(api, "one", TYPE)
        converges(tenants, tenants.steady, "after-it")
        found = api.get("VirtualMachineExtension", "one")
        assert found is not None
        assert "finalizers" not in found["metadata"]
        assert found["status"] == {"observedGeneration": -1}
        assert api.get("GoalState", "web-1") is None


def test_two_operators_with_other_namespaces_work_side_by_side(tenants: Tenancy, tmp_path: Path) -> None:
    with tenancy(tenants.cluster, tmp_path) as other:
        mine, theirs = tenants.steady, other.watched[0]
        other.create(theirs)
        other.grant(theirs)
        converges(other, theirs)
        converges(tenants, mine, "side-by-side")
        for one in (tenants, other):
            holder = one.cluster.kubectl(
                "get", "lease", "vmext-operator", "-n", one.home, "-o", "jsonpath={.spec.holderIdentity}"
            )
            assert holder == one.operator.identity

"""The chart with watchNamespaces: the operator works with its Roles alone, and leaves all else alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import charts
import control_plane
import helm as program
from development.api import Api
from development.house import OPERATOR_USER
from development.pod import PodUnavailableError
from helm import HelmError
from support import chart_house
from support.chart_house import CHART, NAMESPACE, ChartHouse
from support.declaring import declare, machine, wait_entry
from support.guests import skipping
from support.waiting import eventually

#: Listed, and without its RoleBinding when the operator starts.
LATE = "late"
#: Not listed.
ELSEWHERE = "elsewhere"
ACCOUNT = OPERATOR_USER.replace("vmext-system", NAMESPACE)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChartHouse]:
    """The chart is installed for two namespaces, and somebody has taken the rights in one of them away."""
    if os.environ.get(control_plane.choice.VARIABLE):
        pytest.skip("an existing cluster may have vmext installed, and that is not removed from it")
    with chart_house.running(tmp_path_factory.mktemp("chart-house"), program.obtain(print)) as running:
        for name in (LATE, ELSEWHERE):
            running.cluster.kubectl("create", "namespace", name)
        running.install(watchNamespaces=[running.api.namespace, LATE])
        running.cluster.kubectl("delete", "rolebinding", "vmext-operator", "-n", LATE)
        for namespace in (LATE, ELSEWHERE):
            there = Api(running.cluster.kubeconfig, namespace)
            machine(there)
            declare(there, "one", "CustomScript", publisher="VMExt", typeHandlerVersion="2.1")
            there.close()
        try:
            running.roll_out()
        except PodUnavailableError as error:
            pytest.skip(str(error))
        catalog = ("install", "catalog", str(charts.ROOT / "vmext-catalog"), "-n", NAMESPACE)
        running.helm.run(*catalog, values={"baseUrls": [running.url]})
        yield running


@pytest.fixture
def late(home: ChartHouse) -> Iterator[Api]:
    made = Api(home.cluster.kubeconfig, LATE)
    yield made
    made.close()


@pytest.fixture
def elsewhere(home: ChartHouse) -> Iterator[Api]:
    made = Api(home.cluster.kubeconfig, ELSEWHERE)
    yield made
    made.close()


def may(home: ChartHouse, verb: str, group: str, resource: str, namespace: str = "", name: str = "") -> bool:
    """Ask the API server what the operator's account may."""
    what = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "groups": ["system:serviceaccounts"], "resourceAttributes": what},
    }
    answer = home.api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def test_it_may_read_what_is_listed_and_nothing_beside(home: ChartHouse) -> None:
    kinds = ("virtualmachines", "virtualmachineextensions", "goalstates")
    for resource in kinds:
        assert may(home, "watch", "vmext.dev", resource, home.api.namespace)
        assert not may(home, "list", "vmext.dev", resource, ELSEWHERE)
        assert not may(home, "list", "vmext.dev", resource), "everywhere"
    assert may(home, "list", "vmext.dev", "virtualmachineextensionimages")
    assert not may(home, "get", "", "secrets", ELSEWHERE, "any")
    # Of its own namespace it has its Lease and its key.
    assert may(home, "get", "", "secrets", NAMESPACE, "vmext-operator-key")
    assert not may(home, "get", "", "secrets", NAMESPACE, "another")
    assert not may(home, "delete", "coordination.k8s.io", "leases", NAMESPACE, "vmext-operator")
    assert not may(home, "list", "vmext.dev", "virtualmachines", NAMESPACE)


def test_a_script_runs_in_a_listed_namespace_while_another_one_is_out_of_reach(home: ChartHouse) -> None:
    with skipping():
        home.add_machine("web-1")
    settings = {"commandToExecute": "echo here > /root/ran"}
    declare(home.api, "script", "CustomScript", publisher="VMExt", typeHandlerVersion="2.1", settings=settings)
    home.api.wait_ready("script", timeout_s=120)
    assert home.guests["web-1"].read("/root/ran") == b"here\n"


def test_a_second_release_is_refused_by_helm(home: ChartHouse) -> None:
    with pytest.raises(HelmError) as raised:
        home.helm.run("install", "second", str(CHART), "-n", ELSEWHERE, values={"watchNamespaces": [ELSEWHERE]})
    assert "cannot be imported into the current release" in raised.value.said


def test_one_without_a_role_is_left_alone_until_an_upgrade_gives_it_again(
    home: ChartHouse, late: Api, elsewhere: Api
) -> None:
    eventually(lambda: home.logs().count("namespace out of reach") == 1, "it is told")
    leader = next(pod for pod in home.pods if pod.name == home.lease_holder())
    for kind in ("livenessProbe", "readinessProbe"):
        eventually(lambda kind=kind: leader.probe(kind)[0] == 200, f"{kind} is answered")  # type: ignore[misc]
    assert "\nvmext_namespaces_out_of_reach 1.0\n" in leader.ask("/metrics")[1]
    (line,) = home.refusals()
    assert "namespace out of reach" in line, "nothing else was refused"
    assert f"namespace={LATE}" in line
    for there in (late, elsewhere):
        assert_untouched(there)

    running = [pod.name for pod in home.pods]
    home.install(watchNamespaces=[home.api.namespace, LATE])
    assert wait_entry(late, "one")["state"] == "enabled"
    leader = next(pod for pod in home.pods if pod.name == home.lease_holder())
    assert leader.name in running, "the same process"
    assert "\nvmext_namespaces_out_of_reach 0.0\n" in leader.ask("/metrics")[1]
    assert home.logs().count("namespace in reach again") == 1
    assert_untouched(elsewhere)


def assert_untouched(there: Api) -> None:
    for kind, name in (("VirtualMachine", "web-1"), ("VirtualMachineExtension", "one")):
        found = there.get(kind, name)
        assert found is not None
        assert "finalizers" not in found["metadata"]
        assert found["status"] == {"observedGeneration": -1}
    assert there.get("GoalState", "web-1") is None

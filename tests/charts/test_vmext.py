"""The chart vmext: every manifest of a matrix of values is what the API server takes, and says what it should."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane import Cluster
from development.api import Api
from development.operator_process import ROOT
from helm import Helm, HelmError
from support import manifests
from support.chart_house import CHART, NAMESPACE

EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.com/vmext", "digest": f"sha256:{'a' * 64}", "pullSecrets": ["pull"]},
    "replicas": 3,
    # One, and the release's own: a Role more would be one in a namespace that the dry run does not have.
    "watchNamespaces": [NAMESPACE],
    "operator": {"logLevel": "debug", "paused": True},
    "credential": {"tokenDays": 0.5, "mode": "LongLived"},
    "rbac": {"aggregateToEdit": True},
    "secrets": {"watch": True},
    "publisherKeys": {"VMExt": ["AAAA", "BBBB"]},
    "podLabels": {"team": "platform", "app.kubernetes.io/name": "mine"},
    "podAnnotations": {"note": "a: b"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "x", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "system-cluster-critical",
    "networkPolicy": {
        "enabled": True,
        "apiServerPorts": [16443],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
    },
    "monitoring": {
        "serviceMonitor": True,
        "alerts": True,
        "labels": {"release": "prometheus"},
        "dashboard": True,
        "dashboardLabels": {"find": "me"},
    },
}
NOTHING: dict[str, Any] = {
    "replicas": 1,
    "crds": {"install": False},
    "rbac": {"aggregateToView": False},
    "admissionPolicies": {"enabled": False},
    "flowControl": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
}
#: The operator's Role in its own namespace.
OWN = "vmext-operator-own"
MATRIX = {"defaults": {}, "everything": EVERYTHING, "nothing that can be left out": NOTHING}


@pytest.fixture
def monitoring(cluster: Cluster) -> None:
    """The Prometheus operator's two kinds, as far as the chart uses them."""
    kinds = str(Path(__file__).with_name("monitoring-crds.yaml"))
    cluster.kubectl("apply", "--server-side", "-f", kinds)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", kinds)


def rendered(helm: Helm, values: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    objects = helm.template(CHART, "--namespace", NAMESPACE, values=values)
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}


@pytest.mark.parametrize("name", MATRIX)
def test_the_api_server_takes_every_manifest(helm: Helm, api: Api, monitoring: None, name: str) -> None:
    objects = rendered(helm, MATRIX[name])
    assert {o["metadata"]["namespace"] for o in objects.values() if "namespace" in o["metadata"]} == {NAMESPACE}
    manifests.dry_run(api, objects.values(), namespace=api.namespace)


@pytest.mark.parametrize("name", MATRIX)
def test_it_lints(helm: Helm, name: str) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), values=MATRIX[name])


def test_nothing_of_the_default_names_is_left_where_others_are_given(helm: Helm) -> None:
    text = helm.run("template", "other", str(CHART), "--namespace", NAMESPACE, values={"credential": {"tokenDays": 7}})
    assert "vmext-system" not in text
    assert "2592000" not in text
    assert f"system:serviceaccount:{NAMESPACE}:vmext-operator" in text
    assert "expirationSeconds.orValue(0) <= 604800" in text


def test_what_is_set_is_an_option_that_the_operator_knows(helm: Helm) -> None:
    (container,) = rendered(helm, EVERYTHING)["Deployment", "vmext-operator"]["spec"]["template"]["spec"]["containers"]
    given = {argument.partition("=")[0] for argument in container["args"]}
    assert {
        "--paused",
        "--credential-mode",
        "--token-days",
        "--publisher-keys",
        "--log-level",
        "--watch-secrets",
        "--watch-namespaces",
    } == given
    # Values are judged as they are read, and names by what the operator says that there are.
    command = [sys.executable, "-m", "vmext_operator", *container["args"], "--help"]
    environment = {"PYTHONPATH": str(ROOT / "operator"), "PATH": "/usr/bin:/bin"}
    known = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert [name for name in given if f"  {name} " not in known and f"  {name}\n" not in known] == []


def test_the_pod_has_nothing_to_spare(helm: Helm) -> None:
    pod = rendered(helm, {})["Deployment", "vmext-operator"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (volume,) = pod["volumes"]
    assert [set(source) for source in volume["projected"]["sources"]] == [
        {"serviceAccountToken"},
        {"configMap"},
        {"downwardAPI"},
    ]


def test_the_strictest_pod_security_standard_takes_the_pod(helm: Helm, cluster: Cluster, api: Api) -> None:
    cluster.kubectl("label", "namespace", api.namespace, "pod-security.kubernetes.io/enforce=restricted")
    cluster.kubectl("create", "serviceaccount", "vmext-operator", "-n", api.namespace)
    for values in (MATRIX["defaults"], EVERYTHING | {"priorityClassName": ""}):
        spec = rendered(helm, values)["Deployment", "vmext-operator"]["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", **spec, "metadata": {"name": "x"} | spec["metadata"]}
        api.request("POST", f"/api/v1/namespaces/{api.namespace}/pods?dryRun=All&fieldValidation=Strict", pod)


def test_alerts_and_dashboard_are_the_ones_of_the_house(helm: Helm) -> None:
    found = rendered(helm, EVERYTHING)
    (alerts,) = yaml.safe_load_all((CHART / "files/observability/alerts.yaml").read_text())
    rules = json.dumps(alerts["spec"]).replace("vmext-system", NAMESPACE)
    assert found["PrometheusRule", "vmext-operator"]["spec"] == json.loads(rules)
    assert found["PrometheusRule", "vmext-operator"]["metadata"]["labels"]["release"] == "prometheus"
    dashboard = found["ConfigMap", "vmext-operator-dashboard"]
    assert dashboard["metadata"]["labels"]["find"] == "me"
    assert json.loads(dashboard["data"]["vmext-operator.json"]) == json.loads(
        (CHART / "files/observability/dashboard.json").read_text()
    )


def test_kinds_are_kept_and_applied_server_side_unless_said_otherwise(helm: Helm) -> None:
    kinds = [o for (kind, _), o in rendered(helm, {}).items() if kind == "CustomResourceDefinition"]
    assert len(kinds) == len(list((ROOT / "crds").glob("*.yaml")))
    for obj in kinds:
        assert obj["metadata"]["annotations"] == {
            "argocd.argoproj.io/sync-options": "ServerSideApply=true",
            "helm.sh/resource-policy": "keep",
        }
    kinds = [o for (k, _), o in rendered(helm, {"crds": {"keep": False}}).items() if k == "CustomResourceDefinition"]
    assert all("helm.sh/resource-policy" not in obj["metadata"]["annotations"] for obj in kinds)
    assert not [key for key in rendered(helm, {"crds": {"install": False}}) if key[0] == "CustomResourceDefinition"]


def test_only_who_says_so_makes_editors_of_a_namespace_root_on_its_machines(helm: Helm) -> None:
    def aggregated(values: Mapping[str, Any]) -> set[str]:
        found = rendered(helm, values)
        labels = [o["metadata"].get("labels", {}) for (kind, _), o in found.items() if kind == "ClusterRole"]
        return {name.rpartition("-")[2] for one in labels for name in one if "/aggregate-to-" in name}

    assert aggregated({}) == {"view"}
    assert aggregated({"rbac": {"aggregateToEdit": True}}) == {"view", "edit", "admin"}
    assert aggregated({"rbac": {"aggregateToView": False}}) == set()


def test_only_who_says_so_lets_the_operator_list_and_watch_secrets(helm: Helm) -> None:
    def verbs_on_secrets(values: Mapping[str, Any]) -> set[str]:
        found = rendered(helm, values)
        given = {
            obj["roleRef"]["name"]
            for (kind, _), obj in found.items()
            if kind == "ClusterRoleBinding"
            and {"kind": "ServiceAccount", "name": "vmext-operator", "namespace": NAMESPACE} in obj["subjects"]
        }
        rules = [rule for name in given for rule in found["ClusterRole", name]["rules"]]
        return {verb for rule in rules if "secrets" in rule["resources"] for verb in rule["verbs"]}

    def options(values: Mapping[str, Any]) -> list[str]:
        pod = rendered(helm, values)["Deployment", "vmext-operator"]["spec"]["template"]["spec"]
        found: list[str] = pod["containers"][0]["args"]
        return found

    assert verbs_on_secrets({}) == {"get", "create", "delete"}
    assert "--watch-secrets" not in options({})
    assert verbs_on_secrets({"secrets": {"watch": True}}) == {"get", "create", "delete", "list", "watch"}
    assert "--watch-secrets" in options({"secrets": {"watch": True}})


def test_rights_in_some_namespaces_are_those_in_all_of_them_in_other_places(helm: Helm) -> None:
    def granted(**values: Any) -> dict[tuple[str, str], list[Any]]:
        objects = helm.template(CHART, "--namespace", NAMESPACE, values=values)
        found = {
            (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): obj["rules"]
            for obj in objects
            if obj["kind"] in ("Role", "ClusterRole") and obj["metadata"]["name"].startswith("vmext-operator")
        }
        bound = [obj for obj in objects if obj["kind"] in ("RoleBinding", "ClusterRoleBinding")]
        account = {"kind": "ServiceAccount", "name": "vmext-operator", "namespace": NAMESPACE}
        assert {(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) for obj in bound} == set(found)
        assert all(obj["roleRef"]["name"] == obj["metadata"]["name"] for obj in bound)
        assert all(obj["subjects"] == [account] for obj in bound)
        return found

    everywhere = granted()
    assert set(everywhere) == {("", "vmext-operator")}
    some = granted(watchNamespaces=["a", "b"])
    assert set(some) == {("", "vmext-operator"), *((one, "vmext-operator") for one in "ab"), (NAMESPACE, OWN)}
    cluster = some["", "vmext-operator"]
    images = "virtualmachineextensionimages"
    assert [rule["resources"] for rule in cluster] == [[images], [f"{images}/status"]]
    assert some["a", "vmext-operator"] == some["b", "vmext-operator"]
    for rule in everywhere["", "vmext-operator"]:
        assert (rule in cluster) != (rule in some["a", "vmext-operator"])
    assert len(cluster) + len(some["a", "vmext-operator"]) == len(everywhere["", "vmext-operator"])
    watching = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}
    asked = granted(watchNamespaces=["a", "b"], secrets={"watch": True})
    assert set(asked) == set(some), "of the Secrets of other namespaces it reads none even then"
    assert [rule for rule in asked["b", "vmext-operator"] if rule not in some["b", "vmext-operator"]] == [watching]


def test_the_notes_say_what_is_watched(helm: Helm) -> None:
    said = [
        helm.run("install", "x", str(CHART), "-n", NAMESPACE, "--dry-run=client", values=values)
        for values in ({}, {"watchNamespaces": ["team-a", "team-b"]})
    ]
    assert ["It watches and manages what is in team-a, team-b, and nothing else" in one for one in said] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": "2"}, "/replicas"),
        ({"operator": {"logLevel": "trace"}}, "/operator/logLevel"),
        ({"credential": {"tokenDays": 0}}, "/credential/tokenDays"),
        ({"publisherKeys": {"VMExt": []}}, "/publisherKeys/VMExt"),
        ({"secrets": {"watch": "yes"}}, "/secrets/watch"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"watchNamespaces": "a"}, "/watchNamespaces"),
        ({"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0"),
        ({"watchNamespaces": ["a", "b", "a"]}, "/watchNamespaces"),
    ],
)
def test_what_is_wrong_is_said(helm: Helm, values: Mapping[str, Any], said: str) -> None:
    with pytest.raises(HelmError) as raised:
        rendered(helm, values)
    assert said in raised.value.said

"""A real helm installs vmext, and its Deployment's replicas work with what the chart grants, and no more."""

from __future__ import annotations

import base64
import functools
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

import charts
import control_plane
import helm as program
from development.api import Object, condition
from development.pod import Pod, PodUnavailableError
from helm import HelmError
from support import chart_house
from support.chart_house import CHART, NAMESPACE, RELEASE, ChartHouse
from support.guests import skipping
from support.waiting import eventually

SCRIPT = {"publisher": "VMExt", "type": "CustomScript", "typeHandlerVersion": "2.1"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChartHouse]:
    """The chart is installed and both replicas run; one machine is enrolled."""
    if os.environ.get(control_plane.choice.VARIABLE):
        pytest.skip("an existing cluster may have vmext installed, and that is not removed from it")
    with chart_house.running(tmp_path_factory.mktemp("chart-house"), program.obtain(print)) as running:
        running.install()
        try:
            running.roll_out()
        except PodUnavailableError as error:
            pytest.skip(str(error))
        running.helm.run(
            "install",
            "catalog",
            str(charts.ROOT / "vmext-catalog"),
            "-n",
            NAMESPACE,
            values={"baseUrls": [running.url]},
        )
        with skipping():
            running.add_machine("web-1")
        yield running


def values(*names: str, secret: str = "", **settings: Any) -> dict[str, Any]:
    """Return values for vm-extensions: a script for web-1, whose VirtualMachine is there already."""
    more: dict[str, Any] = {"protectedSettings": {"secretRef": {"name": secret, "key": "settings"}}} if secret else {}
    extensions = {name: {**SCRIPT, "settings": settings, **more} for name in names}
    return {"groups": {"web": {"declareMachines": False, "machines": ["web-1"], "extensions": extensions}}}


def declare(home: ChartHouse, release: str, *arguments: str, secret: str = "", **settings: Any) -> float:
    """Install or upgrade a release of vm-extensions with --wait; return after how many seconds helm came back."""
    chart, began = charts.ROOT / "vm-extensions", time.monotonic()
    command = ("upgrade", "--install", release, str(chart), "-n", home.api.namespace, "--wait", "--timeout", "120s")
    home.helm.run(*command, *arguments, values=values("script", secret=secret, **settings))
    return time.monotonic() - began


def script(home: ChartHouse) -> Object:
    found = home.api.get("VirtualMachineExtension", "web-1-script")
    assert found is not None
    return found


def test_helms_wait_ends_when_extensions_are_there_and_at_once_when_they_cannot_be(home: ChartHouse) -> None:
    good_s = declare(home, "web", commandToExecute="echo good >> /root/runs")
    assert condition(script(home), "Ready") is not None
    assert home.guests["web-1"].read("/root/runs") == b"good\n"

    began = time.monotonic()
    with pytest.raises(HelmError) as raised:
        declare(home, "web", commandToExecute="echo bad >> /root/runs; exit 3")
    bad_s = time.monotonic() - began
    print(f"helm --wait: converged {good_s:.1f} s, can't {bad_s:.1f} s")
    assert "web-1-script" in raised.value.said
    stalled = condition(script(home), "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "ExecutionFailed"
    # helm gives up as soon as it is Stalled: an order of magnitude before its timeout.
    assert bad_s < 60

    home.helm.run("rollback", "web", "-n", home.api.namespace, "--wait", "--timeout", "120s")
    assert home.guests["web-1"].read("/root/runs") == b"good\nbad\ngood\n"


def is_well(pod: Pod, kind: str) -> bool:
    return pod.probe(kind)[0] == 200


def test_every_replica_answers_what_a_kubelet_and_prometheus_ask(home: ChartHouse) -> None:
    for pod in home.pods:
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            eventually(functools.partial(is_well, pod, kind), f"{kind} of {pod.name} is answered")
    (monitored,) = (obj for obj in home.manifest() if obj["kind"] == "Service")
    assert [port["targetPort"] for port in monitored["spec"]["ports"]] == ["http"]
    leaders = [pod.name for pod in home.pods if "\nvmext_leader 1.0" in pod.ask("/metrics")[1]]
    assert leaders == [home.lease_holder()]


def test_a_standby_takes_over_when_the_one_that_leads_is_killed(home: ChartHouse) -> None:
    eventually(lambda: home.lease_holder() in {pod.name for pod in home.pods}, "one of the Pods leads")
    leader = next(pod for pod in home.pods if pod.name == home.lease_holder())
    leader.kill()
    declare(home, "web", commandToExecute="echo after >> /root/runs")
    assert home.guests["web-1"].read("/root/runs").endswith(b"after\n")
    assert home.lease_holder() != leader.name
    leader.start()


def test_the_operator_was_refused_nothing(home: ChartHouse) -> None:
    declare(home, "web", commandToExecute="echo rights >> /root/runs")
    assert home.refusals() == []


def test_an_upgrade_brings_new_kinds_and_a_rollback_takes_them_back_and_machines_notice_nothing(
    home: ChartHouse, tmp_path: Path
) -> None:
    declare(home, "web", commandToExecute="echo before >> /root/runs")
    before, runs = script(home), home.guests["web-1"].read("/root/runs")
    first = home.manifest()
    newer = tmp_path / "vmext"
    shutil.copytree(CHART, newer)
    about = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "0.2.0"}))
    crd = newer / "files" / "crds" / "virtualmachines.yaml"
    crd.write_text(crd.read_text().replace("shortNames: [xvm]", "shortNames: [xvm, newer]"))

    home.install(newer, credential={"tokenDays": 7}, operator={"logLevel": "debug"})
    home.roll_out()
    eventually(
        lambda: "web-1" in home.cluster.kubectl("get", "newer", "-n", home.api.namespace),
        despite=(control_plane.ControlPlaneError,),
    )
    args = home.deployment()["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--token-days=7", "--log-level=debug"} <= set(args)
    assert "604800" in home.cluster.kubectl("get", "validatingadmissionpolicy", "vmext-operator-tokens", "-o", "yaml")
    assert script(home) == before

    home.helm.run("rollback", RELEASE, "-n", NAMESPACE)
    home.roll_out()
    assert home.manifest() == first
    said = home.cluster.kubectl("get", "crd", "virtualmachines.vmext.dev", "-o", "jsonpath={.spec.names.shortNames}")
    assert said == '["xvm"]'
    declare(home, "web", commandToExecute="echo after the rollback >> /root/runs")
    assert home.guests["web-1"].read("/root/runs") == runs + b"after the rollback\n"


def test_keys_of_a_publisher_reach_the_operator(home: ChartHouse) -> None:
    raw = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    key = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*raw).decode()
    declare(home, "web", commandToExecute="echo before there were keys >> /root/runs")
    home.install(publisherKeys={"VMExt": [key]})
    home.roll_out()
    # What a machine runs already stays; what isn't signed is not chosen any more, and the leader says so.
    declare(home, "web", commandToExecute="echo unsigned >> /root/runs")
    assert "catalog entry not chosen name=vmext.customscript-2.1.0" in home.logs()

    home.helm.run("rollback", RELEASE, "-n", NAMESPACE)
    home.roll_out()
    declare(home, "web", commandToExecute="echo signed or not >> /root/runs")


def test_a_watched_secret_reaches_the_machine_at_once_with_what_the_chart_grants(home: ChartHouse) -> None:
    def put(method: str, words: str) -> None:
        target = f"/api/v1/namespaces/{home.api.namespace}/secrets" + ("" if method == "POST" else "/watched")
        value = base64.b64encode(json.dumps({"commandToExecute": f"echo {words} > /root/watched"}).encode()).decode()
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "watched"}, "data": {"settings": value}}
        home.api.request(method, target, body, *(() if method == "POST" else ("application/merge-patch+json",)))

    home.install(secrets={"watch": True})
    home.roll_out()
    put("POST", "first")
    declare(home, "web", secret="watched")
    assert home.guests["web-1"].read("/root/watched") == b"first\n"
    # Each within less time than the operator's own looks have between them.
    for words in ("second", "third"):
        put("PATCH", words)
        eventually(
            lambda words=words: home.guests["web-1"].read("/root/watched").decode() == f"{words}\n",  # type: ignore[misc]
            timeout_s=25,
        )
    assert home.refusals() == []
    assert "can't be watched" not in home.logs()

    home.helm.run("rollback", RELEASE, "-n", NAMESPACE)
    home.roll_out()
    assert not [obj for obj in home.manifest() if obj["metadata"]["name"] == "vmext-operator-secrets"]


def test_uninstalling_leaves_what_is_declared_and_installing_again_goes_on(home: ChartHouse) -> None:
    declare(home, "web", commandToExecute="echo kept >> /root/runs")
    before, runs = script(home), home.guests["web-1"].read("/root/runs")
    home.helm.run("uninstall", RELEASE, "-n", NAMESPACE)
    home.stop_pods()
    assert script(home) == before
    ours = home.cluster.kubectl(
        "get",
        "deployment,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding",
        "-n",
        NAMESPACE,
        "-l",
        "app.kubernetes.io/managed-by=Helm",
        "-o",
        "name",
    )
    assert ours == ""

    home.install()
    home.roll_out()
    assert condition(script(home), "Ready") == condition(before, "Ready")
    assert home.guests["web-1"].read("/root/runs") == runs
    declare(home, "web", commandToExecute="echo and on >> /root/runs")
    assert home.guests["web-1"].read("/root/runs") == runs + b"and on\n"

"""vmext as its charts install it: a cluster of its own, the operator's Pods as processes, machines enrolled."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import charts
import control_plane
import packages
import simulated_guest
from development.api import Api
from development.house import agent_service
from development.operator_process import ROOT
from development.package_server import PackageServer
from development.pod import Pod
from helm import Helm

#: Not the default one: where the default is written into something, it shows.
NAMESPACE = "vmext-ops"
RELEASE = "vmext"
CHART = charts.ROOT / "vmext"


@dataclass
class ChartHouse:
    """What was installed, and what runs of it."""

    folder: Path
    cluster: control_plane.Cluster
    helm: Helm
    api: Api
    url: str
    _closing: contextlib.ExitStack
    pods: list[Pod] = field(default_factory=list)
    guests: dict[str, simulated_guest.Guest] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def install(self, chart: Path = CHART, *arguments: str, **values: Any) -> None:
        """Install the operator's chart, or upgrade it. No Pods run here, so helm is not asked to wait for them."""
        command = ("upgrade", "--install", RELEASE, str(chart), "-n", NAMESPACE, "--create-namespace")
        self.helm.run(*command, *arguments, values=values)

    def manifest(self) -> list[dict[str, Any]]:
        """Return the objects of the release as it is installed."""
        said = self.helm.run("get", "manifest", RELEASE, "-n", NAMESPACE)
        return [obj for obj in yaml.safe_load_all(said) if obj]

    def deployment(self) -> dict[str, Any]:
        """Return the operator's Deployment as the API server has it."""
        said = self.cluster.kubectl("get", "deployment", "vmext-operator", "-n", NAMESPACE, "-o", "json")
        found: dict[str, Any] = json.loads(said)
        return found

    def roll_out(self) -> None:
        """Have the Pods be those of the Deployment: the new ones are there before the old ones go."""
        deployment, before = self.deployment(), self.pods
        self.pods = []
        for _ in range(deployment["spec"]["replicas"]):
            name = f"vmext-operator-{secrets.token_hex(4)}-{next(self._numbers)}"
            pod = Pod(self.cluster, deployment, name, self.folder)
            self._closing.callback(pod.stop)
            pod.start()
            self.pods.append(pod)
        for old in before:
            old.stop()

    def stop_pods(self) -> None:
        """End the Pods, as the deletion of their Deployment does."""
        for pod in self.pods:
            pod.stop()
        self.pods = []

    def logs(self) -> str:
        """Return what all Pods that there were have said."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("vmext-operator-*.log")))

    def refusals(self) -> list[str]:
        """Return the lines of all Pods' logs that tell of a refusal: in the words of a ClusterError, or of the server.

        A bare 403 may be a time's thousandths or a resourceVersion.
        """
        return [line for line in self.logs().splitlines() if re.search(r": 403:|forbidden", line)]

    def lease_holder(self) -> str:
        """Return the Pod that leads."""
        return self.cluster.kubectl(
            "get", "lease", "vmext-operator", "-n", NAMESPACE, "-o", "jsonpath={.spec.holderIdentity}"
        )

    def add_machine(self, name: str) -> simulated_guest.Guest:
        """Declare a machine and enrol a guest as it, by what the plugin prints."""
        self.api.apply({"apiVersion": "vmext.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": name}})
        guest = self._closing.enter_context(simulated_guest.running(name, folder=self.folder / "guests"))
        self.guests[name] = guest
        program = f'#!/bin/sh\nexec {simulated_guest.python()} {ROOT}/agent/vmext_agent/__main__.py "$@"\n'
        guest.write("/usr/bin/vmext-agent", program.encode(), mode=0o755)
        printed = subprocess.run(
            [sys.executable, "-m", "kubectl_vmext", "enroll", "-n", self.api.namespace, name],
            env=os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        guest.run(["sh", "-c", printed])
        guest.start_service(agent_service())
        return guest


@contextlib.contextmanager
def running(folder: Path, program: Path) -> Iterator[ChartHouse]:
    """Give a cluster with nothing of vmext in it, until the block ends.

    Args:
        folder: for data and logs.
        program: helm.
    """
    with contextlib.ExitStack() as closing:
        cluster = closing.enter_context(control_plane.available(folder / "control-plane", print))
        api = Api(cluster.kubeconfig, "fleet")
        closing.callback(api.close)
        cluster.kubectl("create", "namespace", api.namespace)
        served = folder / "packages"
        server = closing.enter_context(PackageServer(served))
        packages.build_all([ROOT / "extensions" / "CustomScript"], served, server.url)
        yield ChartHouse(folder, cluster, Helm(program, folder / "helm", cluster.kubeconfig), api, server.url, closing)

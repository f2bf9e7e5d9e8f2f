"""A Deployment's Pods as processes on this machine: what a kubelet would make of the template, as far as one can.

No Pods run in the development control plane. Each replica is a process with the container's arguments and environment,
a token of its ServiceAccount by TokenRequest, the projected files in their places in a mount namespace of its own, no
capabilities, and a root file system that can't be written to where the template says so. What is not done: no image is
pulled, no probe is asked, no resource is limited, and root stays root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

import control_plane
from control_plane import process
from development.operator_process import ROOT

#: As the image's ENTRYPOINT, from this checkout.
_ENTRYPOINT = (sys.executable, "-m", "vmext_operator")
#: Mounts $2 (what is prepared in $1) over /run, since a container's /run is its own, then becomes the program.
_ENTER = """
set -eu
mount --bind "$1" /run
[ "$2" != ro ] || mount -o remount,bind,ro /
shift 2
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""


class PodUnavailableError(Exception):
    """This machine can't run a container's process as one; the message says why."""


@dataclass(frozen=True, slots=True)
class _Volume:
    """Where files are put, by their names."""

    path: str
    files: Mapping[str, str]


class Pod:
    """One replica.

    Args:
        cluster: that the Deployment is in.
        deployment: as rendered, with a namespace.
        name: the Pod's.
        folder: for its files and its log.
    """

    def __init__(self, cluster: control_plane.Cluster, deployment: Mapping[str, Any], name: str, folder: Path) -> None:
        template = deployment["spec"]["template"]
        (self._container,) = template["spec"]["containers"]
        self._spec = template["spec"]
        self._cluster = cluster
        self._namespace = str(deployment["metadata"]["namespace"])
        self._folder = folder / name
        self.name = name
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Raises PodUnavailableError, or ControlPlaneError where the cluster lacks what it refers to."""
        if os.geteuid() != 0 or not shutil.which("setpriv"):
            raise PodUnavailableError("a mount namespace needs root, and setpriv")
        for volume in self._volumes():
            target = self._folder / Path(volume.path).relative_to("/var/run")
            target.mkdir(parents=True, exist_ok=True)
            for file, content in volume.files.items():
                (target / file).write_text(content)
        read_only = self._container["securityContext"].get("readOnlyRootFilesystem", False)
        enter = ["unshare", "--mount", "sh", "-c", _ENTER, "pod", str(self._folder), "ro" if read_only else "rw"]
        # A Pod has an address of its own, with every port free; here all share one.
        own_port = ("--probe-address", "127.0.0.1:0")
        command = [*enter, *_ENTRYPOINT, *self._container.get("args", ()), *own_port]
        self._process = process.start(command, environment=self._environment(), log=self.log)

    def stop(self) -> int | None:
        """Stop it as a kubelet would; return its exit status, None where it does not run."""
        if self._process is None:
            return None
        ended, self._process = self._process, None
        return process.stop(ended, patience_s=float(self._spec["terminationGracePeriodSeconds"]))

    def kill(self) -> None:
        """Kill it as a node's end would."""
        assert self._process is not None, f"{self.name} does not run"
        self._process.kill()
        self._process.wait()
        self._process = None

    def probe(self, kind: str) -> tuple[int, str]:
        """Ask what a kubelet would ask for that probe of the container; return status and answer, 0 for none."""
        return self.ask(self._container[kind]["httpGet"]["path"])

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of what is served under a path; status 0 where nothing answers yet."""
        ports = re.findall(r"probes served port=(\d+)", self.log.read_text())
        if not ports:
            return 0, "no probes are served"
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.get(f"http://127.0.0.1:{ports[-1]}{path}", timeout=10)
            except requests.RequestException as error:
                return 0, str(error)
            return answer.status_code, answer.text

    @property
    def runs(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None

    def _environment(self) -> dict[str, str]:
        host, _, port = self._cluster.server.removeprefix("https://").partition(":")
        facts = {"metadata.name": self.name, "metadata.namespace": self._namespace}
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }
        for variable in self._container.get("env", ()):
            source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            environment[variable["name"]] = facts[source] if source else variable["value"]
        return environment

    def _volumes(self) -> list[_Volume]:
        by_name = {volume["name"]: volume for volume in self._spec.get("volumes", ())}
        return [
            _Volume(mount["mountPath"], self._projected(by_name[mount["name"]]["projected"]["sources"]))
            for mount in self._container.get("volumeMounts", ())
        ]

    def _projected(self, sources: list[Mapping[str, Any]]) -> dict[str, str]:
        files = {}
        where = f"--namespace={self._namespace}"
        for source in sources:
            if token := source.get("serviceAccountToken"):
                account, seconds = self._spec["serviceAccountName"], token["expirationSeconds"]
                made = self._cluster.kubectl("create", "token", account, where, f"--duration={seconds}s")
                files[token["path"]] = made.strip()
            elif configured := source.get("configMap"):
                found = json.loads(self._cluster.kubectl("get", "configmap", configured["name"], where, "-o", "json"))
                files |= {item["path"]: found["data"][item["key"]] for item in configured["items"]}
            else:
                for item in source["downwardAPI"]["items"]:
                    assert item["fieldRef"]["fieldPath"] == "metadata.namespace", item
                    files[item["path"]] = self._namespace
        return files

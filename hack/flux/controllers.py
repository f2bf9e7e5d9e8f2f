"""Flux's controllers as processes on this machine, against one API server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import control_plane
from control_plane import ControlPlaneError, process
from flux.sources import Controllers

NAMESPACE = "flux-system"
_COMMON = ("--metrics-addr=0", "--health-addr=0", "--log-encoding=json")


@dataclass(frozen=True, slots=True)
class Flux:
    """What runs: its processes, by the name of the program, and the folder of their logs."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]]

    def log(self, name: str) -> str:
        """Return the log of a controller."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def check(self) -> None:
        """Raise ControlPlaneError where a controller has ended that nobody ended."""
        for name, running_ in self.processes.items():
            if running_.poll() is not None:
                last = "\n".join(self.log(name).splitlines()[-8:])
                raise ControlPlaneError(f"{name} ended with {running_.returncode}: its log ends with:\n{last}")


@contextlib.contextmanager
def running(folder: Path, cluster: control_plane.Cluster, controllers: Controllers) -> Iterator[Flux]:
    """Apply Flux's kinds to a cluster and run its controllers there as the administrator, until the block ends.

    Args:
        folder: for artifacts, scratch and logs.
        cluster: where.
        controllers: the programs.

    Raises:
        ControlPlaneError: the kinds are not taken, or a controller ended before the block did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = str(controllers.kinds)
    cluster.kubectl("apply", "--server-side", "-f", kinds)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", kinds)
    namespace = f'{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{NAMESPACE}"}}}}'
    cluster.kubectl("apply", "-f", "-", input=namespace)
    storage = f"127.0.0.1:{_free_port()}"
    commands = {
        "source-controller": [
            str(controllers.source),
            f"--storage-path={folder / 'artifacts'}",
            f"--storage-addr={storage}",
            f"--storage-adv-addr={storage}",
        ],
        "kustomize-controller": [str(controllers.kustomize), "--no-remote-bases"],
    }
    for name in ("artifacts", "scratch"):
        (folder / name).mkdir()
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder / "scratch"),
        "KUBECONFIG": str(cluster.kubeconfig),
        "RUNTIME_NAMESPACE": NAMESPACE,
    }
    made = Flux(folder, {})
    try:
        for name, command in commands.items():
            log = folder / f"{name}.log"
            made.processes[name] = process.start([*command, *_COMMON], environment=environment, log=log)
        yield made
        made.check()
    finally:
        for running_ in made.processes.values():
            process.stop(running_)


def _free_port() -> int:
    # Its address has to be known beforehand: artifacts are advertised under it.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

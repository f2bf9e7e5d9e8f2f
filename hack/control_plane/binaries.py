"""The programs that a control plane is made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: What runs, in the order of starting; ended in reverse, nobody loses whom he needs.
SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager")
PROGRAMS = (*SERVERS, "kubectl")
#: What Kubernetes releases; etcd comes from elsewhere.
KUBERNETES = PROGRAMS[1:]


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where each program is, and where they came from in words."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path
    origin: str


def in_folder(folder: Path, origin: str) -> Binaries:
    """Return the programs of a folder that holds them all."""
    etcd, kube_apiserver, kube_controller_manager, kubectl = (folder / name for name in PROGRAMS)
    return Binaries(etcd, kube_apiserver, kube_controller_manager, kubectl, origin)


def is_program(path: Path) -> bool:
    """Tell whether a file can be run."""
    return path.is_file() and os.access(path, os.X_OK)

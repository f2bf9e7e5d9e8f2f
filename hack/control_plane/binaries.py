"""The programs that a control plane is made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager")
PROGRAMS = (*SERVERS, "kubectl")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where each program is, and where they came from in words."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path
    origin: str


def in_folder(folder: Path, origin: str) -> Binaries | None:
    """Return the programs of a folder, or None where one of them is missing."""
    paths = [folder / name for name in PROGRAMS]
    if not all(os.access(path, os.X_OK) and path.is_file() for path in paths):
        return None
    return Binaries(paths[0], paths[1], paths[2], paths[3], origin)

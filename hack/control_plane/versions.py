"""The pinned versions, from hack/versions.toml."""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass
from pathlib import Path

from control_plane.errors import ControlPlaneError

FILE = Path(__file__).resolve().parents[1] / "versions.toml"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Versions:
    """What the control plane is made of, and where its releases are."""

    kubernetes: str
    kubernetes_releases: str
    etcd: str
    etcd_releases: str

    @property
    def key(self) -> str:
        """Name this set of programs on this kind of machine."""
        return f"kubernetes-{self.kubernetes}-etcd-{self.etcd}-linux-{architecture()}"


def read(file: Path = FILE) -> Versions:
    """Read the pinned versions. Raises ControlPlaneError."""
    try:
        content = tomllib.loads(file.read_text())
        kubernetes, etcd = content["kubernetes"], content["etcd"]
        return Versions(kubernetes["version"], kubernetes["releases"], etcd["version"], etcd["releases"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ControlPlaneError(f"{file.name} does not name versions and releases: {error!r}") from error


def architecture() -> str:
    """Return this machine's architecture by Go's name. Raises ControlPlaneError."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise ControlPlaneError(f"no control plane for {machine}; one of {', '.join(_ARCHITECTURES)} is needed")
    return _ARCHITECTURES[machine]

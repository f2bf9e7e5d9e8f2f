"""The pinned versions, from hack/versions.toml, and how programs found elsewhere compare with them."""

from __future__ import annotations

import platform
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from control_plane.errors import ControlPlaneError, SourceError

FILE = Path(__file__).resolve().parents[1] / "versions.toml"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_MINOR = re.compile(r"(\d+)\.(\d+)")

#: Major and minor.
Minor = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Versions:
    """What the control plane is made of, and where its releases are."""

    kubernetes: str
    kubernetes_releases: str
    #: The oldest Kubernetes that vmext's kinds and policies work on.
    kubernetes_oldest: Minor
    etcd: str
    etcd_releases: str

    @property
    def key(self) -> str:
        """Name this set of programs on this kind of machine."""
        return f"kubernetes-{self.kubernetes}-etcd-{self.etcd}-linux-{architecture()}"


@dataclass(frozen=True, slots=True)
class Release:
    """One program's version, and where its releases are."""

    version: str
    releases: str


def read(file: Path = FILE) -> Versions:
    """Read the control plane's pinned versions. Raises ControlPlaneError."""
    kubernetes, etcd = release("kubernetes", file), release("etcd", file)
    try:
        oldest = minor(tomllib.loads(file.read_text())["kubernetes"]["oldest"])
    except (KeyError, TypeError) as error:
        raise ControlPlaneError(f"{file.name} does not name the oldest Kubernetes: {error!r}") from error
    return Versions(kubernetes.version, kubernetes.releases, oldest, etcd.version, etcd.releases)


def release(name: str, file: Path = FILE) -> Release:
    """Read one program's pinned version, and where it is released. Raises ControlPlaneError."""
    found = version(name, file)
    try:
        return Release(found, tomllib.loads(file.read_text())[name]["releases"].rstrip("/"))
    except (KeyError, AttributeError) as error:
        raise ControlPlaneError(f"{file.name} does not name versions and releases: {error!r}") from error


def version(name: str, file: Path = FILE) -> str:
    """Read one program's pinned version. Raises ControlPlaneError."""
    try:
        found = tomllib.loads(file.read_text())[name]["version"]
        if not _RELEASE.fullmatch(found):
            raise ControlPlaneError(f"{file.name}: {found!r} is no release such as 1.2.3")
        return str(found)
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ControlPlaneError(f"{file.name} does not name versions and releases: {error!r}") from error


def architecture() -> str:
    """Return this machine's architecture by Go's name. Raises ControlPlaneError."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in _ARCHITECTURES:
        raise ControlPlaneError(
            f"no control plane for {system} on {machine}; Linux on {' or '.join(_ARCHITECTURES)} is needed, "
            "or a cluster elsewhere named by VMEXT_KUBECONFIG"
        )
    return _ARCHITECTURES[machine]


def minor(said: str) -> Minor:
    """Return major and minor of the first version in a text. Raises ControlPlaneError."""
    match = _MINOR.search(said)
    if match is None:
        raise ControlPlaneError(f"{said!r} names no version")
    return int(match[1]), int(match[2])


def check_found(wanted: Versions, api_server: str, controller_manager: str) -> None:
    """Check programs that were found against what vmext needs and against each other.

    Args:
        wanted: the pinned versions.
        api_server: what kube-apiserver says of its version.
        controller_manager: likewise.

    Raises:
        SourceError: too old, or a controller manager that is newer than its API server, which Kubernetes excludes.
    """
    try:
        server, controllers = minor(api_server), minor(controller_manager)
    except ControlPlaneError as error:
        raise SourceError(str(error)) from error
    if server < wanted.kubernetes_oldest:
        oldest = ".".join(map(str, wanted.kubernetes_oldest))
        raise SourceError(f"kube-apiserver is {api_server}; vmext needs {oldest} or newer")
    if controllers > server:
        raise SourceError(f"kube-controller-manager ({controller_manager}) is newer than kube-apiserver ({api_server})")

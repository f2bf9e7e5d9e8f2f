"""What one who uses a control plane sees of it, be it ours or somebody else's."""

from __future__ import annotations

import base64
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control_plane.errors import ControlPlaneError


class Cluster(Protocol):
    """A control plane that can be used."""

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""

    @property
    def server(self) -> str:
        """Return the API server's address."""

    @property
    def ca_file(self) -> Path:
        """Return the certificate of the authority that signed the API server's."""

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess has it
        """Run kubectl and return what it printed. Raises ControlPlaneError with its error."""


def run_kubectl(program: str | Path, kubeconfig: Path, *arguments: str, input: str | None = None) -> str:  # noqa: A002
    """Run kubectl and return what it printed. Raises ControlPlaneError with its error."""
    command = [str(program), "--kubeconfig", str(kubeconfig), *arguments]
    try:
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise ControlPlaneError(f"there is no {program}; install kubectl") from error
    except subprocess.CalledProcessError as error:
        raise ControlPlaneError(f"kubectl {' '.join(arguments)} failed: {error.stderr.strip()}") from error
    return done.stdout


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """Somebody else's cluster: used as it is."""

    kubeconfig: Path
    server: str
    ca_file: Path

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002
        """Run kubectl and return what it printed. Raises ControlPlaneError with its error."""
        return run_kubectl("kubectl", self.kubeconfig, *arguments, input=input)


def existing(kubeconfig: Path) -> ExistingCluster:
    """Return the cluster that a kubeconfig names. Raises ControlPlaneError where it does not answer."""

    def setting(path: str) -> str:
        view = ["config", "view", "--minify", "--flatten", "--raw", "-o", f"jsonpath={{.clusters[0].cluster.{path}}}"]
        return run_kubectl("kubectl", kubeconfig, *view)

    run_kubectl("kubectl", kubeconfig, "get", "--raw", "/readyz")
    authority = setting("certificate-authority-data")
    if not authority:
        raise ControlPlaneError(f"{kubeconfig} names no certificate authority; agents verify the API server by it")
    with tempfile.NamedTemporaryFile(prefix="vmext-ca-", suffix=".crt", delete=False) as file:
        file.write(base64.b64decode(authority))
    return ExistingCluster(kubeconfig, setting("server"), Path(file.name))

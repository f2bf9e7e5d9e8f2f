"""What one who uses a control plane sees of it, be it ours or somebody else's."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control_plane import cache
from control_plane.errors import ControlPlaneError

_KUBECTL_S = 300.0
#: Somebody else's cluster is reached by the kubectl that they have.
_KUBECTL = Path("kubectl")


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


def run_kubectl(
    program: Path,
    kubeconfig: Path,
    cached: Path,
    *arguments: str,
    input: str | None = None,  # noqa: A002 - as subprocess has it
) -> str:
    """Run kubectl and return what it printed.

    Args:
        program: kubectl.
        kubeconfig: whom it talks to, and as whom.
        cached: the folder where it may keep what it found out about the server.
        arguments: its arguments.
        input: given to it on stdin; otherwise that is empty.

    Raises:
        ControlPlaneError: with its error.
    """
    command = [str(program), "--kubeconfig", str(kubeconfig), "--cache-dir", str(cached), *arguments]
    said = f"kubectl {' '.join(arguments)}"
    try:
        done = subprocess.run(
            command, input=input or "", capture_output=True, text=True, check=True, timeout=_KUBECTL_S
        )
    except OSError as error:
        raise ControlPlaneError(f"{program} can't be run: {error}; install kubectl") from error
    except subprocess.CalledProcessError as error:
        raise ControlPlaneError(f"{said} failed: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise ControlPlaneError(f"{said} did not end within {_KUBECTL_S:.0f} s") from error
    return done.stdout


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """Somebody else's cluster: used as it is."""

    kubeconfig: Path
    server: str
    ca_file: Path
    folder: Path

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess has it
        """Run kubectl and return what it printed. Raises ControlPlaneError with its error."""
        return run_kubectl(_KUBECTL, self.kubeconfig, self.folder / "kubectl", *arguments, input=input)


def existing(kubeconfig: Path, *, folder: Path | None = None) -> ExistingCluster:
    """Return the cluster that a kubeconfig's current context names.

    Args:
        kubeconfig: the file.
        folder: where files may be put; by default in the cache.

    Raises:
        ControlPlaneError: it is not there, does not answer, or names no certificate authority.
    """
    kubeconfig = kubeconfig.absolute()
    if not kubeconfig.is_file():
        raise ControlPlaneError(f"there is no kubeconfig {kubeconfig}; VMEXT_KUBECONFIG has to name one")
    # The files of different clusters are kept apart.
    name = hashlib.sha256(str(kubeconfig).encode()).hexdigest()[:16]
    folder = (folder or cache.root() / "existing" / name).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    view = ("config", "view", "--minify", "--flatten", "--raw", "-o", "json")
    try:
        settings = json.loads(run_kubectl(_KUBECTL, kubeconfig, folder / "kubectl", *view))["clusters"][0]["cluster"]
        server = str(settings["server"])
        authority = base64.b64decode(settings.get("certificate-authority-data") or "")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ControlPlaneError(f"{kubeconfig} names no cluster in its current context: {error!r}") from error
    if not authority:
        raise ControlPlaneError(
            f"{kubeconfig} names no certificate authority for {server}, and the agents verify the API server by it; "
            "add certificate-authority-data"
        )
    ca_file = folder / "ca.crt"
    # Several may do this at once; each is to find it whole.
    draft = folder / f"ca.crt.{os.getpid()}"
    draft.write_bytes(authority)
    draft.replace(ca_file)
    found = ExistingCluster(kubeconfig, server, ca_file, folder)
    found.kubectl("get", "--raw", "/readyz", "--request-timeout=10s")
    return found

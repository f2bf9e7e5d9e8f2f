"""Encrypt protected settings for a machine beforehand: what comes of it is safe in git."""

from __future__ import annotations

import json
from pathlib import Path

from kubectl_vmext.cluster import Cluster
from kubectl_vmext.errors import PluginError
from vmext_operator.cluster import envelopes
from vmext_operator.core import certificate, protected
from vmext_operator.errors import CertificateError


def certificate_of(cluster: Cluster, name: str) -> str:
    """Return the certificate that is pinned for a machine. Raises PluginError."""
    machine = cluster.get(cluster.of("virtualmachines", name))
    if machine is None:
        raise PluginError(f"namespace {cluster.namespace} has no VirtualMachine {name}")
    found = ((machine.get("status") or {}).get("credential") or {}).get("certificate")
    if not found:
        raise PluginError(f"{name} has no certificate yet; enrol it: kubectl vmext enroll {name}")
    return str(found)


def read(path: str) -> str:
    """Return a file as text. Raises PluginError."""
    try:
        return Path(path).read_text()
    except (OSError, ValueError) as error:
        raise PluginError(f"{path}: {error}") from None


def encrypted(plain: str, pem: str) -> str:
    """Return what to put into an extension's spec, as YAML. Raises PluginError."""
    try:
        document = json.loads(plain)
    except (ValueError, RecursionError):
        # What json says may quote it.
        raise PluginError("the settings are not JSON") from None
    if not isinstance(document, dict):
        raise PluginError("the settings are not a JSON object")
    content = json.dumps(document).encode()
    if len(content) > protected.MAX_BYTES:
        raise PluginError(f"the settings have {len(content)} bytes, at most {protected.MAX_BYTES} are taken")
    try:
        found = certificate.read(pem)
    except CertificateError as error:
        raise PluginError(f"the certificate can't be used: {error}") from None
    sealed = envelopes.seal(content, found.pem)
    return f"protectedSettings:\n  encrypted:\n    {found.thumbprint}: {sealed}\n"

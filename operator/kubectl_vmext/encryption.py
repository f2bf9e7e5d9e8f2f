"""Encrypt protected settings for a machine beforehand: what comes of it is safe in git."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kubectl_vmext import chosen, given
from kubectl_vmext.errors import NotFoundError, UsageError
from vmext_operator.cluster import envelopes
from vmext_operator.core import certificate, protected
from vmext_operator.errors import CertificateError

if TYPE_CHECKING:
    from kubectl_vmext.cluster import Cluster


def certificate_of(cluster: Cluster, name: str) -> str:
    """Return the certificate that is pinned for a machine. Raises PluginError."""
    machine = chosen.machine(cluster, name)
    found = ((machine.get("status") or {}).get("credential") or {}).get("certificate")
    if not found:
        raise NotFoundError(f"{name} has no certificate yet; enrol it: kubectl vmext enroll {name}")
    return str(found)


def encrypted(plain: str, pem: str, where: str) -> str:
    """Return what to put into an extension's spec, as YAML. Raises UsageError.

    Args:
        plain: the settings.
        pem: the machine's certificate.
        where: the settings come from, for errors.
    """
    document = given.json_object(plain, where)
    content = json.dumps(document).encode()
    if len(content) > protected.MAX_BYTES:
        raise UsageError(f"the settings have {len(content)} bytes, at most {protected.MAX_BYTES} are taken")
    try:
        found = certificate.read(pem)
    except CertificateError as error:
        raise UsageError(f"the certificate can't be used: {error}") from None
    sealed = envelopes.seal(content, found.pem)
    return f"protectedSettings:\n  encrypted:\n    {found.thumbprint}: {sealed}\n"

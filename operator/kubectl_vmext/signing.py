"""Sign a package's catalog entry with its publisher's key (docs/signatures.md)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubectl_vmext.errors import UsageError
from vmext_operator.core import signature


def signed(entry: Mapping[str, Any], pem: str, where: str) -> dict[str, Any]:
    """Return a catalog entry with its package signed. Raises UsageError, without a word of the key.

    Args:
        entry: a VirtualMachineExtensionImage.
        pem: the private key.
        where: the key comes from, for errors.
    """
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(f"{where} is no private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{where} is no Ed25519 key; openssl genpkey -algorithm ED25519 makes one")
    spec = entry["spec"]
    package = spec["package"]
    text = signature.text(spec["publisher"], spec["type"], spec["version"], package["sha256"], package["sizeBytes"])
    made = base64.b64encode(key.sign(text)).decode()
    return {**entry, "spec": {**spec, "package": {**package, "signature": made}}}

"""Keys and certificates of one control plane, made by openssl."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from control_plane.errors import ControlPlaneError

_DAYS = "3650"
# What newer clients insist on is spelled out: key usages, and key identifiers to build the chain by.
_CONFIGURATION = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_HOLDERS = (
    ("server", "server", "/CN=kube-apiserver"),
    ("admin", "client", "/O=system:masters/CN=admin"),
    ("controller-manager", "client", "/CN=system:kube-controller-manager"),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where everything is; the files are 0600."""

    ca: Path
    server: Pair
    admin: Pair
    controller_manager: Pair
    #: The key that signs ServiceAccounts' tokens.
    service_account_key: Path


def make(folder: Path) -> Certificates:
    """Make a folder with the keys and certificates of a control plane, or use the one that is there.

    The authority's own key is gone once it has signed these: nobody can make further ones.

    Raises:
        ControlPlaneError: openssl is missing or refuses.
    """
    if not folder.exists():
        with tempfile.TemporaryDirectory(prefix="keys-", dir=folder.parent) as scratch:
            draft = Path(scratch) / "keys"
            draft.mkdir(mode=0o700)
            _fill(draft, Path(scratch))
            draft.rename(folder)
    server, admin, controllers = (Pair(folder / f"{name}.crt", folder / f"{name}.key") for name, _, _ in _HOLDERS)
    return Certificates(folder / "ca.crt", server, admin, controllers, folder / "service-accounts.key")


def _fill(folder: Path, scratch: Path) -> None:
    configuration = scratch / "openssl.cnf"
    configuration.write_text(_CONFIGURATION)
    authority, authority_key = folder / "ca.crt", scratch / "ca.key"
    _key(authority_key)
    subject = ("-config", configuration, "-subj", "/CN=vmext development control plane")
    lasting = ("-days", _DAYS)
    _openssl(
        "req", "-x509", "-new", *subject, "-extensions", "authority", *lasting, "-key", authority_key, "-out", authority
    )
    signing = ("-CA", authority, "-CAkey", authority_key, "-CAserial", scratch / "serial", "-CAcreateserial", *lasting)
    for name, kind, subject_name in _HOLDERS:
        key, request = folder / f"{name}.key", scratch / f"{name}.csr"
        _key(key)
        _openssl("req", "-new", "-config", configuration, "-subj", subject_name, "-key", key, "-out", request)
        extensions = ("-extfile", configuration, "-extensions", kind)
        _openssl("x509", "-req", "-in", request, *signing, *extensions, "-out", folder / f"{name}.crt")
    _key(folder / "service-accounts.key")


def _key(file: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file)


def _openssl(*arguments: str | Path) -> None:
    try:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True, umask=0o077)
    except FileNotFoundError as error:
        raise ControlPlaneError("there is no openssl on PATH; install it") from error
    except subprocess.CalledProcessError as error:
        raise ControlPlaneError(f"openssl {arguments[0]} failed: {error.stderr.strip()}") from error

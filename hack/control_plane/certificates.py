"""Keys and certificates of one control plane, made by openssl."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from control_plane.errors import ControlPlaneError

_DAYS = "30"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where they are; all keys are 0600."""

    ca: Path
    server: Path
    server_key: Path
    admin: Path
    admin_key: Path
    service_account_key: Path


def make(folder: Path) -> Certificates:
    """Make a CA, the server's and the administrator's certificates, and the key that signs tokens.

    Raises:
        ControlPlaneError: openssl is missing or refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = folder / "ca.key"
    made = Certificates(
        folder / "ca.crt",
        folder / "server.crt",
        folder / "server.key",
        folder / "admin.crt",
        folder / "admin.key",
        folder / "service-accounts.key",
    )
    for key in (ca_key, made.server_key, made.admin_key):
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    _openssl("genrsa", "-out", str(made.service_account_key), "2048")
    subject = ["-subj", "/CN=vmext development control plane"]
    _openssl("req", "-x509", "-new", "-key", str(ca_key), "-out", str(made.ca), "-days", _DAYS, *subject)
    _sign(ca_key, made.ca, made.server_key, made.server, "/CN=kube-apiserver", "subjectAltName=IP:127.0.0.1")
    _sign(ca_key, made.ca, made.admin_key, made.admin, "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth")
    return made


def _sign(ca_key: Path, ca: Path, key: Path, certificate: Path, subject: str, extension: str) -> None:
    request, extensions = certificate.with_suffix(".csr"), certificate.with_suffix(".ext")
    extensions.write_text(extension + "\n")
    _openssl("req", "-new", "-key", str(key), "-subj", subject, "-out", str(request))
    files = ["-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-out", str(certificate)]
    _openssl("x509", "-req", *files, "-CAcreateserial", "-days", _DAYS, "-extfile", str(extensions))


def _openssl(*arguments: str) -> None:
    try:
        subprocess.run(
            ["openssl", *arguments], check=True, capture_output=True, text=True, preexec_fn=lambda: _private()
        )
    except FileNotFoundError as error:
        raise ControlPlaneError("there is no openssl on PATH; install it") from error
    except subprocess.CalledProcessError as error:
        raise ControlPlaneError(f"openssl {arguments[0]} failed: {error.stderr.strip()}") from error


def _private() -> None:
    os.umask(0o077)

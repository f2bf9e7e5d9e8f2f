"""What this machine is known by: a key that never leaves it, and a certificate that it makes of it for itself.

Handlers look for both beside their folders, by the certificate's thumbprint (contract, A2). All of it is root's alone
from the first byte on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files, openssl
from vmext_agent.errors import IdentityError, OpensslError

if TYPE_CHECKING:
    from vmext_agent.layout import Layout

_BITS = 3072
_DAYS = 36_500
_SUBJECT = re.compile(r"[0-9A-Za-z-]{1,64}")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_LIMIT = 1 << 16
#: What openssl wants to be told even where everything is said by arguments.
_REQUEST = b"[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=%s\n"


class Identity(NamedTuple):
    """A certificate (PEM), its thumbprint (SHA-1 of its DER in upper-case hex), and the file of its key."""

    certificate: str
    thumbprint: str
    key_file: str


def load(layout: Layout) -> Identity | None:
    """Return the machine's identity, None where it has none. Raises IdentityError where it can't be read."""
    certificate, key = f"{layout.identity}/certificate.pem", f"{layout.identity}/key.pem"
    try:
        data = files.read(certificate, _LIMIT)
        os.stat(key)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(f"{certificate} can't be read: {error.strerror}") from None
    return Identity(data.decode("ascii", "replace"), thumbprint(data, certificate), key)


def make(layout: Layout, subject: str) -> Identity:
    """Make a key, and a certificate for a subject (the VirtualMachine's UID). Raises IdentityError, OSError."""
    if not _SUBJECT.fullmatch(subject):
        raise IdentityError(f"{subject!r:.80} is no UID of a VirtualMachine")
    files.make_folder(layout.identity, 0o700)
    key = f"{layout.identity}/key.pem"
    try:
        made = openssl.run("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{_BITS}")
        files.write(key, made, 0o600)
        config = f"{layout.identity}/request.conf"
        files.write(config, _REQUEST % subject.encode(), 0o600, durable=False)
        days = ("-days", str(_DAYS))
        certificate = openssl.run("req", "-x509", "-new", "-sha256", "-key", key, "-config", config, *days)
        files.remove(config)
    except OpensslError as error:
        raise IdentityError(f"no key can be made: {error}") from None
    found = thumbprint(certificate, "the certificate that openssl made")
    files.write(f"{layout.identity}/certificate.pem", certificate, 0o600)
    return Identity(certificate.decode(), found, key)


def place(layout: Layout, identity: Identity) -> None:
    """Put key and certificate where handlers look for them, if they are not there. Raises OSError."""
    files.make_folder(layout.handlers, 0o700)
    for suffix, read in (("prv", files.read(identity.key_file, _LIMIT)), ("crt", identity.certificate.encode())):
        path = f"{layout.handlers}/{identity.thumbprint}.{suffix}"
        try:
            if files.read(path, _LIMIT) == read:
                continue
        except OSError:
            files.remove(path)
        files.write(path, read, 0o600)


def thumbprint(pem: bytes, what: str) -> str:
    """Return the thumbprint of a certificate. Raises IdentityError where it is none."""
    found = _PEM.fullmatch(pem)
    try:
        der = base64.b64decode(b"".join(found[1].split()), validate=True) if found is not None else b""
    except binascii.Error:
        der = b""
    if not der:
        raise IdentityError(f"{what} is no certificate in PEM")
    # A name that handlers go by, and no proof of anything.
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def opened(identity: Identity, sealed: str) -> bytes:
    """Return what is in an envelope (base64 of DER CMS EnvelopedData) for this machine. Raises IdentityError."""
    try:
        der = base64.b64decode(sealed, validate=True)
        return openssl.run("cms", "-decrypt", "-inform", "DER", "-inkey", identity.key_file, given=der)
    except (binascii.Error, OpensslError) as error:
        raise IdentityError(f"an envelope can't be opened with the key of {identity.thumbprint}: {error}") from None

"""What this machine is known by: a key that never leaves it, and a certificate that it makes of it for itself.

Each is one file with both in it (``Layout.identity``), so that one can't be had without the other: ``machine.pem`` is
in use, ``next.pem`` is proposed to take its place, and ``<THUMBPRINT>.pem`` was in use before. Handlers look for key
and certificate beside their folders, by the thumbprint (contract, A2). All of it is root's alone from the first byte.
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
    from collections.abc import Sequence

    from vmext_agent.layout import Layout

_BITS = 3072
_DAYS = 36_500
_SUBJECT = re.compile(r"[0-9A-Za-z-]{1,64}")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\n?")
_KEY = re.compile(rb"-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?")
_SIGNATURE = re.compile(rb"signature: ([A-Za-z0-9+/=]+)\n")
_EARLIER = re.compile(r"([0-9A-F]{40})\.pem")
#: Files beside the handlers' folders that hold a key or a certificate.
PLACED = re.compile(r"[0-9A-F]{40}\.(?:prv|crt)")
_LIMIT = 1 << 16
#: What openssl wants to be told even where everything is said by arguments.
_REQUEST = b"[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=%s\n"


class Identity(NamedTuple):
    """A machine's key and certificate.

    Attributes:
        certificate: in PEM.
        thumbprint: SHA-1 of its DER in upper-case hex.
        file: that has both.
        signature: over the certificate by the key that was in use before, base64; empty for the first one.
    """

    certificate: str
    thumbprint: str
    file: str
    signature: str = ""


def load(layout: Layout) -> Identity | None:
    """Return the machine's identity, None where it has none. Raises IdentityError where it can't be read."""
    return _load(f"{layout.identity}/machine.pem")


def load_next(layout: Layout) -> Identity | None:
    """Return the identity that is proposed to take its place, None for none. Raises IdentityError."""
    return _load(f"{layout.identity}/next.pem")


def load_earlier(layout: Layout) -> Sequence[Identity]:
    """Return the identities that were in use before and are kept. Raises IdentityError."""
    try:
        names = sorted(name for name in os.listdir(layout.identity) if _EARLIER.fullmatch(name))
    except FileNotFoundError:
        return ()
    # A change that was cut off leaves the one in use under this name too.
    own = load(layout)
    found = [_load(f"{layout.identity}/{name}") for name in names]
    return tuple(one for one in found if one is not None and (own is None or one.thumbprint != own.thumbprint))


def _load(path: str) -> Identity | None:
    try:
        data = files.read(path, _LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(f"{path} can't be read: {error.strerror}") from None
    certificate, signature = _CERTIFICATE.search(data), _SIGNATURE.match(data)
    if certificate is None or _KEY.search(data) is None:
        raise IdentityError(f"{path} holds no key and certificate in PEM")
    name = thumbprint(certificate[0], path)
    return Identity(certificate[0].decode(), name, path, signature[1].decode() if signature is not None else "")


def subject(identity: Identity) -> str:
    """Return whose certificate it is: the VirtualMachine's UID. Raises IdentityError."""
    try:
        shown = openssl.run("x509", "-noout", "-subject", "-nameopt", "RFC2253", given=identity.certificate.encode())
    except OpensslError as error:
        raise IdentityError(f"the certificate in {identity.file} can't be read: {error}") from None
    return shown.decode("ascii", "replace").strip().rpartition("CN=")[2]


def make(layout: Layout, subject: str) -> Identity:
    """Make a key, and a certificate for a subject (the VirtualMachine's UID). Raises IdentityError, OSError.

    One that is in use is kept as an earlier one.
    """
    if not _SUBJECT.fullmatch(subject):
        raise IdentityError(f"{subject!r:.80} is no UID of a VirtualMachine")
    before = load(layout)
    if before is not None:
        files.write(f"{layout.identity}/{before.thumbprint}.pem", files.read(before.file, _LIMIT), 0o600)
    return _make(layout, "machine.pem", subject, None)


def make_next(layout: Layout, subject: str, current: Identity) -> Identity:
    """Make another key and certificate, signed by the key that is in use. Raises IdentityError, OSError."""
    return _make(layout, "next.pem", subject, current)


def _make(layout: Layout, name: str, subject: str, voucher: Identity | None) -> Identity:
    files.make_folder(layout.identity, 0o700)
    # What was cut short lies under these names: it is written over by the next one, and never taken for an identity.
    key, config = f"{layout.identity}/making.key", f"{layout.identity}/making.conf"
    try:
        made = openssl.run("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{_BITS}")
        files.write(key, made, 0o600, durable=False)
        files.write(config, _REQUEST % subject.encode(), 0o600, durable=False)
        days = ("-days", str(_DAYS))
        certificate = openssl.run("req", "-x509", "-new", "-sha256", "-key", key, "-config", config, *days)
        signature = b"" if voucher is None else _sign(certificate, voucher)
    except OpensslError as error:
        raise IdentityError(f"no key can be made: {error}") from None
    path = f"{layout.identity}/{name}"
    files.write(path, signature + made + certificate, 0o600)
    for one in (key, config):
        files.remove(one)
    found = _load(path)
    assert found is not None, "it was just written"
    return found


def _sign(certificate: bytes, voucher: Identity) -> bytes:
    """Return the line that says who vouches for a certificate: RSA PKCS#1 v1.5 with SHA-256 over its DER."""
    signed = openssl.run("dgst", "-sha256", "-sign", voucher.file, given=_der(certificate))
    return b"signature: %s\n" % base64.b64encode(signed)


def promote(layout: Layout, current: Identity, following: Identity) -> tuple[Identity, Identity]:
    """Put the next identity in the place of the one in use, which is kept; return both as they are now.

    Cut off anywhere it leaves a whole identity in use, and is done again. Raises OSError, IdentityError.
    """
    files.write(f"{layout.identity}/{current.thumbprint}.pem", files.read(current.file, _LIMIT), 0o600)
    os.replace(following.file, f"{layout.identity}/machine.pem")
    files.sync_folder(layout.identity)
    earlier = current._replace(file=f"{layout.identity}/{current.thumbprint}.pem")
    return following._replace(file=f"{layout.identity}/machine.pem"), earlier


def place(layout: Layout, identity: Identity) -> None:
    """Put key and certificate where handlers look for them, if they are not there. Raises OSError."""
    files.make_folder(layout.handlers, 0o700)
    key = _KEY.search(files.read(identity.file, _LIMIT))
    assert key is not None, "it was loaded"
    for path, content in zip(placed(layout, identity.thumbprint), (key[0], identity.certificate.encode())):
        try:
            if files.read(path, _LIMIT) == content:
                continue
        except OSError:
            files.remove(path)
        files.write(path, content, 0o600)


def placed(layout: Layout, name: str) -> tuple[str, str]:
    """Return where handlers look for the key and the certificate of a thumbprint."""
    return f"{layout.handlers}/{name}.prv", f"{layout.handlers}/{name}.crt"


def thumbprint(pem: bytes, what: str) -> str:
    """Return the thumbprint of a certificate. Raises IdentityError where it is none."""
    der = _der(pem)
    if not der:
        raise IdentityError(f"{what} is no certificate in PEM")
    # A name that handlers go by, and no proof of anything.
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def _der(pem: bytes) -> bytes:
    found = _CERTIFICATE.fullmatch(pem)
    try:
        return base64.b64decode(b"".join(found[1].split()), validate=True) if found is not None else b""
    except binascii.Error:
        return b""


def opened(identity: Identity, sealed: str) -> bytes:
    """Return what is in an envelope (base64 of DER CMS EnvelopedData) for this machine. Raises IdentityError."""
    try:
        der = base64.b64decode(sealed, validate=True)
        return openssl.run("cms", "-decrypt", "-inform", "DER", "-inkey", identity.file, given=der)
    except (ValueError, OpensslError) as error:
        raise IdentityError(f"an envelope can't be opened with the key of {identity.thumbprint}: {error}") from None

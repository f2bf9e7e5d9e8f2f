"""Certificates that machines make for themselves: what one has to be like before anything is encrypted to it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from vmext_operator.errors import CertificateError

MAX_BYTES = 8192
MIN_BITS, MAX_BITS = 2048, 4096


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was found good.

    Attributes:
        pem: as it is kept.
        der: its bytes.
        thumbprint: SHA-1 of those in upper-case hex: what handlers name its files by.
    """

    pem: str
    der: bytes
    thumbprint: str


def check(pem: str, subject: str) -> Certificate:
    """Return a certificate: one, of RSA, signed by its own key, for a common name. Raises CertificateError."""
    certificate = _parsed(pem)
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if [name.value for name in names] != [subject]:
        raise CertificateError(f"it is not for {subject}, the UID of the VirtualMachine")
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError("it is not signed by its own key") from None
    return _described(certificate)


def read(pem: str) -> Certificate:
    """Return a certificate of RSA that something can be encrypted to, whoever's. Raises CertificateError."""
    return _described(_parsed(pem))


def _parsed(pem: str) -> x509.Certificate:
    if len(pem) > MAX_BYTES:
        raise CertificateError(f"it has {len(pem)} characters, at most {MAX_BYTES} are taken")
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        if len(found) != 1:
            raise CertificateError(f"it holds {len(found)} certificates, not one")
        (certificate,) = found
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"it is no certificate: {str(error)[:200]}") from None
    if not isinstance(key, rsa.RSAPublicKey) or not MIN_BITS <= key.key_size <= MAX_BITS:
        raise CertificateError(
            f"its key is not of RSA with {MIN_BITS} to {MAX_BITS} bits, which handlers can decrypt with"
        )
    return certificate


def _described(certificate: x509.Certificate) -> Certificate:
    der = certificate.public_bytes(serialization.Encoding.DER)
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Certificate(text, der, certificate.fingerprint(hashes.SHA1()).hex().upper())  # noqa: S303 -- a name, no proof


def is_vouched_for(certificate: Certificate, signature: str, pinned: str) -> bool:
    """Tell whether the key of a pinned certificate (PEM) has signed another certificate's bytes."""
    key = x509.load_pem_x509_certificate(pinned.encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey), "nothing else is ever pinned"
    try:
        raw = base64.b64decode(signature, validate=True)
        key.verify(raw, certificate.der, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True

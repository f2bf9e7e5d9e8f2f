"""Certificates as machines make them, good and bad."""

from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a key; the same number is the same one."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def certificate(subject: str, key: Key | None = None, *, signer: Key | None = None, serial: int = 1) -> str:
    """Return a certificate for a subject, signed by its own key or by another, in PEM."""
    own: Key = key or rsa_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateBuilder(name, name, own.public_key(), serial, BEGIN, BEGIN + timedelta(days=3650))
    return builder.sign(signer or own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def signature(pem: str, key: rsa.RSAPrivateKey) -> str:
    """Return a key's signature over a certificate."""
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
    return base64.b64encode(key.sign(der, padding.PKCS1v15(), hashes.SHA256())).decode()


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """Return a key as openssl reads it."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@functools.cache
def publisher_key(number: int = 0) -> ed25519.Ed25519PrivateKey:
    """Return a publisher's key; the same number is the same one."""
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: ed25519.Ed25519PrivateKey) -> str:
    """Return the public part of a publisher's key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

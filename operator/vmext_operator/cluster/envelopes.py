"""Envelopes that one machine alone can open: CMS EnvelopedData as the guest contract has it (A2)."""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.serialization import pkcs7


def seal(content: bytes, certificate: str) -> str:
    """Return base64 of DER: AES-256-CBC, its key by RSA PKCS#1 v1.5, the recipient by issuer and serial number.

    Twice the same content makes two different envelopes.

    Args:
        content: whatever is to be kept.
        certificate: the machine's, in PEM.
    """
    recipient = x509.load_pem_x509_certificate(certificate.encode())
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(content).add_recipient(recipient)
    builder = builder.set_content_encryption_algorithm(algorithms.AES256)
    sealed = builder.encrypt(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
    return base64.b64encode(sealed).decode()

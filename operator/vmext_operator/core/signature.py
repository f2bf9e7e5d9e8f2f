"""Signatures of packages: what is signed, by whom, and which catalog entries are not chosen for the lack of one.

A publisher signs a few lines of text (``text``) with Ed25519; nobody has to download a package to check it. The guest's
agent checks the same once more by its own keys (``vmext_agent/signatures.py``); docs/signatures.md has the form.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vmext_operator.api import fields
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.errors import ParseError

#: By publisher in lower case; any of a publisher's keys will do, so that one can follow another.
Keys = Mapping[str, Sequence[Ed25519PublicKey]]

_RAW_BYTES = 32


def text(publisher: str, type_: str, version: str, sha256: str, size_bytes: int) -> bytes:
    """Return what is signed for a package."""
    parts = {"publisher": publisher, "type": type_, "version": version, "sha256": sha256, "size": size_bytes}
    return "".join(["vmext package v1\n", *(f"{name}: {value}\n" for name, value in parts.items())]).encode()


def refusal(image: ExtensionImage, keys: Keys) -> str:
    """Return why an entry of the catalog is not to be chosen, empty where it may be.

    An entry of a publisher of whom no key is known is as good without a signature as with one.
    """
    known = keys.get(image.publisher.lower())
    if known is None:
        return ""
    package, name = image.package, f"{image.handler_name} {image.version}"
    if not package.signature:
        return f"{name} is not signed, and the operator has keys of its publisher; add spec.package.signature"
    signed = text(image.publisher, image.type, image.version.text, package.sha256, package.size_bytes)
    if any(_is_signed(key, package.signature, signed) for key in known):
        return ""
    return f"the signature of {name} is by none of the keys that the operator has of its publisher; sign it anew"


def _is_signed(key: Ed25519PublicKey, signature: str, signed: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def parse_keys(document: object) -> Keys:
    """Parse publishers' keys: an object of publishers, each with a list of keys in PEM or base64. Raises ParseError."""
    found: dict[str, Sequence[Ed25519PublicKey]] = {}
    for publisher, values in fields.as_object(document, "publishers").items():
        if publisher.lower() in found:
            raise ParseError(publisher, "is there twice")
        if not isinstance(values, list) or not values:
            raise ParseError(publisher, "is not a list of keys; leave a publisher out to take what it does not sign")
        found[publisher.lower()] = [_key(value, f"{publisher}[{index}]") for index, value in enumerate(values)]
    return found


def _key(value: object, path: str) -> Ed25519PublicKey:
    """Return a key: PEM, its body alone, or the 32 bytes of the key itself in base64."""
    lines = value.strip().splitlines() if isinstance(value, str) else []
    try:
        der = base64.b64decode("".join(line.strip() for line in lines if not line.startswith("-----")), validate=True)
        is_raw = len(der) == _RAW_BYTES
        key = Ed25519PublicKey.from_public_bytes(der) if is_raw else serialization.load_der_public_key(der)
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ParseError(path, "is no public key of Ed25519, in PEM or base64")
    return key

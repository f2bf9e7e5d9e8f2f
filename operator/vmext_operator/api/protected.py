"""Protected settings: where they are declared to be, and as what they stand in a goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmext_operator.api import fields


@dataclass(frozen=True, slots=True)
class Protected:
    """Where an extension's protected settings are: in a Secret's key, or encrypted beforehand, by thumbprint."""

    secret: str = ""
    key: str = ""
    encrypted: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sealed:
    """Protected settings that one machine alone can read.

    Attributes:
        ciphertext: base64 of DER CMS EnvelopedData.
        thumbprint: of the certificate that it is encrypted to.
        content: tells one content from another, and nothing else of it.
    """

    ciphertext: str
    thumbprint: str
    content: str


def parse(spec: Mapping[str, Any], path: str) -> Protected | None:
    """Parse the declaration, None for none. Raises ParseError."""
    obj = fields.optional(spec, path, "protectedSettings", dict)
    if not obj:
        return None
    where = f"{path}.protectedSettings"
    reference = fields.optional(obj, where, "secretRef", dict)
    if reference is not None:
        name, key = (fields.field(reference, f"{where}.secretRef", part, str) for part in ("name", "key"))
        return Protected(name, key)
    encrypted = fields.field(obj, where, "encrypted", dict)
    return Protected(encrypted=tuple(sorted((str(name), str(text)) for name, text in encrypted.items())))


def parse_sealed(entry: Mapping[str, Any], path: str) -> Sealed | None:
    """Parse what of an entry of a goal is sealed, None for nothing. Raises ParseError."""
    ciphertext = fields.optional(entry, path, "protectedSettings", str)
    if not ciphertext:
        return None
    return Sealed(
        ciphertext,
        fields.field(entry, path, "thumbprint", str),
        fields.optional(entry, path, "protectedHash", str) or "",
    )

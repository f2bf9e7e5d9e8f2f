"""VirtualMachine: a machine that extensions are declared for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmext_operator.api import credential, fields, meta

PLURAL = "virtualmachines"
KIND = "VirtualMachine"
FINALIZER = "vmext.dev/vm"


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A machine as declared, with its status as it stands in the API server."""

    meta: meta.Meta
    location: str | None
    status: Mapping[str, Any]
    credential: credential.Pinned | None
    #: The annotation that asks for another look at its anchor.
    look_again: str


def parse(obj: Mapping[str, Any]) -> VirtualMachine:
    """Parse a VirtualMachine. Raises ParseError."""
    spec = fields.optional(obj, "object", "spec", dict) or {}
    status = fields.optional(obj, "object", "status", dict) or {}
    pinned = fields.optional(status, "status", "credential", dict)
    annotations = fields.optional(fields.field(obj, "object", "metadata", dict), "metadata", "annotations", dict) or {}
    return VirtualMachine(
        meta=meta.parse(obj),
        location=fields.optional(spec, "spec", "location", str),
        status=status,
        credential=None if not pinned else credential.parse_pinned(pinned, "status.credential"),
        look_again=str(annotations.get(credential.LOOK_AGAIN, "")),
    )

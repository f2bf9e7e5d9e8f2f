"""VirtualMachine: a machine that extensions are declared for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmext_operator.api import fields, meta

PLURAL = "virtualmachines"
KIND = "VirtualMachine"
FINALIZER = "vmext.dev/vm"


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A machine as declared, with its status as it stands in the API server."""

    meta: meta.Meta
    location: str | None
    status: Mapping[str, Any]


def parse(obj: Mapping[str, Any]) -> VirtualMachine:
    """Parse a VirtualMachine. Raises ParseError."""
    spec = fields.optional(obj, "object", "spec", dict) or {}
    return VirtualMachine(
        meta=meta.parse(obj),
        location=fields.optional(spec, "spec", "location", str),
        status=fields.optional(obj, "object", "status", dict) or {},
    )

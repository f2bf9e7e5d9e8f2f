"""VirtualMachineExtension: an extension that a machine should have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmext_operator.api import fields, meta, protected
from vmext_operator.api.meta import Key, Meta
from vmext_operator.api.version import Version

PLURAL = "virtualmachineextensions"
KIND = "VirtualMachineExtension"
FINALIZER = "vmext.dev/uninstall"


@dataclass(frozen=True, slots=True)
class VirtualMachineExtension:
    """An extension as declared, with its status as it stands in the API server.

    ``settings`` is canonical JSON text: two declarations that mean the same have the same text. ``tags`` are not here:
    nothing is decided by them.
    """

    meta: Meta
    vm_name: str
    publisher: str
    type: str
    type_handler_version: Version
    auto_upgrade_minor_version: bool
    enable_automatic_upgrade: bool
    force_update_tag: str | None
    settings: str
    protected: protected.Protected | None
    depends_on: tuple[str, ...]
    suppress_failures: bool
    timeout_seconds: int | None
    orphan_on_delete: bool
    deletion_timeout_seconds: int
    status: Mapping[str, Any]

    @property
    def vm_key(self) -> Key:
        """Return the key of the machine that it is for."""
        return Key(self.meta.key.namespace, self.vm_name)

    @property
    def handler_key(self) -> str:
        """Return ``publisher.type`` in lower case, as the catalog is searched by."""
        return f"{self.publisher}.{self.type}".lower()


def parse(obj: Mapping[str, Any]) -> VirtualMachineExtension:
    """Parse a VirtualMachineExtension. Raises ParseError."""
    spec = fields.field(obj, "object", "spec", dict)
    timeout = fields.optional(spec, "spec", "timeout", str)
    settings = fields.optional(spec, "spec", "settings", dict) or {}
    return VirtualMachineExtension(
        meta=meta.parse(obj),
        vm_name=fields.field(spec, "spec", "vmName", str),
        publisher=fields.field(spec, "spec", "publisher", str),
        type=fields.field(spec, "spec", "type", str),
        type_handler_version=Version(fields.field(spec, "spec", "typeHandlerVersion", str), "spec.typeHandlerVersion"),
        auto_upgrade_minor_version=fields.optional(spec, "spec", "autoUpgradeMinorVersion", bool) is not False,
        enable_automatic_upgrade=fields.optional(spec, "spec", "enableAutomaticUpgrade", bool) is True,
        force_update_tag=fields.optional(spec, "spec", "forceUpdateTag", str),
        settings=json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        protected=protected.parse(spec, "spec"),
        depends_on=tuple(sorted({str(name) for name in fields.optional(spec, "spec", "dependsOn", list) or ()})),
        suppress_failures=fields.optional(spec, "spec", "suppressFailures", bool) is True,
        timeout_seconds=None if timeout is None else max(1, fields.seconds(timeout, "spec.timeout")),
        # Whatever a later version may have words for: what is not understood takes nothing off a machine.
        orphan_on_delete=fields.optional(spec, "spec", "deletionPolicy", str) not in (None, "Uninstall"),
        deletion_timeout_seconds=fields.seconds(
            fields.optional(spec, "spec", "deletionTimeout", str) or "30m", "spec.deletionTimeout"
        ),
        status=fields.optional(obj, "object", "status", dict) or {},
    )

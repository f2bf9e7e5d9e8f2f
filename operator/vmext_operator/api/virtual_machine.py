"""VirtualMachine: a machine that extensions are declared for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmext_operator.api import credential, fields, meta

PLURAL = "virtualmachines"
KIND = "VirtualMachine"
FINALIZER = "vmext.dev/vm"
DEFAULT_UNREACHABLE_AFTER = "5m"
#: Whatever is declared: less would be the jitter of a busy machine, more no heartbeat.
_SHORTEST_S, _LONGEST_S = 15, 72 * 3600


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A machine as declared, with its status as it stands in the API server.

    Attributes:
        meta: of the object.
        location: where it is, None for nowhere in particular.
        uninstalls: whether deleting it uninstalls the extensions that are not deleted with it.
        paused: whether what it is told of its extensions is to stay as it is.
        unreachable_after_s: for how long its agent may be silent.
        allows_offline: whether it counts as ready while it is unreachable or was never enrolled.
        status: as it stands.
        credential: what it is known by.
    """

    meta: meta.Meta
    location: str | None
    uninstalls: bool
    paused: bool
    unreachable_after_s: int
    allows_offline: bool
    status: Mapping[str, Any]
    credential: credential.Pinned | None

    @property
    def anchor_uid(self) -> str:
        """Return the UID of the Secret that its tokens are bound to, empty before it has one."""
        return self.credential.anchor_uid if self.credential is not None else ""

    @property
    def is_enrolled(self) -> bool:
        """Tell whether a certificate is pinned for it."""
        return self.credential is not None and bool(self.credential.certificate)

    @property
    def heartbeat_s(self) -> int:
        """Return how often its agent is to give a sign of life."""
        return self.unreachable_after_s // 3


def parse(obj: Mapping[str, Any]) -> VirtualMachine:
    """Parse a VirtualMachine. Raises ParseError."""
    spec = fields.optional(obj, "object", "spec", dict) or {}
    status = fields.optional(obj, "object", "status", dict) or {}
    pinned = fields.optional(status, "status", "credential", dict)
    silence = fields.optional(spec, "spec", "unreachableAfter", str) or DEFAULT_UNREACHABLE_AFTER
    return VirtualMachine(
        meta=meta.parse(obj),
        location=fields.optional(spec, "spec", "location", str),
        uninstalls=fields.optional(spec, "spec", "deletionPolicy", str) == "Uninstall",
        paused=fields.optional(spec, "spec", "paused", bool) is True,
        unreachable_after_s=min(_LONGEST_S, max(_SHORTEST_S, fields.seconds(silence, "spec.unreachableAfter"))),
        allows_offline=fields.optional(spec, "spec", "readiness", str) == "AllowOffline",
        status=status,
        credential=None if not pinned else credential.parse_pinned(pinned, "status.credential"),
    )

"""What a machine is known by: its certificate and its tokens, as they stand in VirtualMachine and GoalState."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vmext_operator.api import fields

PREFIX = "vmext-vm-"
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the operator holds of a machine (``VirtualMachine.status.credential``).

    Attributes:
        anchor_uid: UID of the Secret that all of the machine's tokens are bound to.
        certificate: in PEM, empty before the machine has proposed one.
        thumbprint: of the certificate, SHA-1 in upper-case hex.
        expires_at: when the token ends that the agent says it has, RFC 3339; empty where it does not, or has none yet.
        lifetime_s: for how long that token was granted, 0 for one that does not end, None where it has none yet.
    """

    anchor_uid: str
    certificate: str = ""
    thumbprint: str = ""
    expires_at: str = ""
    lifetime_s: int | None = None

    def render(self) -> dict[str, Any]:
        """Return it as the API has it."""
        return fields.without_none(
            {
                "anchorUID": self.anchor_uid,
                "certificate": self.certificate or None,
                "thumbprint": self.thumbprint or None,
                "expiresAt": self.expires_at or None,
                "lifetimeSeconds": self.lifetime_s,
            }
        )


def parse_pinned(obj: Mapping[str, Any], path: str) -> Pinned:
    """Parse a machine's credential. Raises ParseError."""
    return Pinned(
        anchor_uid=fields.field(obj, path, "anchorUID", str),
        certificate=fields.optional(obj, path, "certificate", str) or "",
        thumbprint=fields.optional(obj, path, "thumbprint", str) or "",
        expires_at=fields.optional(obj, path, "expiresAt", str) or "",
        lifetime_s=fields.optional(obj, path, "lifetimeSeconds", int),
    )


@dataclass(frozen=True, slots=True)
class NextToken:
    """The token that an agent is to use next (``GoalState.spec.credential``); ``expires_at`` is empty for no end."""

    id: str
    token: str
    thumbprint: str
    expires_at: str

    def render(self) -> dict[str, Any]:
        """Return it as the API has it."""
        made = {"id": self.id, "token": self.token, "thumbprint": self.thumbprint}
        return made | ({"expiresAt": self.expires_at} if self.expires_at else {})


def parse_next_token(obj: Mapping[str, Any], path: str) -> NextToken:
    """Parse a goal's credential. Raises ParseError."""
    return NextToken(
        id=fields.field(obj, path, "id", str),
        token=fields.field(obj, path, "token", str),
        thumbprint=fields.field(obj, path, "thumbprint", str),
        expires_at=fields.optional(obj, path, "expiresAt", str) or "",
    )


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """The certificate that a machine asks to be pinned (``GoalState.status.certificateRequest``)."""

    anchor_uid: str
    certificate: str
    signature: str


def parse_request(obj: Mapping[str, Any], path: str) -> CertificateRequest:
    """Parse a machine's request. Raises ParseError."""
    return CertificateRequest(
        anchor_uid=fields.field(obj, path, "anchorUID", str),
        certificate=fields.field(obj, path, "certificate", str),
        signature=fields.optional(obj, path, "signature", str) or "",
    )


@dataclass(frozen=True, slots=True)
class Held:
    """The token that an agent says it uses (``GoalState.status.credential``).

    Attributes:
        id: of the token.
        bound_uid: of the Secret that it is bound to, empty for one that does not end.
        issued_at: when it was.
        expires_at: when it ends, ``NEVER`` where it does not.
        renewal_error: why the next one, or the next key, is not taken yet, in the machine's words; empty for nothing.
    """

    id: str
    bound_uid: str
    issued_at: datetime
    expires_at: datetime
    renewal_error: str = ""


def parse_held(obj: Mapping[str, Any], path: str) -> Held:
    """Parse what a machine says of its token. Raises ParseError."""
    issued, expires = (fields.optional(obj, path, name, str) for name in ("issuedAt", "expiresAt"))
    return Held(
        id=fields.field(obj, path, "id", str),
        bound_uid=fields.optional(obj, path, "boundUID", str) or "",
        issued_at=LONG_AGO if issued is None else fields.time(issued, f"{path}.issuedAt"),
        expires_at=NEVER if expires is None else fields.time(expires, f"{path}.expiresAt"),
        renewal_error=fields.optional(obj, path, "renewalError", str) or "",
    )

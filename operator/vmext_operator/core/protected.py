"""Decide what stands in a goal for an extension's protected settings; what they say is never in a message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from vmext_operator.api.credential import Pinned
from vmext_operator.api.protected import Protected, Sealed
from vmext_operator.core import verdict
from vmext_operator.core.reasons import Reason

MAX_BYTES = 64 * 1024


def not_enrolled(vm_name: str) -> verdict.Held:
    """Return why nothing can be encrypted for a machine yet."""
    message = f"{vm_name} has no certificate to encrypt protected settings to; enrol it: kubectl vmext enroll {vm_name}"
    return verdict.awaits_machine(Reason.NOT_ENROLLED, message)


def of_encrypted(declared: Protected, pinned: Pinned, vm_name: str, before: Sealed | None) -> Sealed | verdict.Held:
    """Return what was encrypted beforehand, untouched: that for the machine's certificate."""
    known = dict(declared.encrypted)
    ciphertext = known.get(pinned.thumbprint)
    if ciphertext is None:
        message = (
            f"protectedSettings.encrypted has nothing for {pinned.thumbprint}, the certificate of {vm_name}; "
            f"encrypt it anew, beside what is there: kubectl vmext encrypt --vm {vm_name}"
        )
        return verdict.stalls(Reason.WRONG_CERTIFICATE, message)
    if before is not None and (before.ciphertext, before.thumbprint) == (ciphertext, pinned.thumbprint):
        # It is in force, under whatever name its content came to be known.
        return before
    content = hashlib.sha256(ciphertext.encode()).hexdigest()[:32]
    if (
        before is not None
        and before.thumbprint != pinned.thumbprint
        and known.get(before.thumbprint) == before.ciphertext
    ):
        # What was in force still stands there, for a certificate before this one: it is the same, encrypted again.
        content = before.content
    return Sealed(ciphertext, pinned.thumbprint, content)


def of_secret(
    plain: bytes, content: str, pinned: Pinned, before: Sealed | None, seal: Callable[[bytes, str], str]
) -> Sealed:
    """Return a Secret's content, encrypted: anew only where the content or the certificate is another one.

    Args:
        plain: that was found good (``refusal``).
        content: tells it from any other content.
        pinned: the machine's certificate.
        before: what is in force.
        seal: encrypts; twice the same makes two different envelopes.
    """
    if before is not None and (before.content, before.thumbprint) == (content, pinned.thumbprint):
        return before
    return Sealed(seal(plain, pinned.certificate), pinned.thumbprint, content)


def refusal(declared: Protected, plain: bytes | None) -> verdict.Held | None:
    """Return why a Secret's value can't be used, None where it can."""
    where = f"key {declared.key} of Secret {declared.secret}"
    if plain is None:
        return verdict.stalls(Reason.SECRET_INVALID, f"there is no {where}; recovers when there is")
    if len(plain) > MAX_BYTES:
        return verdict.stalls(Reason.SECRET_INVALID, f"{where} has {len(plain)} bytes, at most {MAX_BYTES} are taken")
    try:
        document = json.loads(plain)
    except (ValueError, RecursionError):
        # What json says may quote it.
        return verdict.stalls(Reason.SECRET_INVALID, f"{where} is not JSON")
    if not isinstance(document, dict):
        return verdict.stalls(Reason.SECRET_INVALID, f"{where} is not a JSON object")
    return None

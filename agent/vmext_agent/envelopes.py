"""Whether protected settings can be read on this machine, before a handler is run with them (contract, 13.14).

They are opened just as handlers do it, by the key that lies beside their folders, and what is in them is looked at and
let go: it stays nowhere, and no message has any of it.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import identity, openssl
from vmext_agent.errors import OpensslError

if TYPE_CHECKING:
    from vmext_agent.goal_state import Settings
    from vmext_agent.layout import Layout

_TIMEOUT_S = 20.0
#: So many are remembered to be good: those of a goal, and of some before it.
_REMEMBERED = 1024


class Unreadable(NamedTuple):
    """Why settings can't be read: for which reason, and in which words."""

    reason: str
    words: str


class Envelopes:
    """Opens each envelope once; what could not be opened is tried again when it is asked for again."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._good: dict[str, None] = {}

    def refusal(self, settings: Settings) -> Unreadable | None:
        """Return why settings can't be read, None where they can, or where nothing of them is protected."""
        if not settings.protected or settings.digest in self._good:
            return None
        found = self._open(settings)
        if found is None:
            while len(self._good) >= _REMEMBERED:
                del self._good[next(iter(self._good))]
            self._good[settings.digest] = None
        return found

    def _open(self, settings: Settings) -> Unreadable | None:
        key, certificate = identity.placed(self._layout, settings.thumbprint)
        if not (os.path.exists(key) and os.path.exists(certificate)):
            words = "the protected settings are encrypted to the certificate {}, and this machine has no key of it"
            return Unreadable("WrongCertificate", words.format(settings.thumbprint))
        try:
            plain = self._decrypt(base64.b64decode(settings.protected, validate=True), key, certificate)
        except (ValueError, OpensslError) as error:
            words = f"the protected settings can't be opened with the key of {settings.thumbprint}: {error}"
            return Unreadable("ProtectedSettingsInvalid", words)
        try:
            is_object = isinstance(json.loads(plain), dict)
        except (ValueError, RecursionError):
            # What json says may quote them.
            is_object = False
        return (
            None if is_object else Unreadable("ProtectedSettingsInvalid", "the protected settings are no JSON object")
        )

    @staticmethod
    def _decrypt(der: bytes, key: str, certificate: str) -> bytes:
        arguments = ("-decrypt", "-inform", "DER", "-recip", certificate, "-inkey", key)
        try:
            return openssl.run("cms", *arguments, given=der, timeout_s=_TIMEOUT_S)
        except OpensslError:
            # Not every openssl in the field has cms; smime is the older command for the same messages.
            return openssl.run("smime", *arguments, given=der, timeout_s=_TIMEOUT_S)

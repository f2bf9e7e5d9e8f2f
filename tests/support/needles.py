"""A secret value in all the forms in which it may lie around: whole or in part, plain, in hex, in base64, in both."""

from __future__ import annotations

import base64
import re
import secrets

#: Letters and digits only, so that no encoding has a reason to escape any of it; long enough to be nothing else.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_PART, _PARTS = 12, 3


class Needles:
    """One secret value, and what of it can be found.

    Attributes:
        value: the value: letters and digits.
    """

    def __init__(self) -> None:
        self.value = "".join(secrets.choice(_ALPHABET) for _ in range(_PART * _PARTS))
        parts = [self.value[at : at + _PART].encode() for at in range(0, _PART * _PARTS, _PART)]
        plain = {form for part in parts for form in (part, part[::-1])}
        coded = {form for part in parts for form in (part.hex().encode(), part.hex().upper().encode(), *_base64(part))}
        # What was in base64 already when it was encoded again, as a Secret in an annotation of a Secret is.
        twice = {form for once in _base64(self.value.encode()) for form in _base64(once)}
        self._pattern = re.compile(b"|".join(sorted(map(re.escape, plain | coded | twice))))

    def are_in(self, data: bytes | str) -> bool:
        """Tell whether any form of the value, or of a third of it, is in there."""
        return self._pattern.search(data if isinstance(data, bytes) else data.encode()) is not None


def _base64(data: bytes) -> set[bytes]:
    """Return what base64 of a text has in it wherever in the text the data begins, but for the letters at its edges."""
    found = set()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + data)
        # A letter stands for six bits: those that hold bits of what is before or after are left out.
        inside = encoded[(shift * 8 + 5) // 6 : (shift + len(data)) * 8 // 6]
        found |= {inside, inside.replace(b"+", b"-").replace(b"/", b"_")}
    return found

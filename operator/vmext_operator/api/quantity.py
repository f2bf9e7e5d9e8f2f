"""Quantities as Kubernetes writes them, as the whole numbers that a machine is told."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from vmext_operator.errors import ParseError

_CPU = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)|(\d{1,12})m")
_BYTES = re.compile(r"(\d{1,15})(k|M|G|T|Ki|Mi|Gi|Ti)?")
_FACTORS = {
    None: 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
#: What a goal state's integers can hold.
_MOST = 2**63 - 1


def millicores(text: str, path: str) -> int:
    """Turn cores, such as ``2``, ``0.5`` or ``500m``, into thousandths, at least 1. Raises ParseError."""
    match = _CPU.fullmatch(text)
    if match is None:
        raise ParseError(path, f"{text!r} is no number of cores; write it like 2, 0.5 or 500m")
    count = Decimal(match[2]) if match[2] else Decimal(match[1]) * 1000
    return min(_MOST, max(1, int(count.to_integral_value(ROUND_CEILING))))


def size(text: str, path: str) -> int:
    """Turn a size, such as ``256Mi`` or ``1G``, into bytes, at least 1. Raises ParseError."""
    match = _BYTES.fullmatch(text)
    if match is None:
        raise ParseError(path, f"{text!r} is no size; write it like 256Mi or 1G")
    return min(_MOST, max(1, int(match[1]) * _FACTORS[match[2]]))

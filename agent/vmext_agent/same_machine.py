"""Whether an installation runs on the machine that it was enrolled on: a comparison of facts, pure.

What an installation consists of are files, and files travel: with a clone, a restored backup, a disk that is put into
another machine. What a hypervisor or a board gives stays behind. So the hardware decides where it is known on both
sides; the machine-id decides where it is not; the disk alone decides nothing. Nothing that is absent on one side, or
that many machines share, decides anything.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_HARDWARE = ("productUUID", "boardSerial")
_WORDS = {
    "productUUID": "product UUID",
    "boardSerial": "board serial number",
    "machineID": "machine-id",
    "bootDisk": "boot disk",
    "rootFileSystem": "root file system",
    "instanceID": "cloud instance ID",
}
_DESCRIBED = 512
_HEX = re.compile(r"[0-9a-f]{32}")
_SHARED_UUIDS = frozenset(
    {
        "03000200040005000006000700080009",
        "00020003000400050006000700080009",
        "12345678123456781234567812345678",
        "1234567812345678123456789abcdef0",
        "4c4c454400002010802080c04f202020",
        "fefefefefefefefefefefefefefefefe",
        "0123456789abcdef0123456789abcdef",
    }
)
#: What vendors, emulators and people write where a number of its own should be.
_SHARED_TEXT = re.compile(
    r"(?i)(0|f|x|-|\.)*|qm0000\d|drive-.*|vd-?\d*|none|n/?a|unknown|default string|to be filled.*|not .*|system .*"
    r"|(0?123456789.*)|iid-datasource-none|i-?d?-?none|nocloud|iid-(local|dsnone|test)[0-9]*"
)


class Sameness(enum.Enum):
    """What a comparison came to."""

    SAME = "same"
    #: Something differs that may change in the life of a machine.
    CHANGED = "changed"
    #: This is another machine.
    COPY = "copy"


class Difference(NamedTuple):
    """A fact that differs."""

    fact: str
    noted: str
    found: str

    def words(self) -> str:
        """Return it in words."""
        return f"{_WORDS.get(self.fact, self.fact)} {self.found}, was {self.noted}"


class Comparison(NamedTuple):
    """What a comparison came to, and why."""

    sameness: Sameness
    differences: tuple[Difference, ...] = ()

    def words(self) -> str:
        """Return what differs in words, empty for nothing."""
        return "; ".join(difference.words() for difference in self.differences)


def usable(fact: str, value: str) -> str:
    """Return a fact's value in its usual form; empty for one that many machines share, or that is none."""
    text = value.strip()[:128]
    if fact in ("productUUID", "machineID"):
        digits = text.lower().replace("-", "")
        if not _HEX.fullmatch(digits) or len(set(digits)) < 3 or digits in _SHARED_UUIDS:
            return ""
        return text.lower() if fact == "productUUID" else digits
    if _SHARED_TEXT.fullmatch(text) or not text.isprintable():
        return ""
    return text


def compare(noted: Mapping[str, str], found: Mapping[str, str]) -> Comparison:
    """Return whether the facts that were noted when a machine was enrolled are those of this machine."""
    known = {fact: (usable(fact, noted[fact]), usable(fact, found[fact])) for fact in noted if fact in found}
    compared = {fact: pair for fact, pair in known.items() if all(pair)}
    same = {fact for fact, pair in compared.items() if _form(fact, pair[0]) == _form(fact, pair[1])}
    differing = tuple(Difference(fact, *compared[fact]) for fact in sorted(compared) if fact not in same)
    if not differing:
        return Comparison(Sameness.SAME)
    return Comparison(_decide(same, {one.fact for one in differing}), differing)


def _decide(same: set[str], differing: set[str]) -> Sameness:
    is_other_hardware = any(fact in differing for fact in _HARDWARE)
    is_same_hardware = any(fact in same for fact in _HARDWARE)
    # One disk can't be in two machines: where its serial number is the same, it has moved at most.
    is_same_disk = "bootDisk" in same
    if "machineID" in differing:
        # It may have been made anew. The hardware or the disk vouches for that, unless one of them is another too:
        # there are hypervisors that give all their machines one UUID.
        is_other_disk = bool({"bootDisk", "rootFileSystem"} & differing)
        is_renewed = (is_same_hardware or is_same_disk) and not is_other_hardware and not is_other_disk
        return Sameness.CHANGED if is_renewed else Sameness.COPY
    if is_other_hardware and not is_same_hardware:
        return Sameness.CHANGED if is_same_disk else Sameness.COPY
    return Sameness.CHANGED


def _form(fact: str, value: str) -> str:
    """Return what is compared: kernels differ in case and byte order of a product UUID."""
    if fact != "productUUID":
        return value
    digits = value.lower().replace("-", "")
    parts = digits[:8], digits[8:12], digits[12:16]
    swapped = "".join("".join(reversed(re.findall("..", part))) for part in parts) + digits[16:]
    return min(digits, swapped)


def describe(facts: Mapping[str, str]) -> str:
    """Return what tells a machine from others, in words."""
    return ", ".join(f"{words} {facts[fact]}" for fact, words in _WORDS.items() if fact in facts)[:_DESCRIBED]


def lasting(facts: Mapping[str, str]) -> Mapping[str, str]:
    """Return the facts that are there from the beginning of a boot to its end, and stay the same."""
    return {fact: value for fact, value in facts.items() if fact in (*_HARDWARE, "machineID")}


def complete(noted: Mapping[str, str], found: Mapping[str, str]) -> Mapping[str, str]:
    """Return what was noted with what could not be read then: what is noted already stays as it is."""
    return {**found, **{fact: value for fact, value in noted.items() if usable(fact, value)}}

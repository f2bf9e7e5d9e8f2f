"""Who writes a machine's status: one machine, in one boot. A second one with the same installation is found by it.

The status names its holder. An agent that sees another name there after it has written its own writes it once more: a
server that was restored from a backup names one that is gone. If the other name comes back after that, two machines
write in turn, and the younger of the two gives way: the one that found the other's name when it began. Its term tells,
which is one higher. One that has changed since it was enrolled gives way to any other. Pure: no clock, no I/O.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_TERM = (1 << 53) - 1
#: So long after it was answered, another's name that comes back is that of a machine that is there.
_ANSWERED_S = 600.0


class Holder(NamedTuple):
    """A machine in one boot, as a status names it."""

    id: str
    term: int
    machine: str


def identify(installation: str, facts: Mapping[str, str], boot: str) -> str:
    """Return the name of a machine in one boot: copies share its first part and never the second."""
    text = json.dumps([sorted(facts.items()), boot])
    return f"{installation or 'unknown'}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def parse(status: Mapping[str, object]) -> Holder | None:
    """Return who holds a status, None for nobody, or for what can't be understood."""
    found = status.get("holder")
    if not isinstance(found, dict):
        return None
    name, term, machine = found.get("id"), found.get("term"), found.get("machine", "")
    if not isinstance(name, str) or not isinstance(term, int) or isinstance(term, bool):
        return None
    return Holder(name, term, str(machine))


class Claim:
    """One agent's claim to be the machine that its credentials are for.

    Args:
        name: of this machine in this boot.
        machine: what it is, in words.
        has_changed: since it was enrolled: it may be a copy.
    """

    def __init__(self, name: str, machine: str, *, has_changed: bool = False) -> None:
        self.name = name
        self._machine = machine
        self._has_changed = has_changed
        self._term: int | None = None
        #: Whose name was found in the place of the own one, and when the own one was written after that.
        self._found = ""
        self._answered: dict[str, float] = {}

    def document(self) -> dict[str, object]:
        """Return what the status is to say of its holder."""
        return {"id": self.name, "term": self._term or 0, "machine": self._machine}

    def written(self, now: float) -> None:
        """Take note that the own name is in the status now."""
        if self._found:
            self._answered[self._found] = now
            self._found = ""

    def observe(self, status: Mapping[str, object], now: float) -> str:
        """Take note of who holds the status; return why to give way, in words, empty for not.

        Args:
            status: as the API server has it.
            now: monotonic seconds.
        """
        seen = parse(status)
        if self._term is None:
            after = -1 if seen is None else seen.term if seen.id == self.name else seen.term + 1
            self._term = min(max(after, 0), _MAX_TERM)
            return ""
        if seen is None or seen.id == self.name:
            return ""
        is_there = now - self._answered.get(seen.id, -_ANSWERED_S) < _ANSWERED_S
        is_younger = (seen.term, seen.id) < (self._term, self.name)
        if is_there and (is_younger or self._has_changed):
            return f"another machine has the same installation and was there before: {seen.machine or seen.id}"
        self._found = seen.id
        return ""


class Notices:
    """What copies have said of themselves in the status; those that say nothing any more are to be removed."""

    _STALE_S = 3600.0

    def __init__(self) -> None:
        self._seen: dict[str, tuple[object, float]] = {}

    def observe(self, status: Mapping[str, object], now: float) -> None:
        """Take note of a status."""
        found = status.get("copies")
        copies = found if isinstance(found, dict) else {}
        before = self._seen
        self._seen = {
            name: before[name] if name in before and before[name][0] == notice else (notice, now)
            for name, notice in copies.items()
        }

    def stale(self, now: float) -> list[str]:
        """Return those that have not changed for long."""
        return [name for name, (_, at) in self._seen.items() if now - at >= self._STALE_S]

"""One thing that was looked at."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Level(enum.Enum):
    """How it stands; only FAIL makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """What was looked at, how it stands, and what to do where it does not stand well."""

    level: Level
    what: str
    words: str
    remedy: str = ""

    def render(self) -> dict[str, str]:
        """Return it as JSON has it."""
        return {"level": self.level.value, "what": self.what, "words": self.words, "remedy": self.remedy}


def ok(what: str, words: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, what, words)


def warn(what: str, words: str, remedy: str) -> Finding:
    """Say that something may be wrong, or will be."""
    return Finding(Level.WARN, what, words, remedy)


def fail(what: str, words: str, remedy: str) -> Finding:
    """Say that something does not work."""
    return Finding(Level.FAIL, what, words, remedy)


def long(seconds: float) -> str:
    """Return a time in the unit that one thinks of it in."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"

"""Versions of extensions: one to four numbers, compared number by number."""

from __future__ import annotations

import re
from functools import total_ordering

from vmext_operator.errors import ParseError

_VERSION = re.compile(r"^\d{1,10}(\.\d{1,10}){0,3}$")


@total_ordering
class Version:
    """A version as written, ordered by its numbers; a missing one counts as 0, so 2.1 equals 2.1.0."""

    __slots__ = ("_padded", "numbers", "text")

    def __init__(self, text: str, path: str = "version") -> None:
        """Parse a version. Raises ParseError."""
        if not _VERSION.match(text):
            raise ParseError(path, f"{text!r} is no version; write one to four numbers with dots, such as 2.1.6")
        self.text = text
        self.numbers = tuple(int(part) for part in text.split("."))
        self._padded = self.numbers + (0,) * (4 - len(self.numbers))

    @property
    def major(self) -> int:
        """Return the first number."""
        return self.numbers[0]

    @property
    def line(self) -> tuple[int, ...]:
        """Return the first two numbers: what a hotfix has in common with what it mends."""
        return self._padded[:2]

    def is_prefix_of(self, other: Version) -> bool:
        """Tell whether the other version begins with all the numbers of this one."""
        return other._padded[: len(self.numbers)] == self.numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._padded == other._padded

    def __lt__(self, other: Version) -> bool:
        return self._padded < other._padded

    def __hash__(self) -> int:
        return hash(self._padded)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

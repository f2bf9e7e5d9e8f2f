"""One figure of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, and the bar that it is held to, where there is one: the most it may be, or the least."""

    name: str
    value: float
    meaning: str
    bar: float | None = None
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Tell whether the value is on the right side of its bar."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar

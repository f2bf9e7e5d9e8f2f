"""One figure of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, and the bar that it is held to, where there is one."""

    name: str
    value: float
    meaning: str
    bar: float | None = None

    @property
    def is_met(self) -> bool:
        """Tell whether the value is within its bar."""
        return self.bar is None or self.value <= self.bar

"""What the soak runs: suites, and what they find."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class Failure(NamedTuple):
    """Something that did not hold.

    Attributes:
        seed: of the run that found it.
        what: happened, in a line.
        reproduce: a line for a shell, in the project's folder.
    """

    seed: int
    what: str
    reproduce: str


class Suite(Protocol):
    """Random tests of one subject. The same seed and count do the same again."""

    @property
    def name(self) -> str:
        """Return what it is called in ``--only`` and in the figures."""

    @property
    def full(self) -> int:
        """Return how many runs make it complete."""

    @property
    def chunk(self) -> int:
        """Return how many runs are done at once: an interruption loses no more than these."""

    def run(self, seed: int, count: int) -> list[Failure]:
        """Do so many runs; return what they found."""


@runtime_checkable
class Noted(Protocol):
    """A suite that says something of itself in the figures, such as which engine it runs on."""

    @property
    def note(self) -> str:
        """Return what to note."""

"""The fenced blocks of a page of the documentation, each with what is to be done with it.

The info string says it, after the language, where renderers don't show it:

    ```sh                     run by bash, in the order of the page; the page ends where one fails
    ```sh fails               run, and has to fail
    ```console                each line that begins with "$ " is run, and has to print what follows (… is anything)
    ```yaml file=web.yaml     written to that file
    ```json not-run: REASON   not run here, because
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*) ?(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
_MACHINES = re.compile(r"^<!-- (new )?machines: (.+) -->$", re.MULTILINE)
NOT_RUN = "not-run: "


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block.

    Attributes:
        where: file and line, for messages.
        language: the first word of its info string.
        marker: the rest of it.
        text: what is in it.
    """

    where: str
    language: str
    marker: str
    text: str

    @property
    def why_not(self) -> str | None:
        """Return why it is not run, None where it is."""
        return self.marker.removeprefix(NOT_RUN) if self.marker.startswith(NOT_RUN) else None

    @property
    def file(self) -> str | None:
        """Return the file that it is the content of, None where it is not."""
        return self.marker.removeprefix("file=") if self.marker.startswith("file=") else None

    @property
    def problem(self) -> str | None:
        """Return what is wrong with its info string, None for nothing."""
        runs = self.language in ("sh", "console") and self.marker in ("", "fails")
        if runs or self.file or self.why_not:
            return None
        return f"{self.where}: a block of {self.language or 'nothing'} says neither how it is run nor why it is not"


def of(page: Path) -> list[Snippet]:
    """Return a page's blocks in their order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Snippet(f"{page.relative_to(ROOT)}:{line}", match[1], match[2].strip(), match[3]))
    return found


def machines(page: Path, *, new: bool) -> list[str]:
    """Return the machines that a page's snippets speak of: those that are known already, or the new ones."""
    return [
        name for match in _MACHINES.finditer(page.read_text()) if bool(match[1]) is new for name in match[2].split()
    ]


def commands(console: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block, and the lines that it is to print."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output.splitlines()


def differs(wanted: list[str], got: str) -> str | None:
    """Return how what was printed differs from what is shown, None where it does not."""
    lines = [" ".join(line.split()) for line in got.splitlines()]
    shown = [" ".join(line.split()) for line in wanted]
    patterns = [re.sub(r"[\[\]?*]", lambda found: f"[{found[0]}]", line).replace("…", "*") for line in shown]
    if len(lines) == len(patterns) and all(map(fnmatch.fnmatchcase, lines, patterns)):
        return None
    return "shown:\n" + "\n".join(shown) + "\nprinted:\n" + "\n".join(lines)

"""The handler's log: a line an event, never a setting's value, and never more than two files of a MiB."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

_LIMIT_BYTES = 1 << 20


class Journal:
    """Appends lines to a log file, which moves aside to ``<name>.1`` when it is full."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock

    def write(self, event: str, **facts: str | int) -> None:
        """Add a line. A log that can't be written stops no script."""
        time = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        words = [time, event, *(f"{name}={value}" for name, value in facts.items())]
        line = " ".join(words).replace("\n", "\\n").encode(errors="backslashreplace") + b"\n"
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size + len(line) > _LIMIT_BYTES:
                os.replace(self._path, self._path.with_name(f"{self._path.name}.1"))
            with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
                file.write(line)
        except OSError:
            pass

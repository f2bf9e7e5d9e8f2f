"""The status file: what the extension tells of one sequence number."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from .environment import replace_file

# The wording is that of Azure's CustomScript, which people and their scripts look for.
IN_PROGRESS = "Enable in progress"
SUCCEEDED = "Enable succeeded"
FAILED = "Enable failed"


class Reporter(NamedTuple):
    """Writes the status file of one sequence number."""

    folder: Path
    number: int
    clock: Callable[[], datetime]

    @property
    def path(self) -> Path:
        """Return the status file."""
        return self.folder / f"{self.number}.status"

    def transitioning(self) -> None:
        """Say that the script is being run."""
        self._write("transitioning", IN_PROGRESS)

    def success(self, output: str) -> None:
        """Say that the script ended with 0, and what it printed."""
        self._write("success", f"{SUCCEEDED}: {output}")

    def error(self, message: str) -> None:
        """Say what failed."""
        self._write("error", f"{FAILED}: {message}")

    def is_transitioning(self) -> bool:
        """Tell whether the file holds what transitioning() wrote, and not a word of an agent's own."""
        try:
            status = json.loads(self.path.read_bytes())[0]["status"]
            said: tuple[Any, Any] = (status["status"], status["formattedMessage"]["message"])
        except (OSError, ValueError, LookupError, TypeError):
            return False
        return said == ("transitioning", IN_PROGRESS)

    def _write(self, state: str, message: str) -> None:
        time = self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        document = [
            {
                "version": 1.0,
                "timestampUTC": time,
                "status": {
                    "name": "CustomScript",
                    "operation": "Enable",
                    "configurationAppliedTime": time,
                    "status": state,
                    "code": 0,
                    "formattedMessage": {"lang": "en", "message": message},
                    "substatus": [],
                },
            }
        ]
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.path, json.dumps(document, indent=2).encode())

"""Whether the API server takes this machine's token: one answer, known to all of the agent's connections.

The API server asks for a token when a watch begins and not again, so that a machine whose rights have ended could go on
reading what is declared. Once any request was refused nothing new is taken until one that was made later is granted.
"""

from __future__ import annotations

import threading


class Access:
    """What the API server last said of the machine's rights; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals = 0
        self._why = ""

    @property
    def refused(self) -> str:
        """Return in which words a request was refused, empty where none was since one was granted."""
        return self._why

    def begin(self) -> int:
        """Return a mark of a request that begins now."""
        return self._refusals

    def refuse(self, why: str) -> None:
        """Take note that a request was answered 401 or 403."""
        with self._lock:
            self._refusals += 1
            self._why = why

    def grant(self, mark: int) -> None:
        """Take note that a request was granted: that says nothing of what was refused after it began."""
        with self._lock:
            if mark == self._refusals:
                self._why = ""

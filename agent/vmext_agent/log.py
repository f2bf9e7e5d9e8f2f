"""The agent's log: lines in the contract's form (section 11), rotated and capped; it never fails its caller."""

from __future__ import annotations

import os
import sys
import threading
import time

from vmext_agent import clock, files

PREFIX = "ExtHandler"
_MAX_BYTES = 5 << 20
_KEPT = 2


class Log:
    """Writes lines ``<time> <level> <thread> <prefix> <message> key=value ...``, in ASCII.

    Args:
        path: the file, None for none.
        echo: also to standard error.
    """

    def __init__(self, path: str | None, *, echo: bool = False) -> None:
        self._path = path
        self._echo = echo
        self._lock = threading.Lock()
        self._descriptor = -1
        self._size = 0

    def info(self, message: str, prefix: str = PREFIX, **fields: object) -> None:
        """Log what was done."""
        self._write("INFO", prefix, message, fields)

    def warning(self, message: str, prefix: str = PREFIX, **fields: object) -> None:
        """Log what may need somebody's eye."""
        self._write("WARNING", prefix, message, fields)

    def error(self, message: str, prefix: str = PREFIX, **fields: object) -> None:
        """Log what failed."""
        self._write("ERROR", prefix, message, fields)

    def _write(self, level: str, prefix: str, message: str, fields: dict[str, object]) -> None:
        pairs = "".join(f" {key}={_value(value)}" for key, value in fields.items())
        text = f"{clock.log_time(time.time())} {level} {threading.current_thread().name} {prefix} {message}{pairs}"
        line = text.replace("\n", "\\n").encode("ascii", "backslashreplace") + b"\n"
        with self._lock:
            # A full disk, or a log folder that is gone, is no reason to stop managing the machine.
            try:
                self._append(line)
            except OSError:
                pass
            if self._echo:
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()

    def _append(self, line: bytes) -> None:
        if self._path is None:
            return
        if self._descriptor >= 0 and self._size + len(line) > _MAX_BYTES:
            os.close(self._descriptor)
            self._descriptor = -1
            for number in range(_KEPT, 0, -1):
                source = self._path if number == 1 else f"{self._path}.{number - 1}"
                if os.path.exists(source):
                    os.replace(source, f"{self._path}.{number}")
        if self._descriptor < 0:
            files.make_folder(os.path.dirname(self._path), 0o755)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o640)
            self._size = os.fstat(self._descriptor).st_size
        self._size += os.write(self._descriptor, line)


def _value(value: object) -> str:
    text = str(value)
    if text and not any(letter in ' "=\n' for letter in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

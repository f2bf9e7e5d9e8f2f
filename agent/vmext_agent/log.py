"""The agent's log: lines in the contract's form (section 11), rotated and capped; it never fails its caller."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time

from vmext_agent import clock, files

PREFIX = "ExtHandler"
_MAX_BYTES = 5 << 20
_KEPT = 2
_BLOCK = 1 << 16
#: Of syslog, as systemd takes them at the beginning of a line.
_PRIORITIES = {"ERROR": 3, "WARNING": 4, "INFO": 6}


class Log:
    """Writes lines ``<time> <level> <thread> <prefix> <message> key=value ...``, in ASCII.

    Args:
        path: the file, None for none.
        echo: also to standard error.
        journal: a stream of systemd's journal that the lines go to as well.
    """

    def __init__(self, path: str | None, *, echo: bool = False, journal: socket.socket | None = None) -> None:
        self._path = path
        self._echo = echo
        self._journal = journal
        self._lock = threading.Lock()
        self._descriptor = -1
        #: Device and number of the file that is open.
        self._file = (0, 0)

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
        about = f"{prefix} {message}{pairs}"
        line = _line(f"{clock.log_time(time.time())} {level} {threading.current_thread().name} {about}")
        with self._lock:
            if self._journal is not None:
                # A journal that does not keep up loses lines; it must not keep the machine from being managed.
                with contextlib.suppress(OSError):
                    self._journal.send(_line(f"<{_PRIORITIES[level]}>{about}"), socket.MSG_DONTWAIT)
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
        size = self._size(self._path)
        if size is not None and size + len(line) > _MAX_BYTES:
            for number in range(_KEPT, 0, -1):
                source = self._path if number == 1 else f"{self._path}.{number - 1}"
                if os.path.exists(source):
                    os.replace(source, f"{self._path}.{number}")
            size = None
        if size is None:
            self._open(self._path)
        os.write(self._descriptor, line)

    def _size(self, path: str) -> int | None:
        """Return the size of the file that is written to; None where that is not the one of its name any more.

        Whoever rotates logs renames it, or empties it.
        """
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        return found.st_size if (found.st_dev, found.st_ino) == self._file else None

    def _open(self, path: str) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._file = -1, (0, 0)
        files.make_folder(os.path.dirname(path), 0o755)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o640)
        found = os.fstat(self._descriptor)
        self._file = (found.st_dev, found.st_ino)
        _cut_torn(self._descriptor, found.st_size)


def journal() -> socket.socket | None:
    """Return the stream of systemd's journal that standard error is; None where it is something else."""
    try:
        found = os.fstat(2)
    except OSError:
        return None
    if os.environ.get("JOURNAL_STREAM") != f"{found.st_dev}:{found.st_ino}":
        return None
    return socket.socket(fileno=os.dup(2))


def _line(text: str) -> bytes:
    return text.replace("\n", "\\n").encode("ascii", "backslashreplace") + b"\n"


def _cut_torn(descriptor: int, size: int) -> None:
    """Cut off the NULs that a loss of power leaves at a file's end, and end the line before them."""
    end, last = size, b"\n"
    while end > 0:
        start = max(0, end - _BLOCK)
        kept = os.pread(descriptor, end - start, start).rstrip(b"\0")
        end = start + len(kept)
        if kept:
            last = kept[-1:]
            break
    if end < size:
        os.ftruncate(descriptor, end)
    if last != b"\n":
        os.write(descriptor, b"\n")


def _value(value: object) -> str:
    text = str(value)
    if text and not any(letter in ' "=\n' for letter in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

"""What a script prints on one of its two streams: all of it read, a bounded part of it kept."""

from __future__ import annotations

import os
from pathlib import Path

_HEAD_BYTES = 1 << 10
_TAIL_BYTES = 3 << 10
# The capacity of a pipe can't be above this for anyone but root, and is 64 KiB unless somebody asks.
_PIPE_BYTES = 1 << 20


class Capture:
    """Keeps the beginning of a stream in a file, and its first KiB and last three in memory for the message.

    A script that prints without end must neither fill the disk nor be stopped by a full pipe: what is beyond the
    file's limit is read and dropped, and both the file and the message say so.
    """

    def __init__(self, path: Path, file_limit: int) -> None:
        self.path = path
        self.ended = False
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        path.unlink(missing_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._room = file_limit
        self._head = b""
        self._tail = b""
        self._total = 0
        self._dropped = 0

    def read(self) -> int:
        """Read what is there, at most one piece. Returns the number of bytes, 0 for none or the end."""
        try:
            data = os.read(self.read_end, 1 << 16)
        except BlockingIOError:
            return 0
        if not data:
            self.ended = True
            return 0
        self._total += len(data)
        self._keep(data)
        free = _HEAD_BYTES - len(self._head)
        self._head += data[:free]
        self._tail = (self._tail + data[free:])[-_TAIL_BYTES:]
        return len(data)

    def read_rest(self) -> None:
        """Read what stands in the pipe now, and no more than fits into one: others may go on printing for ever."""
        left = _PIPE_BYTES
        while left > 0 and not self.ended:
            count = self.read()
            if count == 0:
                return
            left -= count

    def close(self) -> None:
        """Let go of pipe and file; the file ends with a mark where something was dropped."""
        if self._dropped:
            self._write(f"\n[{self._dropped} more bytes were printed here and dropped]\n".encode())
        self.close_write_end()
        os.close(self.read_end)
        os.close(self._file)

    def close_write_end(self) -> None:
        """Let go of the end that the script prints to, so that the end of its output can be seen."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def text(self) -> str:
        """Return the stream for the message: whole up to 4 KiB, else its beginning and end around a mark."""
        cut = self._total - len(self._head) - len(self._tail)
        if cut == 0:
            return _decode(self._head + self._tail)
        kept = f"the first {self._total - self._dropped} bytes are" if self._dropped else "all of it is"
        return f"{_decode(self._head)}\n[... {cut} bytes left out; {kept} in {self.path} ...]\n{_decode(self._tail)}"

    def _keep(self, data: bytes) -> None:
        kept = self._write(data[: self._room])
        self._room -= kept
        self._dropped += len(data) - kept
        if self._dropped:
            # After a gap, nothing more: a full disk that recovers must not leave holes in the middle.
            self._room = 0

    def _write(self, data: bytes) -> int:
        # A full disk costs the file, not the script.
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            pass
        return written


def _decode(data: bytes) -> str:
    # The message is JSON and goes on to an API server: what is no UTF-8 becomes U+FFFD.
    return data.decode("utf-8", "replace")

"""What commands print: files with a cap, kept for as long as somebody writes to them.

A command's background children may hold its output open for months, so it is a file, never a pipe that somebody would
have to drain. Whoever appends to a file goes on at its new end when it is cut to nothing: that is the cap.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from vmext_agent import files, text

STREAMS = ("stdout", "stderr")
#: A stream that has grown beyond this is cut to nothing; first and last part are kept beside it.
CAP = 4 << 20
_PART = 32 << 10


def trim(path: str, cap: int = CAP) -> int:
    """Keep a stream below its cap; return its size in bytes as found, 0 where it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        if size > cap:
            parts = [(".tail", os.pread(descriptor, _PART, size - _PART))]
            if not os.path.exists(f"{path}.head"):
                parts.append((".head", os.pread(descriptor, _PART, 0)))
            os.ftruncate(descriptor, 0)
            for suffix, part in parts:
                # Room is most often short just when somebody prints without end; then the middle is lost, and an end.
                with contextlib.suppress(OSError):
                    files.write(path + suffix, part, 0o600, durable=False)
        return size
    finally:
        os.close(descriptor)


def excerpt(path: str, limit: int) -> str:
    """Return first and last part of a stream, about `limit` bytes, as text; empty where there is nothing."""
    half = max(limit // 2, 1)
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            whole = not os.path.exists(f"{path}.tail")
            if whole and size <= limit:
                return text.decode(file.read(limit))
            last = os.pread(file.fileno(), half, max(0, size - half))
            first = os.pread(file.fileno(), half, 0) if whole else _part(f"{path}.head")[:half]
            if not whole:
                last = (_part(f"{path}.tail") + last)[-half:]
    except OSError:
        return ""
    return f"{text.decode(first)}\n[... more was printed here ...]\n{text.decode(last)}"


def _part(path: str) -> bytes:
    try:
        return files.read(path, _PART)
    except OSError:
        return b""


def has_writer(path: str) -> bool:
    """Tell whether some process has a file open for writing: the kernel grants a read lease only where none has."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def keep_open(command_folder: str, output_folder: str, name: str) -> bool:
    """Move the streams of an ended command that somebody still writes to out of its folder; tell whether any was."""
    kept = False
    for stream in STREAMS:
        path = f"{command_folder}/{stream}"
        if os.path.exists(path) and has_writer(path):
            os.rename(path, f"{output_folder}/{name}.{os.stat(path).st_ino}.{stream}")
            kept = True
    return kept


def sweep(output_folder: str) -> int:
    """Remove the streams that nobody writes to any more, and cap the others; return how many those are."""
    left = 0
    for name in os.listdir(output_folder):
        path = f"{output_folder}/{name}"
        if name.endswith((".head", ".tail", ".new")) or not has_writer(path):
            files.remove(path)
            continue
        trim(path)
        left += 1
    return left

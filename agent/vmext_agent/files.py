"""Files that survive: replaced as a whole, on disk before the call returns; folders removed without following links."""

from __future__ import annotations

import errno
import os
import stat

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def write(path: str, data: bytes, mode: int, *, durable: bool = True) -> None:
    """Replace a file by write, fsync, rename and fsync of its folder. Raises OSError; the old content then stands.

    `durable=False` leaves out the two fsyncs: for what can be written again from other files.
    """
    temporary, view = f"{path}.new", memoryview(data)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, mode)
    try:
        os.fchmod(descriptor, mode)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        os.unlink(temporary)
        raise
    os.close(descriptor)
    os.replace(temporary, path)
    if durable:
        sync_folder(os.path.dirname(path))


def sync(path: str) -> None:
    """Put a file that somebody else wrote on disk, and its entry in its folder. Raises OSError."""
    _sync(path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Put a folder's entries on disk. Raises OSError."""
    _sync(path, os.O_DIRECTORY)


def _sync(path: str, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(path: str) -> None:
    """Put everything on disk that was written to the file system of a folder: of many files, far quicker than each.

    Raises OSError where that failed; kernels before 5.8 do not tell.
    """
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if library.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "can't be synced", path)
    finally:
        os.close(descriptor)


def read(path: str, limit: int) -> bytes:
    """Return a regular file's content. Raises OSError, with EFBIG beyond `limit` bytes and EINVAL for what is no file.

    A FIFO or a device in its place does not block.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        parts: list[bytes] = []
        left = limit + 1
        while left > 0:
            part = os.read(descriptor, min(left, 1 << 16))
            if not part:
                return b"".join(parts)
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)


def make_folder(path: str, mode: int) -> None:
    """Make a folder with that mode, and what is missing above it with 0755; leave one that is there as it is."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(os.path.dirname(path), 0o755)
        os.mkdir(path, mode)
    # mkdir's mode is cut by the umask of whoever started the agent.
    os.chmod(path, mode)


def remove(path: str) -> None:
    """Remove a file, or a folder with all in it; what is gone already is fine. Links are removed, not followed.

    Raises OSError, also where somebody fills a folder while it is emptied. Depth costs no stack.
    """
    left = [(path, False)]
    while left:
        current, is_emptied = left.pop()
        try:
            if is_emptied:
                os.rmdir(current)
            elif stat.S_ISDIR(os.lstat(current).st_mode):
                left.append((current, True))
                with os.scandir(current) as entries:
                    left += [(entry.path, False) for entry in entries]
            else:
                os.unlink(current)
        except FileNotFoundError:
            continue


def is_full(error: OSError) -> bool:
    """Tell whether an error means that there is no room: space, inodes or quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)

"""What no parser may do, whatever it is fed: write outside its folder, take long, take much memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Memory that a trial may take, on top of what the process has when it begins.
MEMORY_BYTES = 1 << 30
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Audit events of what changes files, and how many of their arguments are paths.
_CHANGES = {
    "os.chmod": 1, "os.chown": 1, "os.mkdir": 1, "os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.truncate": 1,
    "os.utime": 1, "os.setxattr": 1, "os.removexattr": 1,
}  # fmt: skip
#: And of what nothing that only parses has any business with.
_NEVER = frozenset(
    ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.link", "os.symlink", "os.kill",
     "os.killpg", "os.chroot", "subprocess.Popen", "socket.connect", "socket.bind", "ctypes.dlopen", "exec.shell")
)  # fmt: skip


class ForbiddenError(Exception):
    """It tried what no parser may do; it was kept from it."""


class TooSlowError(BaseException):
    """It took too long. No ``except Exception`` of what is tested can swallow it."""


class Guard:
    """Watches over one process, whose main thread makes it; it can't be taken off again.

    Args:
        folder: below which files may be written.
        cpu_s: of one trial.
        wall_s: of one trial, for what waits and uses no processor.
    """

    def __init__(self, folder: str, *, cpu_s: float = 1.0, wall_s: float = 30.0) -> None:
        self._inside = f"{os.path.realpath(folder)}/"
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._is_on = False
        self._violations: list[str] = []
        sys.addaudithook(self._audit)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what goes on inside. Raises ForbiddenError at its end too, where the first one was swallowed."""
        # libFuzzer has handlers of its own, and sets them after ours could have been.
        signal.signal(signal.SIGPROF, _too_slow)
        signal.signal(signal.SIGALRM, _too_slow)
        self._violations.clear()
        self._is_on = True
        signal.setitimer(signal.ITIMER_PROF, self._cpu_s)
        signal.setitimer(signal.ITIMER_REAL, self._wall_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._is_on = False
            # Whatever it made of it: an error that is documented can stand for one that is not.
            if self._violations:
                raise ForbiddenError(self._violations[0])

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._is_on:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES:
                self._check(event, path)
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                self._check(event, path)
        elif event in _NEVER:
            self._refuse(f"{event} {arguments!r:.200}")

    def _check(self, event: str, path: object) -> None:
        if isinstance(path, (str, bytes)):
            absolute = os.path.abspath(os.fsdecode(path))
            if not f"{absolute}/".startswith(self._inside):
                self._refuse(f"{event} {absolute!r:.200}")

    def _refuse(self, what: str) -> None:
        self._violations.append(what)
        raise ForbiddenError(what)


def limit_memory(more: int = MEMORY_BYTES) -> None:
    """Bound what this process can take from now on: allocations beyond it raise MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, taken + more))


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlowError("it took too long" if number == signal.SIGPROF else "it waited too long")

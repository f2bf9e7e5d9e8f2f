"""The one-shot process that gets a package ready (``packages``), as the worker sees it."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from vmext_agent import program
from vmext_agent.errors import PackageError

if TYPE_CHECKING:
    from vmext_agent.packages import Instructions

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Fetch:
    """A package on its way. ``descriptor`` is readable when there may be an answer."""

    __slots__ = ("_answer", "_pid", "descriptor")

    def __init__(self, instructions: Instructions) -> None:
        given, give = os.pipe()
        self.descriptor, answer = os.pipe()
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                program.command("package", "--parent", str(os.getpid())),
                _ENVIRONMENT,
                file_actions=[(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, answer, 1)],
                setsigmask=[],
                setsigdef=[signal.SIGPIPE],
            )
            # At most eight addresses of 2 KiB: it fits into the pipe.
            os.write(give, json.dumps(instructions._asdict()).encode())
        finally:
            for descriptor in (given, give, answer):
                os.close(descriptor)
        os.set_blocking(self.descriptor, False)
        self._answer = b""

    def is_done(self) -> bool:
        """Take in what came; tell whether it has ended. Raises PackageError where it ended badly."""
        while True:
            try:
                part = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return False
            if not part:
                break
            self._answer += part
        self._close()
        try:
            answer = json.loads(self._answer)
        except ValueError:
            raise PackageError("DownloadFailed", "the process that downloads it was killed") from None
        if answer:
            raise PackageError(answer["reason"], answer["message"], answer["code"])
        return True

    def cancel(self) -> None:
        """End it; what it had of the package is removed by the next one."""
        os.kill(self._pid, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        os.close(self.descriptor)
        os.waitpid(self._pid, 0)

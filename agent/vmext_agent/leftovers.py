"""What a handler's commands left running, ended once its uninstall has succeeded: politely first.

They are found by the handler's control group and, with none, by an environment that they have from its commands. Before
an uninstall nothing of what a command left is ever ended: it may be all that the extension is there for.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from vmext_agent import clock, process

if TYPE_CHECKING:
    from collections.abc import Iterable

_VARIABLE = b"AZURE_GUEST_AGENT_EXTENSION_PATH="
_EXTENSION = b"ConfigExtensionName="
_LOOK_S = 0.1


def find(install_folder: str, members: Iterable[int]) -> list[int]:
    """Return the processes that a handler version's commands left.

    Args:
        install_folder: of the version.
        members: of its control group.
    """
    wanted = _VARIABLE + os.fsencode(install_folder)
    spared = {1, os.getpid(), os.getppid()}
    found = set(members)
    for pid in process.numbers():
        if pid not in found and wanted in _environment(pid):
            found.add(pid)
    return sorted(pid for pid in found - spared if process.start_time(pid) is not None)


def is_at_work(install_folder: str, members: Iterable[int], extension: str = "") -> bool:
    """Tell whether anything of a handler version may run, wherever its commands have put it.

    This is wider than what ``find`` returns, of which all is ended.

    Args:
        install_folder: of the version.
        members: of its control group.
        extension: of a handler that takes several: what runs for another of them does not count.
    """
    folder, group = os.fsencode(install_folder), set(members)
    for pid in sorted((group | set(process.numbers())) - {1, os.getpid(), os.getppid()}):
        environment = _environment(pid)
        if extension and any(
            one.startswith(_EXTENSION) and one != _EXTENSION + extension.encode() for one in environment
        ):
            continue
        is_own = pid in group or _VARIABLE + folder in environment or any(_names(one, folder) for one in _places(pid))
        if is_own and process.start_time(pid) is not None:
            return True
    return False


def _names(place: bytes, folder: bytes) -> bool:
    """Tell whether a place, or a command line, has a folder in it, and not only one whose name begins like it."""
    return any(part[:1] in (b"", b"/", b"\0", b" ") for part in place.split(folder)[1:])


def _places(pid: int) -> list[bytes]:
    """Return where a process is, which program it runs, and its command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read(1 << 16)
        return [os.readlink(b"/proc/%d/cwd" % pid), os.readlink(b"/proc/%d/exe" % pid), line]
    except OSError:
        # It is gone, or the kernel's own.
        return []


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read(1 << 20).split(b"\0")
    except OSError:
        return []


class Ending:
    """Processes that are being ended: SIGTERM, and SIGKILL to those that are left when time is over."""

    def __init__(self, pids: Iterable[int], kill_after_s: float) -> None:
        #: With their start times: a number may be somebody else's before this is over.
        self._left = {pid: process.start_time(pid) for pid in pids}
        self._kill_at = clock.since_boot() + kill_after_s
        self._signal(signal.SIGTERM)

    def is_over(self) -> bool:
        """Tell whether all of them have ended; make those end that have had their time."""
        self._left = {pid: began for pid, began in self._left.items() if began and process.start_time(pid) == began}
        if self._left and clock.since_boot() >= self._kill_at:
            self._signal(signal.SIGKILL)
        return not self._left

    def wait_s(self) -> float:
        """Return how long until it is worth another look."""
        return _LOOK_S

    def _signal(self, number: signal.Signals) -> None:
        for pid, began in self._left.items():
            if process.start_time(pid) == began:
                process.send(pid, number)

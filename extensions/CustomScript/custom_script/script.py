"""Running the user's script in its folder, and reading what it prints."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import unix_text
from .cancellation import Cancellation, group_members, signal_group
from .errors import CancelledError, ScriptError
from .output import Capture
from .settings import SCRIPT_NAME, Settings

_SHELL = "/bin/sh"
_ARGUMENT_LIMIT_BYTES = 100 << 10
_OUTPUT_FILE_LIMIT_BYTES = 10 << 20
# Below the 30 s that an agent waits between SIGTERM and SIGKILL, so that there is time left for the status.
_GRACE_SECONDS = 10.0
_SETTLE_SECONDS = 0.2
_STOPPED = (
    "cancelled: the handler was told to stop, by its agent or because the machine was going down, and ended the "
    "command. It is not repeated on its own, since half of it may have been done; change forceUpdateTag or a setting "
    "to run it again"
)
_BY_SIGTERM = (-signal.SIGTERM, 128 + signal.SIGTERM)


class Runner(NamedTuple):
    """Runs scripts; a daemon that one leaves behind goes on printing without harm.

    Attributes:
        umask: the one that scripts run with; the handler's own is narrower.
        monotonic: a clock in seconds.
        sleep: waits for a number of seconds.
    """

    cancellation: Cancellation
    umask: int
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, settings: Settings, folder: Path) -> str:
        """Run the command or script of the settings in the folder, to its end; return what it printed.

        Raises ScriptError when it ended with anything but 0, CancelledError when it was told to stop; both hold the
        output too.
        """
        self.cancellation.only_mark()
        line = self._line(settings, folder)
        hidden = settings.command_is_protected or len(line.encode()) > _ARGUMENT_LIMIT_BYTES
        with open(os.memfd_create("command"), "r+b") as stdin:
            if hidden:
                # `sh -c LINE` shows LINE to every user of the machine in /proc/PID/cmdline for as long as it runs.
                # What came protected is handed over in a file that is only in memory. Measured, dash 0.5.12 and
                # bash 5.2: line numbers, $0, here-documents and standard input are the same as with `sh -c`, dash's
                # messages read "/bin/sh: 1: eval: ech: not found" instead of "/bin/sh: 1: ech: not found", bash's
                # are the same but for a "-c:" in syntax errors. Reading commands from standard input or `. FILE`
                # differ in more than that. It is also the way for a command that is longer than an argument can be.
                stdin.write(line.encode())
                stdin.seek(0)
                line = 'eval "$(cat)" </dev/null'
            out = Capture(folder / "stdout", _OUTPUT_FILE_LIMIT_BYTES)
            err = Capture(folder / "stderr", _OUTPUT_FILE_LIMIT_BYTES)
            try:
                process = subprocess.Popen(
                    [_SHELL, "-c", line],
                    cwd=folder,
                    stdin=stdin if hidden else subprocess.DEVNULL,
                    stdout=out.write_end,
                    stderr=err.write_end,
                    umask=self.umask,
                )
                stopped = self._read_to_end(process, (out, err))
                for capture in (out, err):
                    if not capture.ended:
                        _keep_reading(capture)
            finally:
                out.close()
                err.close()
        output = f"\n[stdout]\n{out.text()}\n[stderr]\n{err.text()}"
        if stopped:
            raise CancelledError(_STOPPED, output)
        status = process.returncode
        if status != 0:
            how = f"with exit status={status}" if status > 0 else f"by signal={-status}"
            raise ScriptError(f"failed to execute command: command terminated {how}", output)
        return output

    def _line(self, settings: Settings, folder: Path) -> str:
        if settings.command is not None:
            return settings.command
        script = settings.script or b""
        path = folder / SCRIPT_NAME
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o500), "wb") as file:
            file.writelines(unix_text.convert([script]) if settings.convert_text else [script])
        return str(path)

    def _read_to_end(self, process: subprocess.Popen[bytes], captures: tuple[Capture, ...]) -> bool:
        """Read until the process has ended, not its output; return whether it was told to stop."""
        deadline: float | None = None
        with selectors.DefaultSelector() as selector, _wake_up_on_signals() as wake_up:
            selector.register(wake_up, selectors.EVENT_READ)
            for capture in captures:
                capture.close_write_end()
                selector.register(capture.read_end, selectors.EVENT_READ, capture)
            while True:
                if self.cancellation.requested and deadline is None:
                    # One that asks for a reboot as its last act is at its end itself.
                    self.sleep(_SETTLE_SECONDS)
                    if process.poll() == 0:
                        break
                    signal_group(signal.SIGTERM)
                    deadline = self.monotonic() + _GRACE_SECONDS
                elif deadline is not None and self.monotonic() > deadline:
                    signal_group(signal.SIGKILL)
                if process.poll() is not None:
                    if deadline is None and process.returncode in _BY_SIGTERM:
                        # The whole group was told to stop, perhaps, and the script was the first to hear of it.
                        self.sleep(_SETTLE_SECONDS)
                    if deadline is None and self.cancellation.requested:
                        continue
                    if deadline is None or not group_members():
                        break
                for key, _ in selector.select(None if deadline is None else 0.1):
                    if key.data is None:
                        os.read(wake_up, 4096)
                        continue
                    key.data.read()
                    if key.data.ended:
                        selector.unregister(key.fd)
            for capture in captures:
                capture.read_rest()
        return deadline is not None


@contextmanager
def _wake_up_on_signals() -> Iterator[int]:
    """Give a file descriptor that can be read whenever a signal has come, a child's end among them."""
    read_end, write_end = os.pipe()
    for end in (read_end, write_end):
        os.set_blocking(end, False)
    # The write happens only for signals that have a handler.
    before = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
        os.close(read_end)
        os.close(write_end)


def _keep_reading(capture: Capture) -> None:
    """Leave a reader for what the script left running: with no one reading, its next line would end it by SIGPIPE.

    It saves what still fits into the file, drops the rest, and ends when the last one who could print has ended.
    """
    os.set_blocking(capture.read_end, True)
    subprocess.Popen(
        [_SHELL, "-c", 'cat >>"$1"; exec cat >/dev/null', _SHELL, str(capture.path)],
        cwd="/",
        stdin=capture.read_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # The first cat ends at the limit, with an error and not by SIGXFSZ, which Python ignores and so do its
        # children. (head -c would do as well if it did not hold back what it reads until it has 4 KiB.)
        preexec_fn=_limit_files,
        restore_signals=False,
    )


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT_FILE_LIMIT_BYTES, _OUTPUT_FILE_LIMIT_BYTES))

"""A program of a few minutes that shows how it goes, and is ended when the one who waits for it is."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from control_plane import process
from control_plane.progress import Progress, Report
from virtual_machine.errors import VirtualMachineError

_LAST_LINES = 12


def run(
    command: Sequence[str],
    label: str,
    report: Report,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end; its last line of output is shown as its progress.

    Args:
        command: the program and its arguments.
        label: what is done, for the progress.
        report: takes finished lines.
        folder: where it runs.
        environment: all of its environment, ours where None.

    Raises:
        VirtualMachineError: it failed; the message ends with what it printed last.
    """
    progress = Progress(report, label)
    last: deque[str] = deque(["started"], maxlen=_LAST_LINES)
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(0.5):
            progress.step(last[-1][-60:])

    with subprocess.Popen(
        process.tied(command),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Ctrl-C reaches us, who end it.
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        showing = threading.Thread(target=show, daemon=True)
        showing.start()
        try:
            for line in running.stdout:
                if text := line.decode(errors="replace").strip():
                    last.append(text)
            running.wait()
        except BaseException:
            process.stop(running)
            raise
        finally:
            ended.set()
            showing.join()
    if running.returncode != 0:
        raise VirtualMachineError(f"{label}: {command[0]} ended with {running.returncode}: {' | '.join(last)}")
    progress.done("done")

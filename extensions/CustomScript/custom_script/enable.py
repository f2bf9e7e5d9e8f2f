"""Enable: run what the settings say, once for each sequence number."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import environment, former_runs, settings_file
from .cancellation import Cancellation
from .environment import Environment
from .errors import HandlerError, MissingDependencyError, SettingsError
from .journal import Journal
from .script import Runner
from .settings import Settings
from .status import Reporter

_INTERRUPTED = (
    "the run was interrupted before it ended, by a reboot or because the handler was killed. It is not repeated on its "
    "own, since half of it may have been done; change forceUpdateTag or a setting to run it again"
)


class Enable(NamedTuple):
    """One call of the enable command."""

    env: Environment
    number: int
    reporter: Reporter
    journal: Journal
    cancellation: Cancellation
    runner: Runner

    def run(self) -> int:
        """Run the script if its number is new, and leave its outcome in the status file; return the exit code."""
        try:
            output = self._run_new()
        except (SettingsError, MissingDependencyError) as error:
            return self._failed(error, f"failed to get configuration: {error}")
        except HandlerError as error:
            return self._failed(error, f"{error}{error.output}")
        except OSError as error:
            fault = HandlerError(f"{error.filename or 'a file'}: {error.strerror}")
            return self._failed(fault, str(fault))
        if output is not None:
            self.reporter.success(output)
            self.journal.write("enabled", number=self.number)
        return 0

    def _failed(self, error: HandlerError, message: str) -> int:
        self.cancellation.only_mark()
        self.reporter.error(message)
        self.journal.write("enable-failed", number=self.number, reason=str(error))
        return error.exit_code

    def _run_new(self) -> str | None:
        """Return what the script printed, None when there was nothing to do. Raises HandlerError."""
        folder = self.env.download_folder(self.number)
        former_runs.end_hand_over(self.env)
        last = environment.last_number(self.env.install_folder)
        if last is not None and self.number <= last:
            self.journal.write("already-processed", number=self.number, last=last)
            self._close_interrupted(folder)
            return None
        settings = settings_file.read(self.env, self.number)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(folder) as locked:
            if not locked:
                self.journal.write("already-running", number=self.number)
                return None
            self.reporter.transitioning()
            # Noted before the run: it is run once, whatever becomes of it. An error up to here is told again by
            # the next enable, which may find what was missing.
            environment.set_last_number(self.env.install_folder, self.number)
            settings_file.empty_older(self.env, self.number)
            former_runs.remove_old(self.env, self.number, self.journal)
            return self._run_script(settings, folder)

    def _run_script(self, settings: Settings, folder: Path) -> str:
        if settings.files:
            # Imported only here: HTTP and TLS take longer to load than all the rest together.
            from .download import Downloader

            Downloader(self.journal).fetch_all(settings, folder)
        self.journal.write("run-start", number=self.number, folder=str(folder))
        return self.runner.run(settings, folder)

    def _close_interrupted(self, folder: Path) -> None:
        """End the status of a run that nobody will ever end, so that it is not waited for till a timeout."""
        if not self.reporter.is_transitioning() or not folder.is_dir():
            return
        with _lock(folder) as locked:
            if locked:
                self.reporter.error(_INTERRUPTED)
                self.journal.write("interrupted", number=self.number)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the folder for this process, while it lives; give False when another one has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)

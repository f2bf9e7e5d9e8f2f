"""Control planes that go on by themselves, each by a name in a folder of the checkout."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane import certificates, instance, process
from control_plane.binaries import SERVERS, Binaries
from control_plane.errors import ControlPlaneError
from control_plane.instance import ControlPlane

FOLDER = Path(__file__).resolve().parents[2] / "build" / "control-plane"
#: What serves packages beside a control plane, as its record and its log are named.
_PACKAGES = "packages"
_SERVED = re.compile(r"Serving HTTP on \S+ port (\d+)")
_SERVES_WITHIN_S = 30.0
# A name becomes a folder's, which is removed in the end.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Named:
    """One control plane, running or not.

    Args:
        name: up to 63 of a-z, 0-9 and -.
        parent: the folder that holds one for each name.
    """

    name: str
    parent: Path = FOLDER

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ControlPlaneError(f"{self.name!r} can't name a control plane: use up to 63 of a-z, 0-9 and -")

    @property
    def folder(self) -> Path:
        """Return where its files are."""
        return self.parent / self.name

    @property
    def kubeconfig(self) -> Path:
        """Return its administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    def processes(self) -> Mapping[str, process.Identity]:
        """Return its processes that run, by program."""
        found = {name: process.recorded(instance.record(self.folder, name)) for name in SERVERS}
        return {name: one for name, one in found.items() if one is not None and one.is_alive()}

    def is_running(self) -> bool:
        """Tell whether all of it runs."""
        return len(self.processes()) == len(SERVERS)

    def start(self, obtain: Callable[[], Binaries], *, audit: bool = False, names: Sequence[str] = ()) -> bool:
        """Start it and return when it is ready; False where it runs already.

        Data that `stop` kept, or that the machine's end left, is used on.

        Args:
            obtain: returns its programs; asked where it does not run.
            audit: whether each request is written to a log.
            names: names and addresses, besides those of loopback, that the API server is reached by.

        Raises:
            ControlPlaneError: it does not start, and nothing of it runs then; or it runs with a certificate that lacks
                one of the names.
        """
        if self.is_running():
            self._check_names(names)
            return False
        binaries = obtain()
        with self._locked():
            if self.is_running():  # somebody else was faster
                self._check_names(names)
                return False
            self._end_processes()  # of a start that was interrupted
            control_plane = ControlPlane(self.folder, binaries, audit=audit, outlive=True, names=names)
            try:
                control_plane.start()
            except BaseException:
                control_plane.stop()
                raise
            control_plane.let_go()
            return True

    def serve(self, packages: Path) -> int:
        """Serve a folder on a port of loopback until the control plane is stopped; return the port.

        Raises:
            ControlPlaneError: the server does not start.
        """
        log, record = self.folder / f"{_PACKAGES}.log", instance.record(self.folder, _PACKAGES)
        with self._locked():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            packages.mkdir(parents=True, exist_ok=True)
            running = process.recorded(record)
            if running is None or not running.is_alive():
                log.unlink(missing_ok=True)
                command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]
                started = process.start([*command, str(packages), "0"], log=log, outlive=True, record=record)
                started.returncode = 0  # it goes on by design, and nobody is to be warned of that
            deadline = time.monotonic() + _SERVES_WITHIN_S
            while (found := _SERVED.search(log.read_text(errors="replace"))) is None:
                if time.monotonic() > deadline:
                    raise ControlPlaneError(f"packages are not served; {log} ends with: {log.read_text()[-500:]}")
                time.sleep(0.02)
            return int(found[1])

    def stop(self, *, keep_data: bool = False) -> bool:
        """End it, and remove its data unless that is to be kept; False where it did not run."""
        with self._locked():
            ran = bool(self.processes())
            self._end_processes()
            if not keep_data and self.folder.exists():
                shutil.rmtree(self.folder)
            return ran

    def _check_names(self, names: Sequence[str]) -> None:
        if lacking := certificates.lacks(certificates.make(self.folder / "keys").server.certificate, names):
            raise ControlPlaneError(
                f"control plane {self.name} runs already, by a certificate that does not name {', '.join(lacking)}; "
                "stop it, and start it with them"
            )

    def _end_processes(self) -> None:
        running = {**self.processes()}
        serving = process.recorded(instance.record(self.folder, _PACKAGES))
        if serving is not None and serving.is_alive():
            running[_PACKAGES] = serving
        for name in (_PACKAGES, *reversed(SERVERS)):
            if name in running:
                process.end(running[name], patience_s=5.0)
            instance.record(self.folder, name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.parent.mkdir(parents=True, exist_ok=True)
        # For all names together, on the folder that holds theirs: it is held for seconds.
        lock = os.open(self.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def known(parent: Path = FOLDER) -> list[Named]:
    """Return those that have a folder, by name."""
    return [Named(folder.name, parent) for folder in sorted(parent.glob("*")) if _NAME.fullmatch(folder.name)]

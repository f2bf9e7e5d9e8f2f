"""The operator as a process on this machine, supervised as a Deployment would: what ends is started again."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path

from control_plane import process

ROOT = Path(__file__).resolve().parents[2]
_RESTART_S = 0.2


class Operator:
    """The operator, run against one API server until it is stopped.

    Args:
        kubeconfig: where the API server is.
        log: the file that takes its log.
        options: further ones of its command line; its probes are served only where these say so.
    """

    def __init__(self, kubeconfig: Path, log: Path, *options: str) -> None:
        self._kubeconfig = kubeconfig
        self.log = log
        #: As a Pod's name: one process at a time has it, so that the next one need not wait for the Lease's end.
        self.identity = f"house-{secrets.token_hex(4)}"
        #: Taken at its next start.
        self.options = list(options)
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor: threading.Thread | None = None
        self._stopping = threading.Event()
        # Held to launch, and to decide that nothing is launched any more.
        self._launching = threading.Lock()

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and not stopped."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Return the number of the process that runs now."""
        return self._running().pid

    def start(self) -> None:
        """Start it, and start it again whenever it ends by itself."""
        self._stopping.clear()
        started = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, args=(started,), daemon=True)
        self._supervisor.start()
        started.wait()

    def stop(self) -> None:
        """Stop it as a supervisor would."""
        if self.is_running:
            process.stop(self._let_go())
            self._join()

    def kill(self) -> None:
        """Kill it as a crash would; it stays down until it is started."""
        self._let_go().kill()
        self._join()

    def suspend(self) -> None:
        """Stop it where it stands, as a machine would that is suspended."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def _let_go(self) -> subprocess.Popen[bytes]:
        """Have it not started again; return the process that is the last one."""
        with self._launching:
            self._stopping.set()
        return self._running()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the operator is not running"
        return self._process

    def _join(self) -> None:
        assert self._supervisor is not None, "the operator is not running"
        self._supervisor.join()
        self._process = self._supervisor = None

    def _supervise(self, started: threading.Event) -> None:
        # The kernel ends the operator with this thread: it lasts as long as the operator is wanted.
        while True:
            with self._launching:
                if self._stopping.is_set():
                    return
                self._process = self._launch()
            started.set()
            self._process.wait()
            self._stopping.wait(_RESTART_S)

    def _launch(self) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(ROOT / "operator"),
        }
        command = [sys.executable, "-m", "vmext_operator", "--kubeconfig", str(self._kubeconfig)]
        command += ["--identity", self.identity, "--probe-address=off", *self.options]
        return process.start(command, environment=environment, log=self.log)

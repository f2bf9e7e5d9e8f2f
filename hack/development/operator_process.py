"""The operator as a process on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from control_plane import process

ROOT = Path(__file__).resolve().parents[2]


class Operator:
    """The operator, started against one API server.

    Args:
        kubeconfig: where the API server is.
        log: the file that takes its log.
    """

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self._kubeconfig = kubeconfig
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the operator that runs now."""
        assert self._process is not None, "the operator is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(ROOT / "operator"),
        }
        command = [sys.executable, "-m", "vmext_operator", "--kubeconfig", str(self._kubeconfig)]
        self._process = process.start(command, environment=environment, log=self.log)

    def stop(self) -> None:
        """Stop it as a supervisor would."""
        if self._process is not None:
            process.stop(self._process)
            self._process = None

    def kill(self) -> None:
        """Kill it as a crash would."""
        assert self._process is not None, "the operator is not running"
        self._process.kill()
        self._process.wait()
        self._process = None

"""Python code that runs in a process of its own, so that the test can kill it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import control_plane

HACK = Path(control_plane.__file__).resolve().parents[1]
#: Ours, with hack's packages at hand.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HACK)}


def start(code: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Run code that prints a line when it is where the test wants it, and then waits for the end of its input.

    Returns:
        The process, and that line.
    """
    started = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert started.stdout is not None
    return started, started.stdout.readline().removesuffix("\n")

"""The machine goes down: commands that are about to end by themselves get the time to, and nothing new is begun.

A script that reboots its machine as the last act has a moment of its life left. systemd would end it in the midst of
that: so commands are ordered to be stopped after the agent, and the agent's stop waits for them for a moment.
"""

from __future__ import annotations

import os
import subprocess
import time

from vmext_agent import files, running
from vmext_agent.handler import PATH
from vmext_agent.layout import Layout

#: How long what still runs may take to its own end.
WAIT_S = 3.0
_LOOK_S = 0.02
_ANSWERS_WITHIN_S = 10.0


def main() -> int:
    """Before the agent is stopped: wait for commands to end where the machine goes down, and only there."""
    if _is_going_down():
        wait(Layout(), time.monotonic() + WAIT_S)
    return 0


def _is_going_down() -> bool:
    try:
        asked = ["systemctl", "is-system-running"]
        told = subprocess.run(
            asked, capture_output=True, check=False, timeout=_ANSWERS_WITHIN_S, env={"PATH": PATH, "LANG": "C.UTF-8"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.stdout.strip() == b"stopping"


def wait(layout: Layout, until: float) -> bool:
    """Have nothing new begun, and wait for the commands that run; return whether all have ended by then.

    Args:
        layout: where they are.
        until: by the monotonic clock.
    """
    files.write(layout.stopping, b"", 0o644, durable=False)
    while any(running.is_locked(layout.command(name)) for name in _names(layout.commands)):
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_S)
    return True


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []

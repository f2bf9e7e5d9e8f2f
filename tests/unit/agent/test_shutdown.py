"""The machine goes down: what is about to end by itself may, and for what is not it is not waited long."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from vmext_agent import commands, files, shutdown
from vmext_agent.commands import Order
from vmext_agent.layout import Layout
from vmext_agent.running import Running, read_exit


def begun(layout: Layout, line: str) -> Running:
    files.make_folder(layout.commands, 0o700)
    files.make_folder(f"{layout.root}/run", 0o755)
    wanted = Order(line, layout.root, {"PATH": os.environ["PATH"]}, 60.0, {})
    return commands.start(layout.command("one"), wanted, 1, "boot-1/5", layout.shim)


def test_a_command_that_is_about_to_end_is_waited_for_and_nothing_new_is_begun(tmp_path: Path) -> None:
    layout, gate = Layout(str(tmp_path)), tmp_path / "gate"
    running = begun(layout, f"while [ ! -e {gate} ]; do sleep 0.01; done; exit 4")
    opener = threading.Timer(0.2, gate.touch)
    opener.start()

    assert shutdown.wait(layout, time.monotonic() + 30.0)

    opener.join()
    ended = read_exit(running.folder)
    assert ended is not None
    assert ended.code == 4
    assert os.path.exists(layout.stopping)


def test_a_command_that_goes_on_is_not_waited_for_for_long(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    running = begun(layout, "sleep 1000")

    assert not shutdown.wait(layout, time.monotonic() + 0.1)

    running.stop("Cancelled", 30.0)


def test_a_machine_without_commands_is_not_kept_up(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    files.make_folder(f"{tmp_path}/run", 0o755)

    assert shutdown.wait(layout, time.monotonic())

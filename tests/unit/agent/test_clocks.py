"""A wall clock that is set, or was wrong all along, changes nothing: waits and deadlines go by another."""

from __future__ import annotations

import ast
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmext_agent
from vmext_agent import clock
from vmext_agent.handler import Handler
from vmext_agent.layout import Layout
from vmext_agent.pulse import Pulse
from vmext_agent.wakeup import Wakeup

#: Where the agent looks at the wall clock, and what for.
READS_THE_WALL_CLOCK = {
    "clock.py": "turns a time since boot into one for people",
    "enrolment.py": "says how long a token lives, which is a time of the cluster's",
    "execution.py": "times in records, for people",
    "executor.py": "times in records, for people",
    "housekeeping.py": "an earlier key is kept for an hour at least, and for as long as something names it",
    "lease.py": "the Lease's renewTime, which the operator compares with nothing but the one before",
    "log.py": "times of lines",
    "package_locks.py": "files of package managers whose process is not known by its name",
    "resumption.py": "times in records, for people",
    "pulse.py": "the age of a heartbeat file that was there before the agent",
    "standby.py": "the time of a notice, for people",
    "setbacks.py": "times in messages, for people",
    "transcript.py": "times of lines",
    "view.py": "times in records, for people",
}
#: What waits with a time limit in `threading` goes by the wall clock before Python 3.11, and with older C libraries.
WAITS = {"Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Timer"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(Path(vmext_agent.__file__).parent.glob("**/*.py")):
        yield path.name, ast.parse(path.read_text())


def test_who_looks_at_the_wall_clock_is_known() -> None:
    found = {
        name
        for name, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.time", "datetime.now", "datetime.utcnow")
    }

    assert found == READS_THE_WALL_CLOCK.keys()


def test_nothing_waits_by_the_wall_clock() -> None:
    found = [
        (name, ast.unparse(node))
        for name, module in modules()
        for node in ast.walk(module)
        if (isinstance(node, ast.Attribute) and node.attr in WAITS and ast.unparse(node.value) == "threading")
        or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".acquire") and (node.args or node.keywords))
    ]

    assert found == []


def test_a_thread_that_waits_is_woken_at_once_and_by_time() -> None:
    wakeup = Wakeup()
    began = time.monotonic()
    waker = threading.Thread(target=wakeup.set)
    waker.start()
    wakeup.wait(30.0)
    waker.join()
    assert time.monotonic() - began < 10.0

    began = time.monotonic()
    wakeup.wait(0.05)
    assert time.monotonic() - began >= 0.05


def test_what_wakes_a_thread_before_it_waits_is_not_lost_however_often_it_comes() -> None:
    wakeup = Wakeup()
    for _ in range(200_000):
        wakeup.set()

    wakeup.wait(None)

    assert not wakeup.clear()
    began = time.monotonic()
    wakeup.wait(0.01)
    assert time.monotonic() - began >= 0.01


@pytest.fixture
def handler(tmp_path: Path) -> Handler:
    made = Handler(Layout(str(tmp_path)), "Test.Tracer", "1.0.0")
    made.make()
    Path(f"{made.folder}/heartbeat.log").write_text('[{"heartbeat": {"status": "ready"}}]')
    return made


def look(pulse: Pulse, handler: Handler) -> str:
    """Return the status by a look of its own, as half a minute later."""
    pulse._look_at = dict.fromkeys(pulse._look_at, 0.0)
    return pulse.status(handler).status


@pytest.mark.parametrize("set_by_s", [7200.0, -7200.0])
def test_a_heartbeat_is_alive_while_it_is_written_whatever_the_clock_does(handler: Handler, set_by_s: float) -> None:
    pulse, path = Pulse(handler.layout), f"{handler.folder}/heartbeat.log"
    assert look(pulse, handler) == "Ready"

    # The clock was set since: by it the file is hours old, or of the future.
    os.utime(path, (time.time() - set_by_s, time.time() - set_by_s))

    assert look(pulse, handler) == "Ready"


def test_a_heartbeat_that_stands_still_is_found_out(handler: Handler) -> None:
    pulse, path = Pulse(handler.layout), f"{handler.folder}/heartbeat.log"
    assert look(pulse, handler) == "Ready"
    number, at = pulse._written[path]

    pulse._written[path] = (number, at - 601)

    assert look(pulse, handler) == "Unresponsive"


def test_an_old_heartbeat_is_found_out_by_an_agent_that_has_just_begun(handler: Handler) -> None:
    path = f"{handler.folder}/heartbeat.log"
    os.utime(path, (time.time() - 650, time.time() - 650))

    # Nothing is older than the boot of a machine that has only just been booted.
    expected = "Unresponsive" if clock.since_boot() > 650 else "Ready"
    assert look(Pulse(handler.layout), handler) == expected

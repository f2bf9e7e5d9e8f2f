"""Commands of handlers: each under a small shell that outlives the agent and puts the exit status on disk.

A command has ended when its exit status is on disk. Each has a folder; in it ``step.json`` (what it is, and how often
it was tried), ``order`` (what the shell is to run), ``wanted`` (taken away by the agent that has the command end),
``lock`` (held by the shell for as long as it lives, and not by the command), ``start`` (pid, start time and boot,
created by the shell exclusively: of two agents' shells one runs), ``session`` (pid and start time of the command's own
session), ``exit`` (the exit status, seconds since boot, and whether the shell was told to end too; the file and its
folder are synced before the shell ends), ``stdout`` and ``stderr``. What the command itself wrote is synced before: it
is never known to have ended without its effects.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import clock, files, shim
from vmext_agent.cgroups import NOWHERE
from vmext_agent.errors import CommandLostError
from vmext_agent.running import Running, is_locked, lost, read_exit, read_start, read_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmext_agent.cgroups import Placement

_LOCK_FD = 9
#: How long a shell that holds its lock may take to its start record.
_STARTS_WITHIN_S = 2.0


class Order(NamedTuple):
    """A command to run."""

    line: str
    folder: str
    environment: Mapping[str, str]
    timeout_s: float
    #: What it is for, as JSON: handed back with the result, whoever collects it.
    purpose: Mapping[str, object]
    #: The control group that it runs in.
    placement: Placement = NOWHERE


class Found(NamedTuple):
    """What an earlier agent left in a command's folder."""

    purpose: Mapping[str, object]
    attempts: int
    boot: str
    line: str
    deadline: float
    #: When it was begun, in seconds since that boot.
    began: float = 0.0


def start(folder: str, order: Order, attempt: int, boot: str, script: str) -> Running:
    """Start a command in its folder, which is made anew; `script` is where the shell's is kept. Raises OSError."""
    shim.install(script)
    files.remove(folder)
    files.make_folder(folder, 0o700)
    began = clock.since_boot()
    deadline = began + order.timeout_s
    document = {
        "purpose": order.purpose,
        "attempts": attempt,
        "boot": boot,
        "line": order.line,
        "deadline": deadline,
        "began": began,
    }
    files.write(f"{folder}/step.json", json.dumps(document).encode(), 0o600)
    told = shim.order(command=order.line, cwd=order.folder, boot=boot, procs=order.placement.procs)
    for name, content in (("order", told), ("wanted", b""), ("exit.new", b" " * shim.EXIT_BYTES)):
        files.write(f"{folder}/{name}", content, 0o600, durable=False)
    running = Running(folder, order.purpose, order.line, deadline, boot)
    environment = {**order.environment, shim.VARIABLE: folder}
    if order.placement.scope:
        running.respawn = partial(_spawn, folder, (), environment, script)
    running.follow_child(_spawn(folder, order.placement.scope, environment, script))
    return running


def _spawn(folder: str, runner: Sequence[str], environment: Mapping[str, str], script: str) -> int:
    """Start the shell, by a program that becomes it where there is one; return its pid. Raises OSError."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    arguments = [*runner, "/bin/sh", script]
    lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.posix_spawn(
            arguments[0],
            arguments,
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, f"{folder}/stdout", append, 0o600),
                (os.POSIX_SPAWN_OPEN, 2, f"{folder}/stderr", append, 0o600),
                (os.POSIX_SPAWN_DUP2, lock, _LOCK_FD),
            ],
            setsid=True,
            setsigmask=[],
            # Whoever started the agent may have had it ignore some.
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        # The lock goes with the open file, which the shell has now, and ends with it.
        os.close(lock)


def find(folder: str) -> Found | None:
    """Return what an earlier agent was about to run, or ran, in a folder; None where there is nothing to be known."""
    try:
        document = json.loads(files.read(f"{folder}/step.json", 1 << 20))
        return Found(
            dict(document["purpose"]),
            int(document["attempts"]),
            str(document["boot"]),
            str(document["line"]),
            clock.number(document["deadline"]),
            clock.number(document["began"]),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def last_seen(folder: str, found: Found) -> float:
    """Return when a command was last known to run, in seconds since the boot that it was begun in."""
    ended = read_exit(folder)
    return ended.at_s if ended is not None else max(found.began, read_time(folder))


def resume(folder: str, found: Found, boot: str) -> Running | None:
    """Return an earlier agent's command, running or ended; None where it never started.

    Raises CommandLostError where it was started and is gone without an exit status.
    """
    running = Running(folder, found.purpose, found.line, found.deadline, found.boot)
    if read_exit(folder) is not None:
        return running
    started = _await_start(folder)
    if started is None:
        return None
    pid, start_ticks, start_boot = started
    if start_boot != boot:
        raise CommandLostError("the machine was restarted while it ran")
    alive = is_locked(folder) and running.attach(pid, start_ticks)
    if not alive and read_exit(folder) is None:
        raise lost(folder)
    return running


def _await_start(folder: str) -> tuple[int, int, str] | None:
    """Return the start record: that of a shell which an agent started in its last moment may be about to come."""
    until = time.monotonic() + _STARTS_WITHIN_S
    while True:
        started = read_start(folder)
        if started is not None or not is_locked(folder) or time.monotonic() > until:
            return started or read_start(folder)
        time.sleep(0.005)

"""The parent: starts the worker, and starts it again when it dies. It does nothing else, so it is small.

It imports as little as it can: it lives as long as the machine runs, and can't be replaced while it does. A signal that
ends it ends the worker too, through the kernel (``process.die_with_parent``), and nothing that a handler has running:
so there is nothing to clean up, and no signal that it would have to handle.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from vmext_agent import program

EXIT_CONFIGURATION = 2
EXIT_NOT_ALONE = 3
_LOCK = "/run/vmext-agent.lock"
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 10.0
#: A worker that lived this long has done well: the next one is started at once.
_GOOD_S = 10.0

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    # Says where standard error goes.
    **{name: os.environ[name] for name in ("JOURNAL_STREAM",) if name in os.environ},
    # Each thread would take memory of its own, and keep it.
    "MALLOC_ARENA_MAX": "1",
}


def main(arguments: list[str]) -> int:
    """Run the agent; return its exit code: 2 for a bad configuration, 3 where another agent runs."""
    pid = azure_agent()
    if pid:
        _say(f"the Azure Linux agent runs on this machine (pid {pid}); stop and disable it, then start this one")
        return EXIT_NOT_ALONE
    if take_lock(_LOCK) < 0:
        return EXIT_NOT_ALONE
    try:
        return keep_worker(arguments)
    except KeyboardInterrupt:
        return 130


def keep_worker(arguments: list[str]) -> int:
    """Keep a worker running; return when one ends with what another could not do better."""
    wait_s = 0.0
    while True:
        began = time.monotonic()
        command = program.command("worker", "--parent", str(os.getpid()), *arguments)
        _, status = os.waitpid(os.posix_spawn(sys.executable, command, _ENVIRONMENT), 0)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        if code == EXIT_CONFIGURATION:
            return code
        lived_well = time.monotonic() - began > _GOOD_S
        wait_s = 0.0 if lived_well else min(_LONGEST_WAIT_S, wait_s * 2 or _FIRST_WAIT_S)
        _say(f"the worker ended with {code}; starting it again in {wait_s:.1f} s")
        time.sleep(wait_s)


def take_lock(path: str) -> int:
    """Return a descriptor of the lock that only one agent of a machine can hold; -1, and a word, where it is taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        _say(f"another agent runs on this machine already: pid {holder or 'unknown'} holds {path}")
        return -1
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def running() -> int:
    """Return the pid of the agent that runs on this machine, 0 for none."""
    try:
        descriptor = os.open(_LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        return int(holder) if holder.isdecimal() else 0
    finally:
        os.close(descriptor)
    return 0


def azure_agent() -> int:
    """Return the pid of an Azure Linux agent that runs on this machine, 0 for none: two would fight over handlers."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and _is_azure_agent(_command_line(name)):
            return int(name)
    return 0


def _command_line(pid: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(4096).split(b"\0")
    except OSError:
        return []


def _is_azure_agent(words: list[bytes]) -> bool:
    # The interpreter and its options may come first.
    programs = [word.rpartition(b"/")[2] for word in words[:4]]
    runs = b"-daemon" in words or b"-run-exthandlers" in words
    return b"WALinuxAgent" in programs or (b"waagent" in programs and runs)


def _say(message: str) -> None:
    sys.stderr.write(f"vmext-agent: {message}\n")
    sys.stderr.flush()

"""Commands of handlers: each under a small shell that outlives the agent and puts the exit status on disk.

A command has ended when its exit status is on disk. Each has a folder; in it ``step.json`` (what it is, and how often
it was tried), ``lock`` (held by the shell for as long as it lives, and not by the command), ``start`` (pid, start time
and boot, created by the shell exclusively: of two agents' shells one runs), ``session`` (pid and start time of the
command's own session), ``exit`` (the exit status; the file and its folder are synced before the shell ends), ``stdout``
and ``stderr``. What the command itself wrote is synced before: it is never known to have ended without its effects.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import clock, files, process
from vmext_agent.cgroups import NOWHERE
from vmext_agent.errors import CommandLostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.cgroups import Placement

#: Exit code of the shell that could not leave its start record.
_NO_ROOM = 75

# The command gets a session of its own, so that one which kills its own group leaves the shell alive. The start record
# is written before it runs. "exit.new" is there already, with room for a number: a full disk can't lose the status.
_SHIM = r"""
umask 022
dir=$1 cwd=$2 command=$3 boot=$4 procs=$5 scope=$6 pid=$$
cd "$dir" || exit 75
read -r line < /proc/$$/stat
set -- ${line##*) }
shift 19
set -C
{ printf '%s %s %s\n' "$pid" "$1" "$boot" > start; } 2>/dev/null || {
    # Another shell has just made it, and writes into it now; or there is no room.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -e start ] || exit 75
        [ -s start ] && exit 0
        sleep 0.1
    done
    exit 75
}
set +C
run() {
    exec 9>&-
    read -r line < /proc/self/stat
    set -- ${line##*) }
    shift 19
    { printf '%s %s\n' "${line%% *}" "$1" > session; } 2>/dev/null
    [ -z "$procs" ] || { echo 0 > "$procs"; } 2>/dev/null
    cd "$cwd" || exit 126
    [ -z "$in_scope" ] || exec systemd-run $scope \
        sh -c ': > "$1" && exec setsid sh -c "$2"' vmext-scope "$dir/entered" "$command"
    exec setsid sh -c "$command"
}
in_scope=$scope
(run)
code=$?
# systemd that could not make the scope ran nothing: then it is run without.
[ -z "$scope" ] || [ -e entered ] || { in_scope=; (run); code=$?; }
printf '%-3s' $code 1<> exit.new
sync -f . / /etc /usr /var 2>/dev/null || sync
mv exit.new exit && sync .
"""
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


class Running:
    """A command that runs, started by this agent or an earlier one."""

    __slots__ = ("child", "deadline", "descriptor", "folder", "kill_at", "line", "pid", "purpose", "stopped_for")

    def __init__(self, folder: str, purpose: Mapping[str, object], line: str, deadline: float) -> None:
        self.folder = folder
        self.purpose = purpose
        self.line = line
        self.deadline = deadline
        self.pid = 0
        self.descriptor = -1
        self.child = 0
        #: When SIGKILL follows SIGTERM, in seconds since boot; 0 before any was sent.
        self.kill_at = 0.0
        #: Why it was told to stop: TimedOut or Cancelled.
        self.stopped_for = ""

    def stop(self, why: str, kill_after_s: float) -> None:
        """Tell the whole of it to end, and remember when to make it."""
        self.stopped_for = why
        self.kill_at = clock.since_boot() + kill_after_s
        process.signal_command(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole of it."""
        process.signal_command(self.pid, signal.SIGKILL)
        # Somebody can be born while the others are being ended.
        self.kill_at = clock.since_boot() + 1.0

    def exit_code(self) -> int | None:
        """Return the exit code once it is on disk, None while the command runs. Raises CommandLostError, OSError."""
        # In this order: the shell's end is what puts the code on disk.
        if self._is_alive():
            return None
        code = _exit_code(self.folder)
        self._close()
        if code is None:
            raise _lost(self.folder)
        return code

    def _is_alive(self) -> bool:
        if self.child:
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid == 0:
                return True
            self.child = 0
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _NO_ROOM:
                self._close()
                raise OSError(errno.ENOSPC, "no room for the start record", self.folder)
            # It may be another agent's shell that runs, and this one have stood back.
            return self._follow_start()
        return is_locked(self.folder)

    def _follow_start(self) -> bool:
        start = read_start(self.folder)
        if start is None or start[0] == self.pid:
            return False
        self._close()
        return self.attach(*start[:2])

    def attach(self, pid: int, started: int) -> bool:
        """Wait for that process from now on; return False where it is gone."""
        descriptor = process.watch(pid, started)
        if descriptor is None:
            return False
        self.pid, self.descriptor = pid, descriptor
        return True

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def start(folder: str, order: Order, attempt: int, boot: str) -> Running:
    """Start a command in its folder, which is made anew. Raises OSError."""
    files.remove(folder)
    files.make_folder(folder, 0o700)
    deadline = clock.since_boot() + order.timeout_s
    document = {
        "purpose": order.purpose,
        "attempts": attempt,
        "boot": boot,
        "line": order.line,
        "deadline": deadline,
    }
    files.write(f"{folder}/step.json", json.dumps(document).encode(), 0o600)
    files.write(f"{folder}/exit.new", b"   ", 0o600, durable=False)
    running = Running(folder, order.purpose, order.line, deadline)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    where = order.placement
    lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        running.pid = running.child = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _SHIM, "vmext-command", folder, order.folder, order.line, boot, where.procs, where.scope],
            dict(order.environment),
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
    started = process.start_time(running.pid)
    if started is not None:
        running.attach(running.pid, started)
    return running


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
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def resume(folder: str, found: Found, boot: str) -> Running | None:
    """Return an earlier agent's command, running or ended; None where it never started.

    Raises CommandLostError where it was started and is gone without an exit status.
    """
    running = Running(folder, found.purpose, found.line, found.deadline)
    if _exit_code(folder) is not None:
        return running
    started = _await_start(folder)
    if started is None:
        return None
    pid, start_ticks, start_boot = started
    if start_boot != boot:
        raise CommandLostError("the machine was restarted while it ran")
    alive = is_locked(folder) and running.attach(pid, start_ticks)
    if not alive and _exit_code(folder) is None:
        raise _lost(folder)
    return running


def _await_start(folder: str) -> tuple[int, int, str] | None:
    """Return the start record: that of a shell which an agent started in its last moment may be about to come."""
    until = time.monotonic() + _STARTS_WITHIN_S
    while True:
        started = read_start(folder)
        if started is not None or not is_locked(folder) or time.monotonic() > until:
            return started or read_start(folder)
        time.sleep(0.005)


def is_locked(folder: str) -> bool:
    """Tell whether the shell of a command lives: whatever has its number by now, nobody else has its lock."""
    try:
        descriptor = os.open(f"{folder}/lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lost(folder: str) -> CommandLostError:
    """End what is left of a command whose shell was killed, so that another attempt does not run beside it."""
    try:
        pid, ticks = files.read(f"{folder}/session", 256).decode("ascii").split()
        ended = process.kill_session(int(pid), int(ticks))
    except (OSError, ValueError):
        ended = 0
    rest = f"; {ended} processes that it left were ended" if ended else ""
    return CommandLostError(f"its shell is gone and left no exit status: something killed it{rest}")


def read_start(folder: str) -> tuple[int, int, str] | None:
    """Return pid, start time in ticks since boot, and boot of a command that was started, else None."""
    try:
        pid, ticks, boot = files.read(f"{folder}/start", 256).decode("ascii").split()
        return int(pid), int(ticks), boot
    except (OSError, ValueError):
        return None


def _exit_code(folder: str) -> int | None:
    try:
        return int(files.read(f"{folder}/exit", 64))
    except (OSError, ValueError):
        return None

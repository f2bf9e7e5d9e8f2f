"""Control groups for the commands of handlers: limits for them, and a way to find what they leave running.

Decided once, at start: a scope of systemd's, else a group below cgroup v2, else none. A handler's version has a group
of its own, in which background children stay after the command that started them, and limits are that group's: two
commands have them together. Nothing of it ever fails a command: what can't be had is said in words, for the status.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files, process

if TYPE_CHECKING:
    from vmext_agent.goal_state import Limits

SYSTEMD, CGROUP2, NONE = "systemd", "cgroup2", "none"
_NAME = re.compile(r"[A-Za-z0-9.]{1,200}-[0-9.]{1,48}")
_SLICE = "vmext"
_ANSWERS_WITHIN_S = 10.0
#: The period of cpu.max in microseconds.
_PERIOD_US = 100_000


class Placement(NamedTuple):
    """Where a command is to run.

    Attributes:
        procs: the file that it writes itself into; empty for none.
        scope: the command line of a program that makes a scope and becomes what follows; empty for none.
    """

    procs: str = ""
    scope: tuple[str, ...] = ()


NOWHERE = Placement()


class Memory(NamedTuple):
    """What the kernel says of a group's memory: how many processes it has ended, and the limit in bytes, 0 for none."""

    kills: int = 0
    limit: int = 0


class Cgroups:
    """What this machine has of control groups.

    Args:
        kind: one of this module's.
        root: the mount point of cgroup v2; empty for none.
        programs: the folder that systemd's programs are in.
        settings: the folder that systemd keeps what it was told of a unit in, until the next boot.
    """

    def __init__(self, *, kind: str, root: str, programs: str = "", settings: str = "") -> None:
        self.kind = kind
        self._root = root
        self._programs = programs
        self._settings = settings
        self._scopes = 0

    def place(self, handler: str, version: str) -> Placement:
        """Return where the next command of a handler's version runs. Never raises."""
        name = f"{handler}-{version}"
        if not _NAME.fullmatch(name) or self.kind == NONE:
            return NOWHERE
        if self.kind == CGROUP2:
            return Placement(procs="" if self._make(name) else f"{self._folder(name)}/cgroup.procs")
        self._scopes += 1
        return Placement(
            scope=(
                f"{self._programs}/systemd-run",
                "--scope",
                "--quiet",
                "--collect",
                f"--slice={_slice(name)}",
                f"--unit=vmext-{_escaped(name)}-{os.getpid()}-{self._scopes}.scope",
                # On the way down this one is stopped after the agent, which waits for it (``shutdown``).
                "--property=Before=vmext-agent.service",
            )
        )

    def limit(self, handler: str, version: str, limits: Limits) -> tuple[str, ...]:
        """Have all commands of a handler's version, and what they leave running, share these limits. Never raises.

        Returns:
            What can't be applied, in words.
        """
        name = f"{handler}-{version}"
        if not _NAME.fullmatch(name) or self.kind == NONE:
            return _refused(limits, "this machine has no control groups to use")
        if self.kind == SYSTEMD:
            return self._limit_slice(name, limits)
        why = self._make(name)
        if why:
            return _refused(limits, f"its control group can't be made: {why}")
        return self._limit_group(self._folder(name), limits)

    def _limit_slice(self, name: str, limits: Limits) -> tuple[str, ...]:
        # Without limits there is something to be told only where there were some before.
        if not any(limits) and not os.path.isdir(f"{self._settings}/{_slice(name)}.d"):
            return ()
        cpu = f"{max(1, limits.cpu_millicores // 10)}%" if limits.cpu_millicores else ""
        told = (f"CPUQuota={cpu}", f"MemoryMax={limits.memory_bytes or 'infinity'}")
        line = [f"{self._programs}/systemctl", "set-property", "--runtime", _slice(name), *told]
        code = process.run(line, {"LANG": "C.UTF-8"}, _ANSWERS_WITHIN_S)
        return () if code == 0 else _refused(limits, "systemd does not take it")

    def _folder(self, name: str) -> str:
        return f"{self._root}/{_slice_path(name) if self.kind == SYSTEMD else f'{_SLICE}/{name}'}"

    def _make(self, name: str) -> str:
        """Make the group below cgroup v2; return why that failed, empty where it is there."""
        try:
            for path in (f"{self._root}/{_SLICE}", self._folder(name)):
                if not os.path.isdir(path):
                    os.mkdir(path)
        except OSError as error:
            return error.strerror or "an error"
        return ""

    def _limit_group(self, folder: str, limits: Limits) -> tuple[str, ...]:
        notes: list[str] = []
        cpu = f"{limits.cpu_millicores * _PERIOD_US // 1000} {_PERIOD_US}" if limits.cpu_millicores else "max"
        memory = str(limits.memory_bytes) if limits.memory_bytes else "max"
        for controller, file, value in (("cpu", "cpu.max", cpu), ("memory", "memory.max", memory)):
            if value != "max":
                for parent in (self._root, f"{self._root}/{_SLICE}"):
                    _write(f"{parent}/cgroup.subtree_control", f"+{controller}")
            if not _write(f"{folder}/{file}", value) and value != "max":
                notes += _refused(
                    _only(limits, controller), f"this machine's cgroup v2 gives it no {controller} controller"
                )
        return tuple(notes)

    def memory(self, handler: str, version: str) -> Memory:
        """Return what the kernel says of the memory of a handler's version; of none where it can't be told."""
        name = f"{handler}-{version}"
        if not self._root or not _NAME.fullmatch(name):
            return Memory()
        try:
            events = dict(line.split() for line in _text(f"{self._folder(name)}/memory.events").splitlines())
            limit = _text(f"{self._folder(name)}/memory.max").strip()
            return Memory(int(events.get("oom_kill", "0")), int(limit) if limit.isdecimal() else 0)
        except (OSError, ValueError):
            return Memory()

    def members(self, handler: str, version: str) -> list[int]:
        """Return the processes in the group of a handler's version."""
        name = f"{handler}-{version}"
        if not self._root or not _NAME.fullmatch(name):
            return []
        found: list[int] = []
        for path, _, _ in os.walk(self._folder(name)):
            try:
                lines = files.read(f"{path}/cgroup.procs", 1 << 20).split()
            except OSError:
                continue
            found += [int(line) for line in lines if line.isdigit() and line != b"0"]
        return found

    def remove(self, handler: str, version: str) -> None:
        """Remove the group of a handler's version, once nothing runs in it."""
        if self.kind == CGROUP2 and _NAME.fullmatch(f"{handler}-{version}"):
            try:
                os.rmdir(f"{self._root}/{_SLICE}/{handler}-{version}")
            except OSError:
                return


def decide(proc: str = "/proc", run: str = "/run", path: str = os.defpath) -> Cgroups:
    """Find out what this machine has: systemd that runs, a cgroup v2 that can be written, or none."""
    root = _mount_point(f"{proc}/self/mountinfo")
    folders = path.split(":")
    programs = next((folder for folder in folders if os.access(f"{folder}/systemd-run", os.X_OK)), "")
    if os.path.isdir(f"{run}/systemd/system") and programs:
        return Cgroups(kind=SYSTEMD, root=root, programs=programs, settings=f"{run}/systemd/system.control")
    if root and os.access(root, os.W_OK) and _is_writable(root):
        return Cgroups(kind=CGROUP2, root=root)
    return Cgroups(kind=NONE, root="")


def _mount_point(mountinfo: str) -> str:
    try:
        with open(mountinfo, encoding="utf-8", errors="replace") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                if after.startswith("cgroup2 "):
                    return before.split()[4]
    except (OSError, IndexError):
        return ""
    return ""


def _is_writable(root: str) -> bool:
    try:
        os.makedirs(f"{root}/{_SLICE}", exist_ok=True)
    except OSError:
        return False
    return True


def _text(path: str) -> str:
    return files.read(path, 1 << 16).decode("ascii", "replace")


def _write(path: str, value: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, value.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _only(limits: Limits, controller: str) -> Limits:
    return limits._replace(memory_bytes=0) if controller == "cpu" else limits._replace(cpu_millicores=0)


def _refused(limits: Limits, why: str) -> tuple[str, ...]:
    notes = []
    if limits.cpu_millicores:
        notes.append(f"the cpu limit of {limits.cpu_millicores}m can't be applied: {why}")
    if limits.memory_bytes:
        notes.append(f"the memory limit of {limits.memory_bytes} bytes can't be applied: {why}")
    return tuple(notes)


def _escaped(name: str) -> str:
    """Return a name as a part of a unit's: a dash would make a slice of a slice."""
    return name.replace("-", "_")


def _slice(name: str) -> str:
    return f"{_SLICE}-{_escaped(name)}.slice"


def _slice_path(name: str) -> str:
    return f"{_SLICE}.slice/{_slice(name)}"

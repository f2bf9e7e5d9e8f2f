"""One boot of a guest: namespaces of its own, what a kernel mounts afresh, and pid 1."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from simulated_guest import disk, furniture, kernel

_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "ptmx": "pts/ptmx",
    "stderr": "/proc/self/fd/2",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
}
#: By which programs tell machines apart: a guest is another machine than its host, and than other guests.
_HARDWARE = ("sys/devices/virtual/dmi/id", "sys/firmware/devicetree/base")
_ON_TOP_ONLY = kernel.NO_SUID | kernel.NO_DEVICES


def fork_init(
    root: Path, name: str, boot_id: Path, control: socket.socket, run: Callable[[socket.socket], NoReturn]
) -> int:
    """Boot: start pid 1 of a new PID namespace, in new mount and UTS namespaces, with `root` as its root folder.

    Between the caller and pid 1 stands a process (a PID namespace begins with a child, and can be entered once only)
    that waits for pid 1 and ends as it ended. Each of the two is killed when its parent ends.

    Args:
        root: a mount point with the guest's disk.
        name: the host name.
        boot_id: a file with the identity of this boot.
        control: pid 1's end of a socket; on it comes {"pid": number} or {"error": reason}.
        run: what pid 1 does.

    Returns:
        The process to wait for; once it is reaped, nothing of this boot runs.
    """
    supervisor = os.getpid()
    between = os.fork()
    if between:
        return between
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        _keep_only(control.fileno())
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWUTS, "mount, PID and UTS")
        init = os.fork()
        if init == 0:
            kernel.die_with_parent(signal.SIGKILL)
            kernel.name_process("init")
            kernel.set_hostname(name)
            _mount_and_enter(root, boot_id)
            run(control)
        kernel.name_process(f"guest {name}")
        control.send(json.dumps({"pid": init}).encode())
        control.close()
        _, status = os.waitpid(init, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    except Exception as error:  # noqa: BLE001  a forked child never returns into the code of its parent
        control.send(json.dumps({"error": str(error)}).encode())
        os._exit(1)


def _keep_only(number: int) -> None:
    """Close every inherited file but this one and standard error; else pid 1 holds its own supervisor's end open."""
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.closerange(3, number)
    os.closerange(number + 1, os.sysconf("SC_OPEN_MAX"))


def _mount_and_enter(root: Path, boot_id: Path) -> None:
    kernel.mount("proc", root / "proc", "proc", flags=kernel.NO_SUID | kernel.NO_DEVICES | kernel.NO_EXEC)
    # What is written there acts on the host's kernel.
    for shared in ("proc/sys", "proc/sysrq-trigger"):
        if (root / shared).exists():
            kernel.bind(root / shared, root / shared, read_only=True)
    kernel.bind(boot_id, root / "proc/sys/kernel/random/boot_id", read_only=True)
    kernel.bind(Path("/sys"), root / "sys", recursive=True, read_only=True)
    for folder in _HARDWARE:
        if (root / folder).is_dir():
            kernel.mount("none", root / folder, "tmpfs", flags=_ON_TOP_ONLY, options="mode=755")
    _mount_devices(root / "dev")
    kernel.mount("run", root / "run", "tmpfs", flags=_ON_TOP_ONLY, options="mode=755")
    kernel.mount("tmp", root / "tmp", "tmpfs", flags=_ON_TOP_ONLY, options="mode=1777")
    (root / "run/lock").mkdir()
    (root / "run/lock").chmod(0o1777)
    if Path("/usr/bin/systemctl").exists():
        systemctl = root / furniture.HOST_SYSTEMCTL.relative_to("/")
        systemctl.parent.mkdir()
        systemctl.touch()
        kernel.bind(Path("/usr/bin/systemctl"), systemctl, read_only=True)
    for path in disk.seen_only_on_top():
        target = root / path.relative_to("/")
        if not target.exists():
            target.mkdir(parents=True)
            kernel.bind(path, target, read_only=True)
    kernel.change_root(root)


def _mount_devices(folder: Path) -> None:
    # Bound from the host: in a user namespace device nodes can't be made.
    kernel.mount("dev", folder, "tmpfs", flags=kernel.NO_SUID, options="mode=755")
    for device in _DEVICES:
        (folder / device).touch()
        kernel.bind(Path("/dev") / device, folder / device)
    for link, target in _DEVICE_LINKS.items():
        (folder / link).symlink_to(target)
    (folder / "pts").mkdir()
    kernel.mount(
        "pts", folder / "pts", "devpts", flags=kernel.NO_SUID | kernel.NO_EXEC, options="newinstance,ptmxmode=0666"
    )
    (folder / "shm").mkdir()
    kernel.mount("shm", folder / "shm", "tmpfs", flags=_ON_TOP_ONLY, options="mode=1777")

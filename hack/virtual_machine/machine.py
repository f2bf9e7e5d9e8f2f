"""One virtual machine: switched on, rebooted, cut off from power or network, and worked in over ssh."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from control_plane import process
from control_plane.progress import Progress, Report
from virtual_machine import emulator, host
from virtual_machine.emulator import Hardware
from virtual_machine.errors import VirtualMachineError
from virtual_machine.image import Image
from virtual_machine.monitor import Monitor
from virtual_machine.shell import CommandError, Done, NotReachedError, Shell

#: An emulated boot takes half a minute on a quiet computer, and several on one that compiles.
BOOT_S = 1200.0
_MONITOR_S = 60.0
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Machine:
    """A machine with a disk of its own, which it keeps over reboots and losses of power.

    Args:
        name: its host name.
        image: what its disk begins as.
        hardware: what it is made of.
        folder: for its disk and sockets.
        logs: the folder that keeps ``serial.log`` and ``emulator.log``.
        report: takes a line for what is done.
    """

    def __init__(
        self, name: str, image: Image, hardware: Hardware, *, folder: Path, logs: Path, report: Report
    ) -> None:
        self.name = name
        self.hardware = hardware
        self.serial = logs / "serial.log"
        self._image = image
        self._folder = folder
        self._log = logs / "emulator.log"
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor: Monitor | None = None
        self._shell: Shell | None = None

    @property
    def pid(self) -> int:
        """Return the emulator's process."""
        assert self._process is not None, f"{self.name} is off"
        return self._process.pid

    @property
    def is_on(self) -> bool:
        """Tell whether it is switched on."""
        return self._process is not None

    # -- power and network

    def start(self, *, clock: str | None = None, linked: bool = True, more: Sequence[str] = ()) -> None:
        """Switch it on; it is at its very beginning when this returns.

        Args:
            clock: what its hardware clock says, from now on; None for what it said last time.
            linked: False leaves its network cable out.
            more: words for the kernel's command line.

        Raises:
            VirtualMachineError: the emulator does not start.
        """
        assert self._process is None, f"{self.name} is on already"
        if clock is not None:
            self.hardware = dataclasses.replace(self.hardware, clock=clock)
        disk = self._folder / emulator.DISK
        if not disk.exists():
            made = subprocess.run(
                emulator.overlay(self._image.disk), cwd=self._folder, capture_output=True, text=True, check=False
            )
            if made.returncode != 0:
                raise VirtualMachineError(f"the disk of {self.name} can't be made: {made.stderr.strip()}")
        (self._folder / emulator.MONITOR).unlink(missing_ok=True)
        command = emulator.command(
            self.hardware,
            name=self.name,
            kernel=self._image.kernel,
            initrd=self._image.initrd,
            serial=self.serial,
            more=more,
        )
        self._process = process.start(command, log=self._log, folder=self._folder)
        self._monitor = self._connect()
        self.link(on=linked)
        try:
            port = emulator.ssh_port(self._monitor.ask("human-monitor-command", **{"command-line": "info usernet"}))
        except ValueError as error:
            raise VirtualMachineError(f"{self.name}: {error}") from error
        self._shell = Shell(self._folder, port, self._image.key, self._image.host_key)
        self.resume()

    def stop(self) -> None:
        """Switch it off as it stands, if it is on."""
        self._close()
        if self._process is not None:
            process.stop(self._process)
            self._process = None

    def cut_power(self) -> None:
        """Lose all that it has not written to its disk."""
        assert self._process is not None, f"{self.name} is off"
        self._process.kill()
        self._process.wait()
        self._process = None
        self._close()

    def pause(self) -> None:
        """Stop it where it stands, as a host does that is migrated or overloaded."""
        self._asked().ask("stop")

    def resume(self) -> None:
        """Let it go on."""
        self._asked().ask("cont")

    def link(self, *, on: bool) -> None:
        """Put its network cable in or out."""
        self._asked().ask("set_link", name=emulator.CARD, up=on)

    # -- boots

    def boot(self) -> str:
        """Return what names this run of its kernel. Raises NotReachedError."""
        return self.run(["cat", _BOOT_ID]).text.strip()

    def wait_for_boot(self, *, after: str = "", timeout_s: float = BOOT_S) -> str:
        """Wait until a root shell can be had, in another boot than the one that is named; return what names it.

        Raises:
            VirtualMachineError: it did not boot in time, or its emulator ended; the message has its last lines.
        """
        shell = self._opened()
        shell.close()
        progress = Progress(self._report, f"booting {self.name}")
        deadline = time.monotonic() + timeout_s
        why = "nothing answered"
        while time.monotonic() < deadline:
            self._check()
            try:
                boot = shell.run(["cat", _BOOT_ID], timeout_s=60.0).text.strip()
            except (NotReachedError, CommandError) as error:
                why = str(error)
            else:
                if boot != after:
                    shell.keep()
                    progress.done("a shell can be had")
                    return boot
                why = "it is in the same boot still"
            progress.step(self._last_lines(1))
            time.sleep(0.5)
        raise VirtualMachineError(
            f"{self.name} has not booted within {timeout_s:.0f} s ({why}); {self.serial} ends with:\n"
            f"{self._last_lines(10)}"
        )

    def reboot(self) -> None:
        """Reboot it in order, as its administrator does, and wait for it."""
        before = self.boot()
        with contextlib.suppress(NotReachedError):
            self.run(["systemctl", "reboot"])
        self.wait_for_boot(after=before)

    def set_clock(self, seconds: float) -> None:
        """Set its clock, to seconds since 1970; its hardware clock keeps what it had."""
        self.run(["date", "-u", "-s", f"@{seconds:.0f}"])

    def console(self) -> str:
        """Return what it has printed on its console, over all boots."""
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    # -- work

    def run(
        self, command: str | Sequence[str], *, given: bytes = b"", timeout_s: float = 120.0, check: bool = True
    ) -> Done:
        """Run a command as root; see `Shell.run`."""
        return self._opened().run(command, given=given, timeout_s=timeout_s, check=check)

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises CommandError where there is none."""
        return self.run(["cat", path]).out

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write a file; folders on the way are made."""
        self.run(["install", "-D", "-m", f"{mode:o}", "/dev/stdin", path], given=content)

    def copy(self, source: Path, target: str) -> None:
        """Copy a folder of this computer into one of the machine, without what Python has compiled."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(source, ".", filter=_packed)
        self.run(f"mkdir -p {target} && tar -x -C {target}", given=packed.getvalue())

    def _connect(self) -> Monitor:
        deadline = time.monotonic() + _MONITOR_S
        while True:
            self._check()
            try:
                return Monitor(self._folder / emulator.MONITOR)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise VirtualMachineError(f"the monitor of {self.name} does not answer: {error}") from error
            time.sleep(0.05)

    def _check(self) -> None:
        assert self._process is not None, f"{self.name} is off"
        if self._process.poll() is not None:
            said = self._log.read_text(errors="replace").strip()[-1000:]
            raise VirtualMachineError(f"the emulator of {self.name} ended with {self._process.returncode}: {said}")

    def _asked(self) -> Monitor:
        assert self._monitor is not None, f"{self.name} is off"
        return self._monitor

    def _opened(self) -> Shell:
        assert self._shell is not None, f"{self.name} is off"
        return self._shell

    def _close(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def _last_lines(self, count: int) -> str:
        lines = [line.strip() for line in self.console().splitlines()]
        return "\n".join([line for line in lines if line][-count:]) or "(nothing on its console)"


@contextlib.contextmanager
def running(
    name: str, image: Image, *, folder: Path, logs: Path, report: Report, hardware: Hardware | None = None
) -> Iterator[Machine]:
    """Run a machine that has booted, until the block ends, or until the one who runs it does, however that ends.

    Args:
        name: its host name.
        image: what its disk begins as.
        folder: where its files are put, in a folder of its name that vanishes in the end.
        logs: where what it printed on its console is kept, in a folder of its name; of an earlier one nothing stays.
        report: takes a line for what is done.
        hardware: what it is made of.

    Raises:
        UnavailableError: a program is missing that can't be installed here.
        VirtualMachineError: it does not boot.
    """
    host.prepare(host.TO_RUN, report)
    for own in (folder / name, logs / name):
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(mode=0o700, parents=True)
    made = hardware or Hardware(str(uuid.uuid4()))
    machine = Machine(name, image, made, folder=folder / name, logs=(logs / name).absolute(), report=report)
    try:
        machine.start()
        machine.wait_for_boot()
        # What the first boot makes, such as the machine's id, has been on a disk for long in any other machine.
        machine.run(["sync"])
        yield machine
    finally:
        machine.stop()
        shutil.rmtree(folder / name, ignore_errors=True)


def _packed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith("__pycache__"):
        return None
    member.uid = member.gid = 0
    return member

"""The programs that a virtual machine needs on this computer: found, or installed as Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from control_plane.progress import Report
from virtual_machine import step
from virtual_machine.errors import UnavailableError

#: To run a machine: each program with the package that has it.
TO_RUN: Mapping[str, str] = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ssh": "openssh-client",
}
#: To make its disk as well. A path is a file that has to be there.
TO_BUILD: Mapping[str, str] = {
    **TO_RUN,
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "ssh-keygen": "openssh-client",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
#: Where apt installs programs that not every user's PATH names.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def find(program: str) -> str | None:
    """Return where a program is, None for nowhere."""
    if program.startswith("/"):
        return program if Path(program).exists() else None
    return shutil.which(program, path=_PATH)


def missing(wanted: Mapping[str, str], present: Callable[[str], object] = find) -> list[str]:
    """Return the packages that are to be installed, each once, by name."""
    return sorted({package for program, package in wanted.items() if not present(program)})


def prepare(wanted: Mapping[str, str], report: Report) -> None:
    """Make sure of the programs; as root they are installed where apt can do it.

    Raises:
        UnavailableError: some are missing and can't be installed here.
    """
    packages = missing(wanted)
    if not packages:
        return
    advice = f"install {' '.join(packages)} (Debian's names)"
    if os.geteuid() != 0:
        raise UnavailableError(f"a virtual machine needs programs that are not installed: as root, {advice}")
    if shutil.which("apt-get") is None:
        raise UnavailableError(
            f"a virtual machine needs programs that are not installed, and there is no apt: {advice}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    commands: tuple[Sequence[str], ...] = (
        ("apt-get", "update", "-q"),
        ("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages),
    )
    for command in commands:
        try:
            step.run(command, f"{' '.join(command[:2])} ({', '.join(packages)})", report, environment=environment)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"{error}; {advice}") from error
    if still := missing(wanted):
        raise UnavailableError(f"{', '.join(still)} were installed, and their programs are still not found")

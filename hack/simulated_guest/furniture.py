"""What stands on a new guest's disk instead of the host's: masked folders, its name, programs that ask its init.

The items are values; the two kinds of disk (full and small) put them where they belong.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from simulated_guest import init

MASKED = (
    "/etc/vmext",
    "/var/lib/vmext",
    "/var/lib/waagent",
    "/var/log/azure",
    "/var/log/waagent.log",
    "/var/log/vmext-agent.log",
)
"""What a host of ours may hold of an agent's own: a new guest has none of it."""

HOST_SYSTEMCTL = Path("/run/host/systemctl")
"""Where the host's own systemctl stands in a guest whose /usr/bin/systemctl is the stand-in."""

# By number: not every shell knows the names.
_REBOOT = f"kill -{init.REBOOT_SIGNAL:d} 1"
_POWER_OFF = f"kill -{init.POWER_OFF_SIGNAL:d} 1"

_SHUTDOWN = f"""#!/bin/sh
# shutdown of a simulated guest: at once, whatever time is given.
action='{_POWER_OFF}'
for argument; do
    case "$argument" in
        -r | --reboot) action='{_REBOOT}' ;;
        -c) exit 0 ;;
    esac
done
$action
"""

_SYSTEMCTL = f"""#!/bin/sh
# systemctl of a simulated guest: there is no systemd, but the guest can be rebooted and powered off.
for argument; do
    case "$argument" in
        reboot) {_REBOOT} && exit ;;
        poweroff | halt) {_POWER_OFF} && exit ;;
        -*) ;;
        *) break ;;
    esac
done
[ -x {HOST_SYSTEMCTL} ] && exec {HOST_SYSTEMCTL} "$@"
echo "System has not been booted with systemd as init system (PID 1). Can't operate." >&2
exit 1
"""


@dataclass(frozen=True)
class Item:
    """A file of the guest's disk.

    Attributes:
        path: where it stands in the guest, with no symbolic link of the host's on the way.
        content: its bytes; None for nothing at all: what the host has there is masked.
        mode: its permissions.
    """

    path: Path
    content: bytes | None
    mode: int = 0o644


def identity(name: str) -> list[Item]:
    """Return the files that tell which machine this is; the machine id is another for every new disk."""
    try:
        hosts = Path("/etc/hosts").read_bytes()
    except FileNotFoundError:
        hosts = b"127.0.0.1 localhost\n"
    resolver = _real(Path("/etc/resolv.conf"))
    return [
        Item(Path("/etc/hostname"), f"{name}\n".encode()),
        Item(Path("/etc/hosts"), hosts.rstrip(b"\n") + f"\n127.0.1.1 {name}\n".encode()),
        Item(Path("/etc/machine-id"), os.urandom(16).hex().encode() + b"\n", 0o444),
        # systemd-resolved keeps it under /run, and a guest's /run is its own.
        *([Item(Path("/etc/resolv.conf"), resolver.read_bytes())] if resolver.is_file() else []),
    ]


def stand_ins() -> list[Item]:
    """Return the programs that reboot and power off, in the folders where the host has such programs."""
    folders = sorted({_real(Path("/sbin")), _real(Path("/usr/sbin"))})
    reboot, power_off = f"#!/bin/sh\n{_REBOOT}\n".encode(), f"#!/bin/sh\n{_POWER_OFF}\n".encode()
    programs = {"reboot": reboot, "poweroff": power_off, "halt": power_off, "shutdown": _SHUTDOWN.encode()}
    found = [Item(folder / program, content, 0o755) for folder in folders for program, content in programs.items()]
    return [*found, Item(_real(Path("/usr/bin")) / "systemctl", _SYSTEMCTL.encode(), 0o755)]


def masks() -> list[Item]:
    """Return what of the host's must not be seen, where the host has the folder that it would be in."""
    found = []
    for path in map(Path, MASKED):
        parent = _real(path.parent)
        if parent.is_dir():
            found.append(Item(parent / path.name, None))
    return found


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))

"""The disk that machines start from: a Debian with systemd and ssh, built once and kept in the cache.

It is made without mounting anything: a root folder by mmdebstrap, then an ext4 of it. Kernel and initrd are taken out
of it, so that the emulator starts them without a boot loader.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane import cache
from control_plane.errors import SourceError
from control_plane.progress import Report
from virtual_machine import host, step
from virtual_machine.errors import UnavailableError, VirtualMachineError

BOOKWORM = "bookworm"
PACKAGES = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
    "dbus",
    "udev",
    "openssh-server",
    "python3",
    "openssl",
    "ca-certificates",
    "sudo",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "procps",
)
FILES = ("disk.qcow2", "vmlinuz", "initrd", "key", "host-key.pub")
_DISK_SIZE = "3G"
#: Raised with every change of what `_furnish` writes: an older disk is then not used any more.
_FORM = 2

_FSTAB = "/dev/vda / ext4 errors=remount-ro 0 1\n"
#: The emulator's own network; nothing is asked of any other.
_NETWORK = """[Match]
Name=eth0

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
_RESOLVER = "nameserver 10.0.2.3\n"
_SSHD = "UseDNS no\nPasswordAuthentication no\nMaxSessions 50\n"
#: Nobody on a network is asked for the time: tests set the clock wrong, and want it to stay so.
_TIME = "[Time]\nNTP=127.0.0.1\nFallbackNTP=\n"
_UNITS = ("systemd-networkd", "ssh", "systemd-timesyncd")


@dataclass(frozen=True, slots=True)
class Image:
    """A disk that machines start from, each with an overlay of its own.

    Attributes:
        folder: the cache's entry.
        origin: where it is from, in words.
    """

    folder: Path
    origin: str

    @property
    def disk(self) -> Path:
        """Return the disk, which is never written to."""
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        """Return its kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Return what its kernel starts first."""
        return self.folder / "initrd"

    @property
    def key(self) -> Path:
        """Return the key that opens a root shell over ssh."""
        return self.folder / "key"

    @property
    def host_key(self) -> str:
        """Return what the machine's ssh server is known by: kind and key."""
        return " ".join((self.folder / "host-key.pub").read_text().split()[:2])


def key(suite: str, packages: Sequence[str]) -> str:
    """Name a disk by what it is made of, whatever order that is given in."""
    content = json.dumps([_FORM, suite, sorted(packages), _DISK_SIZE])
    return f"debian-{suite}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def obtain(report: Report, *, suite: str = BOOKWORM, packages: Sequence[str] = PACKAGES) -> Image:
    """Return a disk, from the cache or built now (some two minutes).

    Args:
        report: takes a line for what is done.
        suite: the release of Debian.
        packages: what is installed.

    Raises:
        UnavailableError: it is not in the cache, and can't be made on this computer.
        VirtualMachineError: making it failed.
    """
    entry = cache.root() / "virtual-machine" / key(suite, packages)
    try:
        return Image(entry, cache.read(entry))
    except SourceError as error:
        report(f"a disk of Debian {suite} is built: {error}")
    host.prepare(host.TO_BUILD, report)
    if os.geteuid() != 0:
        raise UnavailableError("a virtual machine's disk is built by root only: run it once as root")
    with cache.filling(entry, report) as draft:
        if draft is not None:
            _build(draft, suite, packages, report)
            cache.complete(entry, draft, f"mmdebstrap of {suite}", FILES, is_good=Path.is_file)
    try:
        return Image(entry, cache.read(entry))
    except SourceError as error:
        raise VirtualMachineError(str(error)) from error


def _build(draft: Path, suite: str, packages: Sequence[str], report: Report) -> None:
    step.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vmext tests", "-f", str(draft / "key")],
        "making a key for ssh",
        report,
    )
    # Besides the draft, which becomes the cache's entry, and on the same file system.
    with tempfile.TemporaryDirectory(prefix="root-", dir=draft.parent) as scratch:
        root = Path(scratch) / "root"
        options = ["--variant=minbase", "--mode=root", f"--include={','.join(packages)}"]
        options.append('--customize-hook=chroot "$1" systemctl enable ' + " ".join(_UNITS))
        step.run(["mmdebstrap", *options, suite, str(root)], f"installing Debian {suite} into a folder", report)
        _furnish(root, (draft / "key.pub").read_text())
        shutil.copyfile(_only(root / "boot", "vmlinuz-*"), draft / "vmlinuz")
        shutil.copyfile(_only(root / "boot", "initrd.img-*"), draft / "initrd")
        shutil.copyfile(root / "etc/ssh/ssh_host_ed25519_key.pub", draft / "host-key.pub")
        raw = Path(scratch) / "disk.raw"
        make = host.find("mke2fs") or "mke2fs"
        step.run([make, "-q", "-t", "ext4", "-d", str(root), str(raw), _DISK_SIZE], "making its disk", report)
        convert = ["qemu-img", "convert", "-O", "qcow2", str(raw), str(draft / "disk.qcow2")]
        step.run(convert, "packing its disk", report)
    (draft / "key.pub").unlink()


def _furnish(root: Path, public_key: str) -> None:
    """Write what makes a machine of the folder."""
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "authorized_keys").write_text(public_key)
    (root / "etc/fstab").write_text(_FSTAB)
    (root / "etc/systemd/network/eth0.network").write_text(_NETWORK)
    (root / "etc/systemd/timesyncd.conf.d").mkdir()
    (root / "etc/systemd/timesyncd.conf.d/vmext.conf").write_text(_TIME)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text(_RESOLVER)
    (root / "etc/ssh/sshd_config.d/vmext.conf").write_text(_SSHD)
    # Empty: each machine makes one of its own at its first boot. The name comes with the kernel's command line.
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise VirtualMachineError(f"{folder} has {len(found)} files {pattern}, and one was expected")
    return found[0]

"""The emulator's command line. It runs in the machine's folder and names files there relative to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Where the machine reaches this computer's loopback, in the emulator's own network.
HOST = "10.0.2.2"
#: The network card's name in the monitor.
CARD = "nic0"
DISK = "disk.qcow2"
MONITOR = "monitor.sock"
#: No hardware clock: the kernel begins in 1970, as on a board without a battery, and finds no device to ask.
NO_RTC = "1970-01-01T00:00:00"
_NO_RTC_DEVICE = "initcall_blacklist=cmos_init"
#: What only takes time where every instruction is emulated, and no test looks at.
_UNITS = (
    "systemd-binfmt.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
)
#: Ciphers for processors that have instructions for them (each tests itself), other machines in this one, and devices
#: that it does not have.
_MODULES = (
    "aesni_intel",
    "crc32_pclmul",
    "crct10dif_pclmul",
    "ghash_clmulni_intel",
    "sha1_ssse3",
    "sha256_ssse3",
    "sha512_ssse3",
    "kvm",
    "kvm_amd",
    "powernow_k8",
    "acpi_cpufreq",
    "ata_piix",
    "floppy",
    "psmouse",
)
_SHORTER_BOOT = (
    # What is printed is emulated character by character; the journal has it all.
    "loglevel=5",
    f"module_blacklist={','.join(_MODULES)}",
    *(f"systemd.mask={unit}" for unit in _UNITS),
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is made of.

    Attributes:
        uuid: its product's, as the firmware says it.
        memory_mib: its memory.
        processors: how many; each is a thread here.
        clock: what its hardware clock says when it is switched on, ``2040-01-01T00:00:00`` in UTC; empty for the true
            time, `NO_RTC` for none.
    """

    uuid: str
    memory_mib: int = 768
    processors: int = 2
    clock: str = ""


def command(
    hardware: Hardware, *, name: str, kernel: Path, initrd: Path, serial: Path, more: Sequence[str] = ()
) -> list[str]:
    """Return the command that starts a machine; it stands still until its monitor is told to go on.

    Args:
        hardware: what it is made of.
        name: its host name.
        kernel: started without a boot loader.
        initrd: what the kernel starts first.
        serial: the file that takes what it prints on its console, appended.
        more: words for the kernel's command line.
    """
    words = ["root=/dev/vda", "rw", "console=ttyS0", "net.ifnames=0", f"systemd.hostname={name}", *_SHORTER_BOOT, *more]
    if hardware.clock == NO_RTC:
        words.append(_NO_RTC_DEVICE)
    return [
        # Whoever sits at this computer comes first.
        "nice",
        "-n",
        "10",
        "qemu-system-x86_64",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        # Not KVM: computers that are virtual machines themselves say that they have it, and hang.
        "-accel",
        "tcg,thread=multi,tb-size=256",
        "-cpu",
        "max",
        "-smp",
        str(hardware.processors),
        "-m",
        str(hardware.memory_mib),
        "-name",
        name,
        "-uuid",
        hardware.uuid,
        "-kernel",
        str(kernel),
        "-initrd",
        str(initrd),
        "-append",
        " ".join(words),
        "-drive",
        f"file={DISK},if=virtio,format=qcow2",
        "-netdev",
        # A port that the kernel gives: the monitor says which.
        "user,id=n0,hostfwd=tcp:127.0.0.1:0-:22",
        "-device",
        f"virtio-net-pci,id={CARD},netdev=n0",
        "-device",
        "virtio-rng-pci",
        "-chardev",
        f"file,id=console,path={serial},append=on",
        "-serial",
        "chardev:console",
        "-qmp",
        f"unix:{MONITOR},server=on,wait=off",
        "-rtc",
        f"base={hardware.clock or 'utc'}",
        "-S",
    ]


def overlay(base: Path) -> list[str]:
    """Return the command that makes a machine's disk: what it writes, over a disk that stays as it is."""
    return ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", DISK]


def ssh_port(usernet: str) -> int:
    """Return the port of this computer that leads to the machine's ssh, from the monitor's ``info usernet``.

    Raises:
        ValueError: it names none.
    """
    for line in usernet.splitlines():
        # Protocol[State], descriptor, source address and port, destination address and port, queues.
        fields = line.split()
        if len(fields) > 5 and fields[0] == "TCP[HOST_FORWARD]" and fields[5] == "22":
            return int(fields[3])
    raise ValueError(f"no port is forwarded: {usernet!r}")

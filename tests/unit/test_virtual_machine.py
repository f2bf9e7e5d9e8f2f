"""Virtual machines: the emulator's command, what a disk is known by, and which packages are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtual_machine import emulator, host, image
from virtual_machine.emulator import Hardware

USERNET = """Hub 0 (#net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   17       127.0.0.1 40001       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  13       127.0.0.1 40001       10.0.2.15    22     0     0
"""


def command(hardware: Hardware) -> list[str]:
    return emulator.command(
        hardware, name="debian-1", kernel=Path("/k"), initrd=Path("/i"), serial=Path("/s"), more=("quiet",)
    )


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_a_machine_is_emulated_and_reached_on_loopback_alone() -> None:
    words = command(Hardware("uuid-1", memory_mib=512, processors=1))

    assert option(words, "-accel").startswith("tcg")
    assert option(words, "-netdev") == "user,id=n0,hostfwd=tcp:127.0.0.1:0-:22"
    assert option(words, "-uuid") == "uuid-1"
    assert (option(words, "-m"), option(words, "-smp")) == ("512", "1")
    assert {"systemd.hostname=debian-1", "quiet"} <= set(option(words, "-append").split())
    assert words[:4] == ["nice", "-n", "10", "qemu-system-x86_64"]


@pytest.mark.parametrize(
    ("clock", "base", "has_device"),
    [
        ("", "utc", True),
        ("2040-01-01T00:00:00", "2040-01-01T00:00:00", True),
        (emulator.NO_RTC, emulator.NO_RTC, False),
    ],
)
def test_a_clock_is_right_or_wrong_or_missing(clock: str, base: str, has_device: bool) -> None:
    words = command(Hardware("uuid-1", clock=clock))

    assert option(words, "-rtc") == f"base={base}"
    assert ("initcall_blacklist=cmos_init" not in option(words, "-append")) is has_device


def test_the_port_of_ssh_is_the_one_that_is_forwarded() -> None:
    assert emulator.ssh_port(USERNET) == 40001
    with pytest.raises(ValueError, match="no port"):
        emulator.ssh_port("Hub 0 (#net0):\n")


def test_a_disk_is_known_by_its_release_and_its_packages() -> None:
    one = image.key("bookworm", ["a", "b"])

    assert one == image.key("bookworm", ["b", "a"])
    assert one.startswith("debian-bookworm-")
    assert len({one, image.key("bullseye", ["a", "b"]), image.key("bookworm", ["a", "b", "c"])}) == 3


def test_a_package_is_missing_once_whichever_of_its_programs_are() -> None:
    assert host.missing(host.TO_BUILD, lambda program: program not in ("ssh", "ssh-keygen", "mke2fs")) == [
        "e2fsprogs",
        "openssh-client",
    ]
    assert host.missing(host.TO_BUILD, lambda _: True) == []

"""An ext4 in a file, by way of a loop device, whose power can be cut: what was not synced is lost, as on a machine.

The kernel takes the loop device away with the last mount of it, whatever ended whoever had made it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

from simulated_guest.errors import SetupError

SIZE_BYTES = 1 << 30
#: _IOR('X', 125, __u32) and its flag for "as it is: not even the journal is written".
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_RELEASED_WITHIN_S = 20.0


def make(image: Path, target: Path) -> None:
    """Make an ext4 in a file, and mount it. Raises SetupError."""
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=16", "-E", options, str(image))
    _mount(image, target)


def shut_down(target: Path) -> None:
    """Have a mounted ext4 take nothing more to its disk from now on. Raises SetupError."""
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    except OSError as error:
        raise SetupError(f"can't cut the power of {target}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def mount_again(image: Path, target: Path) -> None:
    """Mount an ext4 that was unmounted, once nobody has it any more; its journal is replayed. Raises SetupError."""
    deadline = time.monotonic() + _RELEASED_WITHIN_S
    while _is_attached(image):
        if time.monotonic() > deadline:
            raise SetupError(f"{image} is still in use {_RELEASED_WITHIN_S:.0f} s after its power was cut")
        time.sleep(0.005)
    _mount(image, target)


def _is_attached(image: Path) -> bool:
    """Tell whether a loop device has a file: mounted twice it would be torn to pieces."""
    for known in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if known.read_text().strip() == str(image):
                return True
        except OSError:
            continue  # gone while it was looked at
    return False


def _mount(image: Path, target: Path) -> None:
    _run("mount", "-t", "ext4", "-o", "loop", str(image), str(target))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetupError(f"can't run {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise SetupError(f"{command[0]} failed with {done.returncode}: {done.stderr.strip()[-500:]}")

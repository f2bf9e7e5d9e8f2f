"""Virtual machines for tests: a Debian with systemd, a kernel and a clock of its own, in an emulator.

A simulated guest (`simulated_guest`) starts in half a second and is the place for what depends on the agent alone. A
virtual machine takes half a minute, and is for what only a whole system does: systemd's orderly reboot, a clock that is
wrong, a network that comes late, a kernel that kills for memory.

It reaches servers on this computer's loopback at `HOST`. It is emulated, so that no device of the computer is needed.
"""

from virtual_machine.emulator import HOST, NO_RTC, Hardware
from virtual_machine.errors import UnavailableError, VirtualMachineError
from virtual_machine.image import Image, obtain
from virtual_machine.machine import Machine, running
from virtual_machine.shell import CommandError, NotReachedError

__all__ = [
    "HOST",
    "NO_RTC",
    "CommandError",
    "Hardware",
    "Image",
    "Machine",
    "NotReachedError",
    "UnavailableError",
    "VirtualMachineError",
    "obtain",
    "running",
]

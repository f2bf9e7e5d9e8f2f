"""Simulated guests: this machine seen through namespaces of its own, with a disk that is thrown away.

A program in a guest is root, installs packages and writes under /var/lib/waagent, and the host's files stay as they
are. The network is the host's, so that a guest reaches a control plane on loopback. It is a tool for tests and the
demo, and no wall against a hostile root: the guest's root is the host's root in the full form.
"""

from simulated_guest.errors import GuestError, GuestUnavailableError
from simulated_guest.guest import Guest, Process, Service, python
from simulated_guest.lifetime import attach, names, running, start, stop

__all__ = [
    "Guest",
    "GuestError",
    "GuestUnavailableError",
    "Process",
    "Service",
    "attach",
    "names",
    "python",
    "running",
    "start",
    "stop",
]

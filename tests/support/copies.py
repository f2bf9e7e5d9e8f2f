"""Copies of a machine: what a clone, a restored backup or a golden image has of an agent's files."""

from __future__ import annotations

from collections.abc import Sequence

import simulated_guest

#: All that an agent and its handlers keep.
FOLDERS = ("/etc/vmext", "/var/lib/vmext", "/var/lib/waagent")


def copy(source: simulated_guest.Guest, target: simulated_guest.Guest, folders: Sequence[str] = FOLDERS) -> None:
    """Put folders of one guest into another, as they are, in the place of what is there."""
    names = [folder.lstrip("/") for folder in folders]
    packed = source.run(["tar", "-C", "/", "--create", "--ignore-failed-read", *names]).stdout
    target.run(["rm", "-rf", *folders])
    target.run(["tar", "-C", "/", "--extract", "--same-owner", "--preserve-permissions"], input=packed)


def same_facts(source: simulated_guest.Guest, target: simulated_guest.Guest) -> None:
    """Make two guests look like one machine, as clones of a hypervisor that says little do: call it before a start."""
    target.write("/etc/machine-id", source.read("/etc/machine-id"), mode=0o444)

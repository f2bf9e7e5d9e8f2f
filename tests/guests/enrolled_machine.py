"""A machine for tests of its identity: it is enrolled by what ``kubectl vmext enroll`` would print."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import simulated_guest
from development import credentials
from guests.agent_machine import ANCHOR_UID, VM_UID, Machine
from vmext_operator.api.goal_state import name_of
from vmext_operator.cluster import envelopes
from vmext_operator.core import certificate

UID, ANCHOR = VM_UID, ANCHOR_UID
COMMAND = [simulated_guest.python(), str(Path(__file__).resolve().parents[2] / "agent/vmext_agent/__main__.py")]
IDENTITY = "/var/lib/vmext/identity"


def bundle(machine: Machine, **changed: str | None) -> dict[str, Any]:
    """Return what ``kubectl vmext enroll`` would print."""
    made = {
        "server": machine.cluster.server,
        "ca": machine.cluster.ca_file.read_text(),
        "namespace": machine.api.namespace,
        "name": machine.name,
        "uid": UID,
        "anchorUID": ANCHOR,
        "goalState": name_of(changed.get("name") or machine.name, ANCHOR),
        "token": credentials.issue(machine.api, machine.name, ANCHOR),
    }
    return {name: value for name, value in (made | changed).items() if value is not None}


def run(machine: Machine, *arguments: str, given: Mapping[str, Any] | bytes = b"") -> tuple[int, str, str]:
    """Run the agent's program on a machine; return its exit code and what it printed."""
    data = given if isinstance(given, bytes) else json.dumps(given).encode()
    done = machine.guest.run([*COMMAND, *arguments], input=data, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def mode(machine: Machine, path: str) -> int:
    """Return the mode of a file on a machine."""
    return stat.S_IMODE(os.stat(machine.guest.path(path)).st_mode)


def pem(machine: Machine, name: str = "machine") -> str:
    """Return a machine's certificate, as its own file has it: in use, or ``next``."""
    text = machine.guest.read(f"{IDENTITY}/{name}.pem").decode()
    return text[text.index("-----BEGIN CERTIFICATE-----") :]


def thumbprint(machine: Machine, name: str = "machine") -> str:
    """Return the thumbprint of a machine's certificate."""
    return certificate.check(pem(machine, name), UID).thumbprint


def patch_goal(machine: Machine, **spec: Any) -> None:
    """Change parts of the goal that are not its extensions, as the operator does."""
    machine.more |= spec
    machine.apply()


def sealed(machine: Machine, content: bytes, name: str = "machine") -> tuple[str, str]:
    """Return content encrypted to a machine's certificate, and its thumbprint."""
    return envelopes.seal(content, pem(machine, name)), thumbprint(machine, name)

"""What the agent says of the machine it runs on."""

from __future__ import annotations

import os
import sys

from vmext_agent import __version__, files, text


def facts(root: str = "/") -> dict[str, str]:
    """Return ``status.guest`` of a goal state, each value within its limit."""
    release = os_release(root)
    system = os.uname()
    found = {
        "os": (release.get("ID", "linux"), 64),
        "version": (release.get("VERSION_ID", ""), 64),
        "kernel": (system.release, 128),
        "arch": (system.machine, 32),
        "hostname": (system.nodename, 253),
        "python": (python_version(), 32),
    }
    return {key: text.clean(value)[:limit] for key, (value, limit) in found.items() if value}


def python_version() -> str:
    """Return the version of this Python, as in 3.11.2."""
    return ".".join(str(part) for part in sys.version_info[:3])


def os_release(root: str = "/") -> dict[str, str]:
    """Return the fields of os-release; empty where there is none."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        try:
            content = files.read(os.path.join(root, path), 1 << 16).decode("utf-8", "replace")
        except OSError:
            continue
        pairs = (line.partition("=") for line in content.splitlines() if not line.startswith("#"))
        return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
    return {}


def version_lines(root: str = "/") -> str:
    """Return the three lines of ``--version`` (contract, 9)."""
    release = os_release(root)
    system = f"{release.get('ID', 'linux')} {release.get('VERSION_ID', '')}".strip()
    return (
        f"vmext-agent-{__version__} running on {system}\nPython: {python_version()}\nGoal state agent: {__version__}\n"
    )

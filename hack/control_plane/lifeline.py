"""Become a program that is recorded, and that ends with the one who started it.

Run by its path, by a bare interpreter: ``lifeline.py PARENT RECORD PROGRAM ARGUMENT...``. PARENT is the pid of the one
it shall end with, 0 for none; RECORD is a file to write, empty for none. The program takes over this very process, so
that who it is can be written down before it exists: there is no moment in which it runs and nobody knows.
(A function between fork and exec, as subprocess offers, may deadlock where there are threads.)
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def birth(pid: int) -> tuple[int, str] | None:
    """Return when a process started, in clock ticks since boot, and its state's letter; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything; what follows the last one is fixed.
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[19]), fields[0]


def boot() -> str:
    """Return what names this run of the kernel."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def main(arguments: list[str]) -> None:
    """Become the program."""
    parent, record, *command = arguments
    if parent != "0":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit("the one who started this is gone already")
    if record:
        born = birth(os.getpid())
        assert born is not None
        draft = f"{record}.draft"
        with open(draft, "w", encoding="ascii") as file:
            json.dump({"pid": os.getpid(), "started": born[0], "boot": boot()}, file)
        os.replace(draft, record)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]} can't be run: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

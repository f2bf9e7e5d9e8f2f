"""What the end of a command means: its own doing, or that of whoever stopped the machine, its slice or itself. Pure."""

from __future__ import annotations

import signal
from typing import NamedTuple

OUT_OF_MEMORY, INTERRUPTED = "OutOfMemory", "Interrupted"
_BY_SIGNAL = frozenset(128 + one for one in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM))


class Evidence(NamedTuple):
    """What is known of how a command ended.

    Attributes:
        code: its exit status, as a shell has it.
        was_stopped: the shell that watches it was told to end too.
        is_of_this_boot: it ran in the boot that the machine is in.
        stopped_for: why an agent had it end: TimedOut or Cancelled; empty for no agent did.
        out_of_memory: the kernel ended something of the handler's for its memory limit meanwhile.
    """

    code: int
    was_stopped: bool = False
    is_of_this_boot: bool = True
    stopped_for: str = ""
    out_of_memory: bool = False


def reason(evidence: Evidence) -> str:
    """Return why a command ended; empty where its exit status says it all.

    Interrupted means that it did not come to its own end: it is begun again, as after a loss of power.
    """
    if evidence.stopped_for:
        return evidence.stopped_for
    if evidence.code == 0:
        # Whoever reboots the machine as the last act ends well.
        return ""
    if evidence.out_of_memory:
        # systemd stops what is left of a scope in which this happened, the shell too.
        return OUT_OF_MEMORY
    if evidence.was_stopped:
        return INTERRUPTED
    if evidence.code in _BY_SIGNAL and not evidence.is_of_this_boot:
        # No agent lived to see it end: everything was being ended, and the shell was not told as the others were.
        return INTERRUPTED
    return ""

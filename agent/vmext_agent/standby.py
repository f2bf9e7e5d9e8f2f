"""A copy of an enrolled machine: it takes no orders, and waits until it is told which machine it is.

No goal is taken, from the disk or from the API server; no command is run, no token is renewed, and nothing is reported
in the original's name. What is enabled on it stays as it is.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NoReturn

from vmext_agent import clock, holder, installation, machine_facts, process, same_machine, text
from vmext_agent.cluster import Cluster
from vmext_agent.errors import AgentError

if TYPE_CHECKING:
    from vmext_agent.config import Config
    from vmext_agent.installation import Check, Standing
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log

CONFIRM = "if that is right: vmext-agent confirm"
_REMIND_S = 3600.0
#: How often a copy says that it is there.
_TELL_S = 300.0


def advice(config: Config) -> str:
    """Return what people can do about a copy."""
    return (
        "if this is another machine, declare it and paste what kubectl vmext enroll NAME prints; if it is"
        f" {config.name} itself, on other hardware: vmext-agent confirm; to take the place of one that still runs,"
        f" paste what kubectl vmext enroll {config.name} --again prints"
    )


def reason(config: Config, layout: Layout, checked: Check) -> str:
    """Return why the agent takes no orders on this machine, empty where it does."""
    if checked.copy_of:
        return checked.copy_of
    is_enrolled = bool(config.uid and config.anchor_uid)
    if checked.installation is None and is_enrolled and not os.path.exists(f"{layout.identity}/machine.pem"):
        return f"{config.path} is that of {config.namespace}/{config.name}, whose key is not on this machine"
    return ""


def at_start(config: Config, layout: Layout, log: Log) -> Standing:
    """Return how this machine stands, once it may take orders; what was not known of it before is noted.

    Does not return on a machine that may not.
    """
    checked, boot = installation.check(layout, machine_facts.find(layout.root)), process.boot()
    why = reason(config, layout, checked)
    if why:
        _stand_by(config, checked, boot, why, log)
    if checked.comparison.differences:
        log.warning("This machine has changed since it was enrolled", what=checked.comparison.words(), advice=CONFIRM)
    own = installation.noted(config, checked)
    if own != checked.installation:
        try:
            installation.save(layout, own)
        except OSError as error:
            # It is tried again at the next start, and a full disk says nothing of which machine this is.
            log.warning("What this machine is can't be noted", error=error)
    return installation.standing(own, checked, boot)


def _stand_by(config: Config, checked: Check, boot: str, why: str, log: Log) -> NoReturn:
    """Take no orders until this process is ended: ``vmext-agent enroll`` and ``confirm`` do that.

    All that is ever written to the API server from here is that there is a copy, under a name of its own.
    """
    remind_at, failed = 0.0, ""
    while True:
        if time.monotonic() >= remind_at:
            log.error("This machine takes no orders", why=why, advice=advice(config))
            remind_at = time.monotonic() + _REMIND_S
        try:
            _tell(config, checked, boot, notice(checked, why, time.time()))
            failed = ""
        except AgentError as error:
            if type(error).__name__ != failed:
                log.warning("The cluster can't be told of this copy; trying again", error=error)
            failed = type(error).__name__
        time.sleep(_TELL_S)


def notice(checked: Check, why: str, now: float) -> dict[str, object]:
    """Return what a copy says of itself: part of ``GoalState.status.copies``."""
    return {
        "hostname": text.clean(os.uname().nodename)[:253],
        "machine": same_machine.describe(checked.found),
        "reason": text.cut(text.clean(why), 1024),
        "time": clock.rfc3339(now),
    }


def withdraw(config: Config, layout: Layout) -> None:
    """Take back what this machine said of itself as a copy, while it has the token for that. Raises AgentError."""
    checked = installation.check(layout, machine_facts.find(layout.root))
    if reason(config, layout, checked):
        _tell(config, checked, process.boot(), None)


def _tell(config: Config, checked: Check, boot: str, content: dict[str, object] | None) -> None:
    own = checked.installation.id if checked.installation is not None else ""
    name = holder.identify(own, same_machine.lasting(checked.found), boot).rpartition("/")[2]
    client = Cluster(config)
    try:
        client.patch_status({"copies": {name: content}})
    finally:
        client.close()

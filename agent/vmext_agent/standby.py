"""A copy of an enrolled machine: it takes no orders, and waits until it is told which machine it is.

No goal is taken, from the disk or from the API server; no command is run, no token is renewed. What is enabled on it
stays as it is.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NoReturn

from vmext_agent import installation, machine_facts

if TYPE_CHECKING:
    from vmext_agent.config import Config
    from vmext_agent.installation import Check
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log

ADVICE = (
    "if this is another machine, declare it and paste what kubectl vmext enroll NAME prints; if it is the same one:"
    " vmext-agent confirm"
)
CONFIRM = "if that is right: vmext-agent confirm"
_REMIND_S = 3600.0


def reason(config: Config, layout: Layout, checked: Check) -> str:
    """Return why the agent takes no orders on this machine, empty where it does."""
    if checked.copy_of:
        return checked.copy_of
    is_enrolled = bool(config.uid and config.anchor_uid)
    if checked.installation is None and is_enrolled and not os.path.exists(f"{layout.identity}/machine.pem"):
        return f"{config.path} is that of {config.namespace}/{config.name}, whose key is not on this machine"
    return ""


def at_start(config: Config, layout: Layout, log: Log) -> str:
    """Return why the agent takes no orders; where it does, note what was not known of the machine before."""
    checked = installation.check(layout, machine_facts.find(layout.root))
    why = reason(config, layout, checked)
    if why:
        return why
    if checked.comparison.differences:
        log.warning("This machine has changed since it was enrolled", what=checked.comparison.words(), advice=CONFIRM)
    try:
        installation.note(layout, config, checked)
    except OSError as error:
        # It is tried again at the next start, and a full disk says nothing of which machine this is.
        log.warning("What this machine is can't be noted", error=error)
    return ""


def stand_by(why: str, log: Log) -> NoReturn:
    """Take no orders until this process is ended: ``vmext-agent enroll`` and ``confirm`` do that."""
    while True:
        log.error("This machine takes no orders", why=why, advice=ADVICE)
        time.sleep(_REMIND_S)

"""The installation of an agent: which machine it was enrolled on, kept on disk and compared at every start.

A copy of the files (a clone, a restored backup, a golden image) finds itself on another machine by it, and takes no
orders as the one that it was copied from.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files, holder, same_machine
from vmext_agent.same_machine import Comparison, Sameness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.config import Config
    from vmext_agent.holder import Claim
    from vmext_agent.layout import Layout

_LIMIT = 1 << 16


class Installation(NamedTuple):
    """What was noted when the machine was enrolled.

    Attributes:
        id: of the installation, random: the same on every copy of it.
        uid: of the VirtualMachine that it was enrolled as.
        anchor_uid: of the enrolment.
        machine: namespace and name of that VirtualMachine, for people.
        facts: of the machine.
        yielded: why it gave way to another machine that has the same installation; empty while it did not.
    """

    id: str
    uid: str
    anchor_uid: str
    machine: str
    facts: Mapping[str, str]
    yielded: str = ""


class Check(NamedTuple):
    """Whether the installation belongs to the machine that it is on.

    Attributes:
        installation: as it was noted, None for one that nothing was noted of.
        found: the facts of this machine.
        comparison: of the two.
    """

    installation: Installation | None
    found: Mapping[str, str]
    comparison: Comparison

    @property
    def copy_of(self) -> str:
        """Return why it is a copy, in words; empty where it is none."""
        if self.installation is None:
            return ""
        if self.comparison.sameness is Sameness.COPY:
            return f"{self.installation.machine} was enrolled on another machine: {self.comparison.words()}"
        return self.installation.yielded


class Standing(NamedTuple):
    """That a machine is the one that was enrolled, and by what name it says so."""

    installation: Installation
    claim: Claim


def standing(own: Installation, checked: Check, boot: str) -> Standing:
    """Return how a machine stands, in one boot, that is no copy."""
    has_changed = checked.comparison.sameness is Sameness.CHANGED
    name = holder.identify(own.id, same_machine.lasting(checked.found), boot)
    return Standing(own, holder.Claim(name, same_machine.describe(checked.found), has_changed=has_changed))


def check(layout: Layout, found: Mapping[str, str]) -> Check:
    """Compare what was noted with the facts of this machine."""
    try:
        noted = load(layout)
    except (OSError, ValueError) as error:
        unknown = Installation("", "", "", "", {}, f"which machine was enrolled can't be told: {error}")
        return Check(unknown, found, Comparison(Sameness.SAME))
    if noted is None:
        return Check(None, found, Comparison(Sameness.SAME))
    return Check(noted, found, same_machine.compare(noted.facts, found))


def noted(config: Config, checked: Check) -> Installation:
    """Return the installation of a machine that is no copy, with what was not known of it before.

    An enrolment of which nothing was noted is taken to belong to the machine that it is found on.
    """
    known = checked.installation
    if known is None or (known.uid, known.anchor_uid) != (config.uid, config.anchor_uid):
        return make(config, checked.found, known.id if known is not None and known.uid == config.uid else "")
    return known._replace(facts=same_machine.complete(known.facts, checked.found))


def make(config: Config, found: Mapping[str, str], identifier: str = "") -> Installation:
    """Return the installation of the machine with these facts, with an id of its own unless one is given."""
    machine = f"{config.namespace}/{config.name}"
    return Installation(identifier or os.urandom(8).hex(), config.uid, config.anchor_uid, machine, found)


def load(layout: Layout) -> Installation | None:
    """Return what was noted, None for nothing. Raises OSError, and ValueError where it can't be understood."""
    try:
        document = json.loads(files.read(layout.installation, _LIMIT))
        facts = {str(name): str(value) for name, value in document["facts"].items()}
        texts = (document[name] for name in ("id", "uid", "anchorUID", "machine"))
        identifier, uid, anchor_uid, machine = (str(one) for one in texts)
        return Installation(identifier, uid, anchor_uid, machine, facts, str(document.get("yielded", "")))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{layout.installation} can't be understood: {error!r:.100}") from None


def save(layout: Layout, installation: Installation) -> None:
    """Write it down. Raises OSError."""
    document = {
        "id": installation.id,
        "uid": installation.uid,
        "anchorUID": installation.anchor_uid,
        "machine": installation.machine,
        "facts": dict(installation.facts),
        **({"yielded": installation.yielded} if installation.yielded else {}),
    }
    files.make_folder(layout.own, 0o700)
    files.write(layout.installation, json.dumps(document, indent=1).encode(), 0o600)

"""What was enrolled here before, when a machine is enrolled: the same, the same name made anew, or another machine.

What extensions did on the machine stays in every case: their folders, and the sequence numbers that they have seen.
"""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import files, identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmext_agent.identity import Identity
    from vmext_agent.layout import Layout


class Kind(enum.Enum):
    """What an enrolment is, as seen from what was there before."""

    FIRST = "first"
    #: As the same VirtualMachine, by a machine that is no copy.
    AGAIN = "again"
    #: As the same VirtualMachine and for the same enrolment, on other hardware.
    CONFIRMED = "confirmed"
    #: As the same VirtualMachine, by a copy, for another enrolment: the original is shut out by that.
    TAKEN_OVER = "taken over"
    #: As a VirtualMachine of the same name that was deleted and declared again.
    REMADE = "remade"
    #: A copy, or a machine made from an image, becomes a machine of its own.
    ANOTHER = "another"
    REFUSED = "refused"


class Predecessor(NamedTuple):
    """What is there before an enrolment; texts are empty where they are not known.

    Attributes:
        machine: namespace and name.
        uid: of its VirtualMachine.
        anchor_uid: of its enrolment.
        is_whole: whether configuration and key are there; else somebody took one away, and this is what is left.
        copy_of: why this machine is a copy of it, in words; empty where it is none.
    """

    machine: str = ""
    uid: str = ""
    anchor_uid: str = ""
    is_whole: bool = False
    copy_of: str = ""


def decide(before: Predecessor, given: Mapping[str, str]) -> Kind:
    """Return what an enrolment is."""
    if not before.uid:
        return Kind.FIRST
    if before.uid == given["uid"]:
        if not before.copy_of:
            return Kind.AGAIN
        return Kind.CONFIRMED if before.anchor_uid == given["anchorUID"] else Kind.TAKEN_OVER
    if before.copy_of:
        return Kind.ANOTHER
    if before.machine == f"{given['namespace']}/{given['name']}":
        return Kind.REMADE
    # Who took a part away and left the rest prepared an image.
    return Kind.REFUSED if before.is_whole else Kind.ANOTHER


def words(kind: Kind, before: Predecessor) -> str:
    """Return what such an enrolment does, for people; empty where there is nothing to tell."""
    name = before.machine or "a machine that was enrolled before"
    removed = f"the key, the token and the goal state of {name} are removed from here"
    stays = "what extensions did here stays"
    if kind is Kind.CONFIRMED:
        return f"this machine is {name} from now on, though it differs: {before.copy_of}"
    if kind is Kind.TAKEN_OVER:
        return f"this copy is {name} from now on: it gets a key of its own, and the other one is shut out; {stays}"
    if kind is Kind.REMADE:
        return (
            f"{name} was deleted and declared again: this machine is the new one now; it gets a new key and"
            f" certificate, the goal state of the old one is forgotten, and {stays}"
        )
    if kind is Kind.ANOTHER:
        return f"this has what is {name}'s and is another machine now: {removed}, {name} itself stays, and {stays}"
    return ""


def make_way(layout: Layout, kind: Kind) -> None:
    """Remove what the machine that is enrolled now must not have of the one before. Raises OSError, IdentityError.

    Done again it comes to the same, so that what was cut off is mended by the next paste.
    """
    if kind in (Kind.FIRST, Kind.AGAIN, Kind.CONFIRMED):
        return
    files.remove(layout.goal)
    if kind is Kind.REMADE:
        # What is encrypted to the key before can still be read here, for as long as a settings file names it.
        files.remove(f"{layout.identity}/next.pem")
        return
    # What ran belongs to another machine, and so does its key.
    for folder in (layout.commands, layout.output):
        files.remove(folder)
    forget_keys(layout)
    for name in os.listdir(layout.handlers) if os.path.isdir(layout.handlers) else ():
        # Whoever cleared the image in part may have left these alone.
        if identity.PLACED.fullmatch(name):
            files.remove(f"{layout.handlers}/{name}")


def forget_keys(layout: Layout) -> None:
    """Remove every key and certificate, also where handlers look for them. Raises OSError, IdentityError."""
    for one in (identity.load(layout), identity.load_next(layout), *identity.load_earlier(layout)):
        for path in identity.placed(layout, one.thumbprint) if one is not None else ():
            files.remove(path)
    files.remove(layout.identity)


def key(layout: Layout, kind: Kind) -> Identity | None:
    """Return the key to go on with, None where another is to be made. Raises IdentityError."""
    own = identity.load(layout)
    return own if own is not None and kind in (Kind.FIRST, Kind.AGAIN, Kind.CONFIRMED) else None

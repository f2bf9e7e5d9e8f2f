"""All that a machine's goal state is compiled from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vmext_operator.api.credential import NextToken
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import Entry, Goal, Report
from vmext_operator.api.protected import Sealed
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import verdict


@dataclass(frozen=True, slots=True)
class Declared:
    """All that the compile looks at.

    Attributes:
        machine: the VirtualMachine.
        extensions: its extensions, in any order.
        catalog: the catalog's entries by lower-case ``publisher.type``.
        last: the goal in force, None where there is none yet.
        report: what the machine reported, None where it never did.
        gone: UIDs that the last goal has and that the API server, asked for each by name, no longer has.
        now: for the deadlines of deletions.
        credential: the token that the machine is to use next, None for none.
        protected: by UID, an extension's protected settings encrypted for the machine, or why there are none.
        refused: by UID, why an extension's settings can't travel.
        paused: whether the operator is told to leave all goals as they are.
        elsewhere: by name, the machines of those extensions that one of these depends on and that are another's.
    """

    machine: VirtualMachine
    extensions: Sequence[VirtualMachineExtension]
    catalog: Mapping[str, Sequence[ExtensionImage]]
    last: Goal | None
    report: Report | None
    gone: frozenset[str]
    now: datetime
    credential: NextToken | None = None
    protected: Mapping[str, Sealed | verdict.Held] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, verdict.Held] = field(default_factory=dict)
    paused: bool = False

    def before(self, extension: VirtualMachineExtension) -> Entry | None:
        """Return an extension's entry in the last goal: not that of one of the same name that is gone."""
        before = self.last.entry(extension.meta.key.name) if self.last is not None else None
        return before if before is not None and before.uid == extension.meta.uid else None

    def leaves_since(self, extension: VirtualMachineExtension) -> datetime | None:
        """Return since when an extension is to leave its machine: it is deleted, or the machine with all it has is."""
        if extension.meta.deleted is None and self.machine.uninstalls:
            return self.machine.meta.deleted
        return extension.meta.deleted

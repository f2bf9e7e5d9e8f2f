"""All that a machine's goal state is compiled from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vmext_operator.api.credential import NextToken
from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import Entry, EntryState, Goal, Handler, Report
from vmext_operator.api.protected import Sealed
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.core import undeclared, verdict


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

    def leaves_as(self, extension: VirtualMachineExtension) -> EntryState | None:
        """Return how an extension is to leave its machine: by its policy, and not by its commands once it is late."""
        since = self.leaves_since(extension)
        if since is None:
            return None
        late = self.now >= since + timedelta(seconds=extension.deletion_timeout_seconds)
        return EntryState.ORPHAN if extension.orphan_on_delete or late else EntryState.UNINSTALL

    def lost(self, extension: VirtualMachineExtension) -> Handler | None:
        """Return what the machine has of an extension that is to leave and that its goal has not, None for nothing.

        Its status says so, where the goal was lost: with the catalog's help the machine can still be told to uninstall
        it. Or the machine says so, of what was declared nowhere before.
        """
        if self.leaves_since(extension) is None or self.before(extension) is not None:
            return None
        has_had = extension.status.get("sequenceNumber") is not None
        version = extension.status.get("typeHandlerVersion") if has_had else None
        offered = self.catalog.get(extension.handler_key, ())
        image = next((one for one in offered if one.version.text == version), None)
        if image is None:
            return undeclared.handler_of(extension, self.report, self.extensions, offered)
        return Handler(image.handler_name, image.version.text, image.package, image.multi_config)

    def in_force(self) -> frozenset[str]:
        """Return the UIDs of the extensions that the machine has, and is not about to be left with."""
        last = self.last.extensions if self.last is not None else ()
        has = {entry.uid for entry in last if entry.state is not EntryState.ORPHAN}
        has |= {one.meta.uid for one in self.extensions if self.lost(one) is not None}
        return frozenset(has - {one.meta.uid for one in self.extensions if self.leaves_as(one) is EntryState.ORPHAN})

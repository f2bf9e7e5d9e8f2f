"""What one reconcile looks at: a machine, its extensions, its goal state, and what the catalog has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmext_operator.api.extension_image import ExtensionImage
from vmext_operator.api.goal_state import GoalState, Report
from vmext_operator.api.meta import Key
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.control.store import Store


@dataclass(frozen=True, slots=True)
class Scope:
    """One machine's part of the store, as it is at one moment."""

    key: Key
    machine: VirtualMachine | None
    extensions: Sequence[VirtualMachineExtension]
    goal_state: GoalState | None
    #: Of enrolments that have ended, the newest first.
    former: Sequence[GoalState]
    catalog: Mapping[str, Sequence[ExtensionImage]]
    #: By name, the machines of what these extensions depend on and that is another's.
    elsewhere: Mapping[str, str]

    @property
    def uids(self) -> set[str]:
        """Return the UIDs of the machine and of its extensions."""
        found = {extension.meta.uid for extension in self.extensions}
        return found if self.machine is None else {*found, self.machine.meta.uid}

    @property
    def report(self) -> Report | None:
        """Return what the machine reported in its present enrolment, None where it never did."""
        return self.goal_state.report if self.goal_state is not None else None

    @property
    def goal_states(self) -> Sequence[GoalState]:
        """Return all that there are."""
        return [*([] if self.goal_state is None else [self.goal_state]), *self.former]

    @property
    def last(self) -> GoalState | None:
        """Return what the next goal goes on from: that of an enrolment which has ended, where there is none since."""
        return self.goal_state or next(iter(self.former), None)


def load(store: Store, key: Key) -> Scope:
    """Load the scope of a machine."""
    extensions, current = store.extensions_of(key), store.goal_state(key)
    return Scope(
        key=key,
        machine=store.machine(key),
        extensions=extensions,
        goal_state=current,
        former=[one for one in store.goal_states(key) if one is not current],
        catalog=store.catalog(extension.handler_key for extension in extensions),
        elsewhere=_elsewhere(store, key, extensions),
    )


def _elsewhere(store: Store, machine: Key, extensions: Sequence[VirtualMachineExtension]) -> dict[str, str]:
    found = {}
    for name in {name for extension in extensions for name in extension.depends_on}:
        other = store.extension(Key(machine.namespace, name))
        if other is not None and other.vm_key != machine:
            found[name] = other.vm_name
    return found

"""Reconcile one machine: load what is known, decide, and write only what differs.

The phases follow the order in which a crash between two of them does no harm: finalizers before the goal that needs
them, the goal before what is said of it, and a finalizer is taken off only when the machine is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vmext_operator.api import virtual_machine, virtual_machine_extension
from vmext_operator.api.goal_state import EntryState, Goal
from vmext_operator.api.meta import Key
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.api.virtual_machine_extension import VirtualMachineExtension
from vmext_operator.cluster.client import Client
from vmext_operator.cluster.events import Event
from vmext_operator.cluster.identities import Identities
from vmext_operator.control import heartbeats, scope, settings_check
from vmext_operator.control.budgets import Budgets
from vmext_operator.control.heartbeats import Heartbeats
from vmext_operator.control.identity import Keeper, Known
from vmext_operator.control.recorder import Recorder
from vmext_operator.control.secrets import Vault
from vmext_operator.control.settings_check import Checker
from vmext_operator.control.stages import Stages
from vmext_operator.control.store import Store
from vmext_operator.control.writer import Clock, Writer
from vmext_operator.core import (
    farewell,
    goal_compile,
    machine_status,
    merge_patch,
    projection,
    signature,
    transition,
    undeclared,
    verdict,
)
from vmext_operator.core.declared import Declared
from vmext_operator.core.farewell import Said
from vmext_operator.core.reachability import Presence
from vmext_operator.core.reasons import Reason
from vmext_operator.errors import NotFoundError, TransientClusterError

#: What lasts less is not written: a fast extension costs one status write, not three.
WORTH_WRITING_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What people can set.

    Attributes:
        namespace: the operator's own.
        token_s: for how long machines' tokens are asked for.
        long_lived: machines are given tokens that do not end.
        publisher_keys: what catalog entries have to be signed with, where their publisher is among them.
        leases_every_s: how often machines' Leases are read.
        paused: whether what machines are told of their extensions is to stay as it is.
    """

    namespace: str
    token_s: int
    long_lived: bool = False
    publisher_keys: signature.Keys = field(default_factory=dict)
    leases_every_s: float = heartbeats.EVERY_S
    paused: bool = False


class Reconciler:
    """Brings one machine at a time to what is declared.

    Args:
        client: the API server.
        store: the picture of the cluster; what is written is put into it at once.
        clock: wall and monotonic time.
        settings: what people can set.
        heartbeats: which machines are there.
        budgets: how many Events each machine may have.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        clock: Clock,
        settings: Settings,
        heartbeats_: Heartbeats,
        budgets: Budgets,
    ) -> None:
        self._client = client
        self._store = store
        self._writer = Writer(client, store, clock)
        self._recorder = Recorder(self._writer.tell, budgets, clock.text)
        self._clock = clock
        self._stages = Stages(clock.monotonic)
        self._heartbeats = heartbeats_
        requests = Identities(client)
        self._keeper = Keeper(requests, self._writer, clock, settings.token_s, long_lived=settings.long_lived)
        self._checker = Checker()
        self._vault = Vault(requests, clock, settings.namespace, self._checker)
        self._paused = settings.paused

    def secret_changed(self, secret: Key) -> None:
        """Take note that a Secret may be another one, for when the machines are reconciled that it is for."""
        self._vault.changed(secret)

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile a machine; return after how many seconds to look again, None for not without a change.

        Raises:
            ClusterError: a write failed; the machine is to be looked at again. All that was written stands.
        """
        times = (await self._reconcile(key), await self._recorder.flush(key))
        return min((seconds for seconds in times if seconds is not None), default=None)

    async def _reconcile(self, key: Key) -> float | None:
        loaded = scope.load(self._store, key)
        self._stages.keep(key, loaded.uids)
        self._vault.keep(key, loaded.uids)
        if loaded.machine is None:
            return await self._without_machine(loaded)
        known = await self._identify(loaded.machine, loaded)
        # What was written meanwhile is in the store.
        loaded = scope.load(self._store, key)
        machine = loaded.machine
        if machine is None:
            return await self._without_machine(loaded)

        considered = self._considered(loaded)
        declared = Declared(
            machine=machine,
            extensions=considered,
            catalog=loaded.catalog,
            last=loaded.last.goal if loaded.last is not None else None,
            report=loaded.last.report if loaded.last is not None else None,
            gone=await self._confirm_gone(loaded),
            now=self._clock.now(),
            credential=known.token,
            elsewhere=loaded.elsewhere,
            paused=self._paused,
        )
        images = settings_check.chosen_images(declared)
        found = await self._vault.seal(machine, considered, loaded.last, images)
        refused = self._checker.refusals(declared, images)
        compiled = goal_compile.compile_goal(replace(declared, protected=found.sealed, refused=refused))
        await self._protect(loaded, compiled.goal)
        if machine.meta.deleted is None or loaded.goal_state is not None:
            await self._write_goal(machine, loaded, compiled.goal)

        presence = self._heartbeats.presence(machine, loaded.report)
        released = await self._release(loaded, compiled.goal, presence)
        held, again = dict(compiled.held), [known.again_s, found.again_s]
        if machine.meta.deleted is not None:
            again.append(await self._release_machine(machine, loaded, released, compiled.goal, presence))
            stays = "it is uninstalled there first" if machine.uninstalls else "what it has stays on it"
            deleting = verdict.waits(Reason.VIRTUAL_MACHINE_DELETING, f"{key.name} is being deleted; {stays}")
            held |= {extension.meta.uid: deleting for extension in loaded.extensions if extension.meta.deleted is None}
        situations = [
            projection.Situation(
                extension,
                compiled.goal.entry(extension.meta.key.name),
                held.get(extension.meta.uid),
                loaded.report,
                presence,
                machine.allows_offline,
                is_enrolled=machine.is_enrolled,
            )
            for extension in loaded.extensions
            if extension not in released
        ]
        projected, times = await self._project(situations)
        again += times
        if machine.meta.deleted is None:
            status = machine_status.project(
                machine,
                loaded.report,
                presence,
                projected,
                known.refused,
                self._clock.now(),
                duplicate=self._heartbeats.duplicates(machine, loaded.report),
                paused=self._paused,
                others=undeclared.of_machine(loaded.report, loaded.extensions),
            )
            again.append(await self._write_machine(machine, status))
        again.extend(self._deadlines(loaded, released))
        return min((seconds for seconds in again if seconds is not None), default=None)

    # -- phases

    async def _identify(self, machine: VirtualMachine, loaded: scope.Scope) -> Known:
        """Give a machine its identity: our finalizer comes first, since what it is given is taken away again."""
        goal_state = loaded.goal_state
        if machine.meta.deleted is not None:
            return Known("", goal_state.goal.credential if goal_state is not None else None, None)
        await self._writer.add_finalizer(virtual_machine.PLURAL, machine.meta, virtual_machine.FINALIZER)
        return await self._keeper.keep(machine, goal_state, loaded.former)

    async def _write_goal(self, machine: VirtualMachine, loaded: scope.Scope, goal: Goal) -> None:
        """Write a machine's goal; what is left of enrolments that have ended goes once it is there.

        An apply goes on top of the very version that it was compiled from, which was not revoked. Of what is created
        nothing says so: therefore the anchor is looked at before it (by whoever identified the machine) and after it.
        """
        created = await self._writer.write_goal(machine.meta.key.namespace, loaded.goal_state, goal)
        if created is not None and not await self._keeper.still_has(machine, goal.anchor_uid):
            await self._writer.delete_goal_states([created])
            raise TransientClusterError(
                f"creating a GoalState for {machine.meta.key}", 409, "its anchor was deleted meanwhile"
            )
        await self._writer.delete_goal_states(loaded.former)

    def _considered(self, loaded: scope.Scope) -> Sequence[VirtualMachineExtension]:
        """Return the extensions to compile: nothing new comes onto a machine that is being deleted."""
        machine, known = loaded.machine, loaded.last
        if machine is None or machine.meta.deleted is None:
            return loaded.extensions
        uids = {entry.uid for entry in known.goal.extensions} if known is not None else set()
        return [extension for extension in loaded.extensions if extension.meta.uid in uids]

    async def _confirm_gone(self, loaded: scope.Scope) -> frozenset[str]:
        """Return the UIDs of entries whose extension the API server itself no longer has."""
        known = {extension.meta.uid for extension in loaded.extensions}
        gone = set()
        for entry in loaded.last.goal.extensions if loaded.last is not None else ():
            if entry.uid in known:
                continue
            try:
                found = await self._client.get(virtual_machine_extension.PLURAL, Key(loaded.key.namespace, entry.name))
            except NotFoundError:
                gone.add(entry.uid)
                continue
            self._store.observe(virtual_machine_extension.PLURAL, found)
            if found["metadata"]["uid"] != entry.uid:
                gone.add(entry.uid)
        return frozenset(gone)

    async def _protect(self, loaded: scope.Scope, goal: Goal) -> None:
        """Put our finalizer on what the goal is about to name, so that deleting it waits for the machine.

        What the machine has already, though it was declared nowhere, is as good as named.
        """
        named = {entry.uid for entry in goal.extensions if entry.state is EntryState.ENABLED}
        named |= undeclared.claimed(loaded.report, loaded.extensions)
        finalizer = virtual_machine_extension.FINALIZER
        await _all_of(
            self._writer.add_finalizer(virtual_machine_extension.PLURAL, extension.meta, finalizer)
            for extension in loaded.extensions
            if extension.meta.uid in named
            and extension.meta.deleted is None
            and finalizer not in extension.meta.finalizers
        )

    async def _release(self, loaded: scope.Scope, goal: Goal, presence: Presence) -> list[VirtualMachineExtension]:
        """Take our finalizer off those deleted extensions that the machine is done with; return them."""
        released = []
        for extension in loaded.extensions:
            if extension.meta.deleted is None:
                continue
            entry = goal.entry(extension.meta.key.name)
            if entry is not None and entry.uid != extension.meta.uid:
                entry = None
            said = farewell.say(extension, entry, loaded.report, loaded.machine, presence, self._clock.now())
            if said is None:
                continue
            if await self._writer.remove_finalizer(
                virtual_machine_extension.PLURAL, extension.meta, virtual_machine_extension.FINALIZER
            ):
                await self._recorder.record(loaded.key, _event(extension, said))
            released.append(extension)
        return released

    async def _release_machine(
        self,
        machine: VirtualMachine,
        loaded: scope.Scope,
        released: Sequence[VirtualMachineExtension],
        goal: Goal,
        presence: Presence,
    ) -> float | None:
        """Take away what belongs to a machine that is being deleted, then our finalizer: once nothing is waited for.

        Return for how long it is, None where that is done.
        """
        left = [extension for extension in loaded.extensions if extension not in released]
        wait_s = farewell.machine_waits_s(machine, left, goal, loaded.report, presence, self._clock.now())
        if wait_s is not None:
            return wait_s + 0.1
        await self._writer.delete_goal_states(loaded.goal_states)
        await self._keeper.release(loaded.key)
        if await self._writer.remove_finalizer(virtual_machine.PLURAL, machine.meta, virtual_machine.FINALIZER):
            for extension, said in farewell.left_behind(machine, left, goal, loaded.report):
                await self._recorder.record(loaded.key, _event(extension, said))
        return None

    async def _without_machine(self, loaded: scope.Scope) -> float | None:
        """Reconcile extensions whose machine is not declared: they wait, and their deletion waits for nothing."""
        if loaded.goal_states or self._heartbeats.has_lease(loaded.key):
            # What belonged to a machine outlived it, as when it was taken away without the operator.
            try:
                found = await self._client.get(virtual_machine.PLURAL, loaded.key)
            except NotFoundError:
                await self._writer.delete_goal_states(loaded.goal_states)
                await self._keeper.release(loaded.key)
                self._heartbeats.forget(loaded.key)
            else:
                # The store is behind; that the machine came into it has put it into the queue again.
                self._store.observe(virtual_machine.PLURAL, found)
                return None
        empty = Goal(loaded.key.name, "", "", "", 0, ())
        released = await self._release(loaded, empty, Presence.NEVER)
        held = verdict.waits(
            Reason.VIRTUAL_MACHINE_NOT_FOUND,
            f"namespace {loaded.key.namespace} has no VirtualMachine {loaded.key.name}; create it, or correct vmName",
        )
        situations = [
            projection.Situation(extension, None, held, None)
            for extension in loaded.extensions
            if extension not in released
        ]
        _, again = await self._project(situations)
        return min((seconds for seconds in again if seconds is not None), default=None)

    async def _project(
        self, situations: Sequence[projection.Situation]
    ) -> tuple[list[projection.Projected], list[float | None]]:
        """Write each extension's status where it differs and is worth it; return all, and when to look again."""
        now = self._clock.text()
        everything: list[projection.Projected] = []
        again: list[float | None] = []
        writes = []
        for situation in situations:
            extension = situation.extension
            age = self._stages.age(extension.vm_key, extension.meta.uid, situation.stage)
            projected = projection.project_extension(situation, stage_age_s=age, now=now)
            everything.append(projected)
            patch = merge_patch.difference(extension.status, projected.status)
            if patch and not situation.is_final and age < WORTH_WRITING_AFTER_S:
                again.append(WORTH_WRITING_AFTER_S - age)
                continue
            again.append(projected.changes_in_s)
            if patch:
                writes.append(self._write_status(situation, projected, patch))
        await _all_of(writes)
        return everything, again

    async def _write_status(
        self, situation: projection.Situation, projected: projection.Projected, patch: Mapping[str, Any]
    ) -> None:
        extension = situation.extension
        if await self._writer.patch_status(virtual_machine_extension.PLURAL, extension.meta, patch):
            said = transition.say(situation, projected)
            if said is not None:
                await self._recorder.record(extension.vm_key, _event(extension, said))

    async def _write_machine(self, machine: VirtualMachine, status: Mapping[str, Any]) -> float | None:
        """Write a machine's status where it differs, at most once a second."""
        key = machine.meta.key
        patch = merge_patch.difference(machine.status, status)
        age = self._stages.age(key, machine.meta.uid, "differs" if patch else "same")
        if not patch:
            return None
        if age < WORTH_WRITING_AFTER_S:
            return WORTH_WRITING_AFTER_S - age
        if await self._writer.patch_status(virtual_machine.PLURAL, machine.meta, patch):
            said = transition.say_of_machine(machine.status, status)
            if said is not None:
                event = Event(virtual_machine.KIND, machine.meta, said.warning, said.reason, said.message)
                await self._recorder.record(key, event)
        self._stages.age(key, machine.meta.uid, "same")
        return None

    def _deadlines(self, loaded: scope.Scope, released: Sequence[VirtualMachineExtension]) -> Sequence[float]:
        """Return in how many seconds the deadlines of deletions end."""
        now = self._clock.now()
        return [
            max(0.0, farewell.patience_s(extension, loaded.report) - (now - extension.meta.deleted).total_seconds())
            + 0.1
            for extension in loaded.extensions
            if extension.meta.deleted is not None and extension not in released
        ]


async def _all_of(parts: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Do several things at once; most often there are none or one, for which a task of its own would be a waste."""
    todo = list(parts)
    if len(todo) == 1:
        await todo[0]
    elif todo:
        await asyncio.gather(*todo)


def _event(extension: VirtualMachineExtension, said: Said) -> Event:
    return Event(virtual_machine_extension.KIND, extension.meta, said.warning, said.reason, said.message)

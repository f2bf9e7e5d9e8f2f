"""Every write that the operator makes, each guarded against a store that is behind; what came back goes into it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmext_operator.api import API_VERSION, goal_state
from vmext_operator.api.goal_state import Goal, GoalState
from vmext_operator.api.meta import Key, Meta
from vmext_operator.cluster.client import Client
from vmext_operator.cluster.events import Event
from vmext_operator.control.store import Store
from vmext_operator.errors import ClusterError, NotFoundError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from: the wall's for what is written, a monotonic one for what lasts."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]

    def text(self) -> str:
        """Return the wall's time as the API writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")


class Writer:
    """Writes to the API server, and into the store what the server answered.

    Args:
        client: the API server.
        store: the picture of the cluster.
        clock: for the times of Events.
    """

    def __init__(self, client: Client, store: Store, clock: Clock) -> None:
        self._client = client
        self._store = store
        self._clock = clock

    async def write_goal(self, namespace: str, known: GoalState | None, goal: Goal) -> GoalState | None:
        """Write a goal where it differs, on top of the very version that it was compiled from. Raises ClusterError.

        Returns:
            What was created, None where nothing was.
        """
        if known is not None and known.goal == goal:
            return None
        key = Key(namespace, goal_state.name_of(goal.vm_name, goal.anchor_uid))
        if known is None:
            # A POST: one that the store does not know of yet is a conflict, and not overwritten.
            written = await self._client.create(goal_state.PLURAL, key.namespace, _goal_object(key, goal))
        else:
            body = _goal_object(key, goal, resourceVersion=known.meta.resource_version)
            written = await self._client.apply(goal_state.PLURAL, key, body)
        self._store.observe(goal_state.PLURAL, written, ours=True)
        logger.info(
            "goal written vm=%s generation=%s extensions=%d sequence_number=%d",
            Key(namespace, goal.vm_name),
            written["metadata"]["generation"],
            len(goal.extensions),
            goal.last_sequence_number,
        )
        return goal_state.parse(written) if known is None else None

    async def delete_goal_states(self, known: Sequence[GoalState]) -> None:
        """Delete GoalStates, each if it is the one that is known. Raises ClusterError."""
        for one in known:
            try:
                await self._client.delete(goal_state.PLURAL, one.meta.key, uid=one.meta.uid)
            except NotFoundError:
                continue
            logger.info("goal state deleted vm=%s", one.vm_key)

    async def add_finalizer(self, plural: str, meta: Meta, finalizer: str) -> None:
        """Put our finalizer on an object. Raises ClusterError."""
        if finalizer not in meta.finalizers:
            await self._write_finalizers(plural, meta, [*meta.finalizers, finalizer])

    async def remove_finalizer(self, plural: str, meta: Meta, finalizer: str) -> bool:
        """Take our finalizer off an object; return whether it had it. Raises ClusterError."""
        if finalizer not in meta.finalizers:
            return False
        return await self._write_finalizers(plural, meta, [one for one in meta.finalizers if one != finalizer])

    async def patch_status(self, plural: str, meta: Meta, patch: Mapping[str, Any]) -> bool:
        """Merge a patch into an object's status; return False where the object is gone. Raises ClusterError."""
        # The UID guards an object made anew under the same name.
        body = {"metadata": {"uid": meta.uid}, "status": patch}
        return await self._patch(plural, meta, body, status=True, alone=False)

    async def tell(self, event: Event) -> None:
        """Write an Event; one that can't be written is only logged, as its loss changes nothing."""
        try:
            await self._client.create_event(event.about.key.namespace, event.render(self._clock.text()))
        except ClusterError as error:
            logger.warning("event not written object=%s reason=%s error=%s", event.about.key, event.reason, error)

    async def _write_finalizers(self, plural: str, meta: Meta, finalizers: Sequence[str]) -> bool:
        # The resourceVersion guards other people's finalizers: a merge patch replaces the whole list.
        patch = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": list(finalizers)}}
        return await self._patch(plural, meta, patch, status=False, alone=True)

    async def _patch(self, plural: str, meta: Meta, patch: Mapping[str, Any], *, status: bool, alone: bool) -> bool:
        """Patch an object; `alone` is whether nobody else can have changed it since it was read."""
        try:
            written = await self._client.patch(plural, meta.key, patch, status=status)
        except NotFoundError:
            return False
        # An object whose last finalizer was taken off is gone with this answer: it must not come back into the store.
        if written["metadata"].get("finalizers") or not written["metadata"].get("deletionTimestamp"):
            self._store.observe(plural, written, ours=alone)
        return True


def _goal_object(key: Key, goal: Goal, **metadata: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": goal_state.KIND,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {"app.kubernetes.io/managed-by": "vmext", "vmext.dev/vm": goal.vm_name},
            **metadata,
        },
        "spec": goal.render(),
    }

"""What of a goal may be carried out on this machine: its owner's policy, signatures, and settings that can be read.

Each entry is judged when the goal or the policy changes; ``plan`` only looks at what came of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmext_agent import goal_state
from vmext_agent.envelopes import Envelopes
from vmext_agent.signatures import Signatures

if TYPE_CHECKING:
    from vmext_agent.disk import Store
    from vmext_agent.goal_state import Entry, Goal
    from vmext_agent.layout import Layout
    from vmext_agent.policy import Policy

#: How often the machine's policy is looked at while it forbids something.
_POLICY_S = 5.0
#: How often it is tried again to open what could not be opened.
_OPEN_AGAIN_S = 60.0


class Judge:
    """Judges the entries of the goal in force; its judgements are in the store."""

    def __init__(self, layout: Layout, store: Store) -> None:
        self._store = store
        self._signatures = Signatures(layout)
        self._envelopes = Envelopes(layout)
        self._goal: Goal | None = None
        self.policy: Policy | None = None
        self._opened_at = 0.0

    def wait_s(self) -> float | None:
        """Return how long until there is something to look at again; None for not without a change."""
        times = []
        if self._store.forbidden:
            # Whoever mends the policy need not touch anything else.
            times.append(_POLICY_S)
        if self._store.unreadable:
            times.append(max(0.0, self._opened_at + _OPEN_AGAIN_S - time.monotonic()))
        return min(times, default=None)

    def turn(self) -> None:
        """Try again to open what could not be opened, if it is time."""
        if self._store.unreadable and time.monotonic() >= self._opened_at + _OPEN_AGAIN_S:
            self._open()

    def set_policy(self, policy: Policy) -> None:
        """Judge by this policy from now on."""
        if policy is not self.policy:
            self.policy = policy
            self._ask_policy()

    def set_goal(self, goal: Goal) -> None:
        """Judge this goal from now on."""
        self._goal = goal
        self._ask_policy()
        self._open()

    def _ask_policy(self) -> None:
        forbidden = self._store.forbidden
        forbidden.clear()
        for entry in self._goal.entries if self._goal is not None else ():
            found = self._forbidden(entry)
            if found is not None:
                forbidden[entry.name] = found

    def _forbidden(self, entry: Entry) -> tuple[str, str] | None:
        if self.policy is None:
            return None
        record = self._store.disk.records.get(entry.name)
        if self.policy.invalid and record is not None and record.key == entry.key and record.is_enabled:
            # A policy that can't be read lets nothing new run; what runs is not new.
            return None
        why = self.policy.forbids(entry.handler, entry.package.urls)
        if why:
            return ("PolicyInvalid" if self.policy.invalid else "PolicyForbids", why)
        why = self._signatures.refusal(entry, self.policy)
        return ("SignatureInvalid", why) if why else None

    def _open(self) -> None:
        unreadable = self._store.unreadable
        unreadable.clear()
        self._opened_at = time.monotonic()
        for entry in self._goal.entries if self._goal is not None else ():
            record = self._store.disk.records.get(entry.name)
            if entry.key.state != goal_state.ENABLED or (
                record is not None and record.settings == entry.settings.digest and record.is_enabled
            ):
                # It was run with these very settings.
                continue
            found = self._envelopes.refusal(entry.settings)
            if found is not None:
                unreadable[entry.name] = found

"""Give each machine its identity and keep it: belongings, the pinned certificate, the next token."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass

from vmext_operator.api import virtual_machine
from vmext_operator.api.credential import Held, NextToken, Pinned
from vmext_operator.api.goal_state import GoalState, Report
from vmext_operator.api.meta import Key
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.cluster import envelopes, identities
from vmext_operator.cluster.identities import Identities
from vmext_operator.control import looks
from vmext_operator.control.looks import Looks
from vmext_operator.control.writer import Clock, Writer
from vmext_operator.core import identity, merge_patch
from vmext_operator.errors import ConflictError, NotFoundError, RefusedError, TransientClusterError

logger = logging.getLogger(__name__)

_LOOK_FOR_TOKEN_S = 1.0
_AT_ONCE_S = 0.0
#: When a token that was refused is asked for again.
_ASK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Known:
    """What of a machine's identity its goal and its status say.

    Attributes:
        refused: why the certificate that it proposes is not taken; empty where it is, or none is proposed.
        token: what its goal is to hold, None for none.
        again_s: when to look again, None for not without a change.
    """

    refused: str
    token: NextToken | None
    again_s: float | None


class Keeper:
    """Keeps the identities of machines.

    Args:
        requests: to the API server.
        writer: of statuses.
        clock: wall and monotonic time.
        token_s: for how long a token is asked for; the API server may grant less.
        long_lived: machines are given a token that does not end, instead of ones that are renewed.
    """

    def __init__(
        self, requests: Identities, writer: Writer, clock: Clock, token_s: int, *, long_lived: bool = False
    ) -> None:
        self._requests = requests
        self._writer = writer
        self._clock = clock
        self._token_s = token_s
        self._long_lived = long_lived
        self._looks = Looks(clock.monotonic)

    async def keep(self, machine: VirtualMachine, goal_state: GoalState | None, former: Sequence[GoalState]) -> Known:
        """Bring a machine's identity to where it should be. Raises ClusterError.

        Args:
            machine: whose identity it is.
            goal_state: of its present enrolment, None where there is none: before one is made its anchor is looked at.
            former: those of enrolments that have ended.
        """
        report = goal_state.report if goal_state is not None else None
        request = report.request if report is not None else None
        held = report.held if report is not None else None
        anchor_uid = machine.anchor_uid
        look_in_s = self._looks.due_in_s(machine, has_other_anchor=self._has_other_anchor(machine, report))
        if look_in_s <= 0 or machine.credential is None or goal_state is None:
            anchor_uid = await self._anchor(machine, {one.goal.anchor_uid for one in former if one.is_revoked})
            self._looks.took(machine)
            look_in_s = looks.EVERY_S
        settled = identity.settle(machine.credential, anchor_uid, request, held, machine.meta.uid)
        token = goal_state.goal.credential if goal_state is not None else None
        acknowledged = held is not None and token is not None and held.id == token.id
        if settled.pinned != machine.credential:
            await self._end_others(machine, settled.pinned, acknowledged=acknowledged)
            status = {**machine.status, "credential": settled.pinned.render()}
            patch = merge_patch.difference(machine.status, status)
            await self._writer.patch_status(virtual_machine.PLURAL, machine.meta, patch)
            logger.info("identity changed vm=%s thumbprint=%s", machine.meta.key, settled.pinned.thumbprint or "none")
        if token is not None and token.thumbprint != settled.pinned.thumbprint:
            token = None
        if self._long_lived:
            token, renew_in_s = await self._give_for_good(machine, settled.pinned, held, token)
        else:
            token, renew_in_s = await self._renew(machine, settled.pinned, held, token)
        times = [look_in_s, *(() if renew_in_s is None else (renew_in_s,))]
        if held is not None:
            # Each changes what is said of the machine.
            moments = (identity.overdue_from(held), held.expires_at)
            times += [(at - self._clock.now()).total_seconds() for at in moments if at > self._clock.now()]
        return Known(settled.refused, token, max(0.0, min(times)) + 0.1)

    async def still_has(self, machine: VirtualMachine, anchor_uid: str) -> bool:
        """Tell whether a machine's anchor is still the one that something was made for. Raises ClusterError."""
        found = await self._requests.find(
            identities.SECRETS, Key(machine.meta.key.namespace, identity.account(machine.meta.key.name))
        )
        return found is not None and found["uid"] == anchor_uid

    async def release(self, key: Key) -> None:
        """Take away all that a machine was given; its tokens end with its anchor. Raises ClusterError."""
        await self._end_tokens(key)
        for kind in reversed(identity.KINDS):
            await self._requests.delete(kind, Key(key.namespace, identity.account(key.name)))

    async def _end_tokens(self, key: Key) -> None:
        """End all tokens of whoever has that name. Raises ClusterError."""
        for secret in (identity.account(key.name), identity.enrolment(key.name), identity.long_lived(key.name)):
            await self._requests.delete(identities.SECRETS, Key(key.namespace, secret))

    @staticmethod
    def _has_other_anchor(machine: VirtualMachine, report: Report | None) -> bool:
        request = report.request if report is not None else None
        return request is not None and machine.credential is not None and request.anchor_uid != machine.anchor_uid

    async def _anchor(self, machine: VirtualMachine, revoked: Set[str]) -> str:
        """Return the UID of a machine's anchor, made with all that belongs to the machine where it is missing.

        One of those that are revoked goes, and another takes its place.
        """
        namespace, name = machine.meta.key
        own = Key(namespace, identity.account(name))
        found = await self._requests.find(identities.SECRETS, own)
        is_own = found is not None and (found.get("annotations") or {}).get("vmext.dev/vm-uid") == machine.meta.uid
        if found is not None and (not is_own or found["uid"] in revoked):
            # Of another machine that had this name, or of whoever had this one: its tokens must not be this one's.
            await self._end_tokens(machine.meta.key)
            found = None
        if found is None:
            found = await self._requests.create(identities.SECRETS, namespace, identity.anchor(machine))
        if found is None:
            raise TransientClusterError(f"creating Secret {own}", 409, "it has just been made; it is read again")
        anchor_uid = str(found["uid"])
        # What is known of the machine is written last: until then all of it is made again.
        if anchor_uid != machine.anchor_uid or self._looks.is_thorough(machine):
            for kind, obj in zip(identity.KINDS, identity.belongings(machine, anchor_uid), strict=True):
                await self._requests.apply(kind, own, obj)
        return anchor_uid

    async def _end_others(self, machine: VirtualMachine, pinned: Pinned, *, acknowledged: bool) -> None:
        """End the tokens of a machine that are of no use any more, whoever has got hold of them."""
        (namespace, name), before = machine.meta.key, machine.credential
        if acknowledged:
            await self._requests.delete(identities.SECRETS, Key(namespace, identity.enrolment(name)))
        # A token that does not end is not bound to the anchor: it has to go with that, or when another is in use.
        is_other_anchor = before is not None and before.anchor_uid != pinned.anchor_uid
        if is_other_anchor or (before is not None and before.lifetime_s == 0 != pinned.lifetime_s):
            await self._requests.delete(identities.SECRETS, Key(namespace, identity.long_lived(name)))

    async def _renew(
        self, machine: VirtualMachine, pinned: Pinned, held: Held | None, token: NextToken | None
    ) -> tuple[NextToken | None, float | None]:
        """Return the token that a machine is to use next, minted where it is time for it, and when it is."""
        uid = machine.meta.uid
        if token is not None and not token.expires_at:
            token = None
        in_s = identity.renew_in_s(pinned, held, token, uid, self._clock.now())
        if in_s is None or in_s > 0:
            return token, in_s
        try:
            token = await self._mint(machine, pinned)
        except RefusedError as error:
            # What a machine is told of its extensions does not wait for its next token; the one it has goes on.
            logger.error(
                "token refused vm=%s error=%s; see --token-days, and the policy vmext-operator-tokens",
                machine.meta.key,
                error,
            )
            return token, _ASK_AGAIN_S
        except (NotFoundError, ConflictError) as error:
            # What it is to be bound to is gone, or another one: deleted by hand, and nobody has said so.
            logger.warning("token not minted vm=%s error=%s; its anchor is looked at", machine.meta.key, error)
            self._looks.ask(machine)
            return token, _AT_ONCE_S
        return token, identity.renew_in_s(pinned, held, token, uid, self._clock.now())

    async def _give_for_good(
        self, machine: VirtualMachine, pinned: Pinned, held: Held | None, token: NextToken | None
    ) -> tuple[NextToken | None, float | None]:
        """Return the token that a machine is to use for good, and when to look for it again."""
        if not identity.wants_long_lived(pinned, held, token):
            return token, None
        own = Key(machine.meta.key.namespace, identity.long_lived(machine.meta.key.name))
        try:
            found = (await self._requests.read_secret(own)).get("token")
        except NotFoundError:
            await self._requests.create(identities.SECRETS, own.namespace, identity.long_lived_secret(machine))
            found = None
        if not found:
            # The cluster's controller fills it, in a moment.
            return token, _LOOK_FOR_TOKEN_S
        text = base64.b64decode(found)
        known = identity.long_lived_id(text.decode())
        if token is not None and token.id == known:
            # It is the machine's to take; until it has, the Secret may be made anew under it.
            return token, looks.EVERY_S
        logger.info("long-lived token given vm=%s id=%s", machine.meta.key, known)
        return NextToken(known, envelopes.seal(text, pinned.certificate), pinned.thumbprint, ""), None

    async def _mint(self, machine: VirtualMachine, pinned: Pinned) -> NextToken:
        own = Key(machine.meta.key.namespace, identity.account(machine.meta.key.name))
        minted = await self._requests.mint(own, bound_to=own.name, uid=pinned.anchor_uid, seconds=self._token_s)
        logger.info("token minted vm=%s id=%s expires=%s", machine.meta.key, minted.id, minted.expires_at)
        sealed = envelopes.seal(minted.token.encode(), pinned.certificate)
        return NextToken(minted.id, sealed, pinned.thumbprint, minted.expires_at)

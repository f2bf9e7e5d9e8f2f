"""The machine's certificate and token: what is said of them, and the next ones, taken from the goal when they work."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import clock, files, identity
from vmext_agent.cluster import Cluster, ClusterError
from vmext_agent.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmext_agent.config import Config
    from vmext_agent.goal_state import Goal, NextToken
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.report import Document

_LIMIT = 1 << 16
#: A token that did not work is tried again after this long, if it is still wanted.
_TRY_AGAIN_S = 60.0
_OLD_FORM = "kubernetes.io/serviceaccount"


class Claims(NamedTuple):
    """What a token says of itself; times in seconds since 1970, 0 for a token that has none: it does not end."""

    id: str
    bound_uid: str
    issued_at: float
    expires_at: float


class Credential:
    """The machine's certificate and token.

    Args:
        config: where the token is, and what the machine was enrolled for.
        layout: where key and certificate are.
    """

    def __init__(self, config: Config, layout: Layout, log: Log) -> None:
        self._config = config
        self._layout = layout
        self._log = log
        self._own: identity.Identity | None = None
        self._next: identity.Identity | None = None
        #: Those that were in use before: what is encrypted to them may still come.
        self._earlier: list[identity.Identity] = []
        self._failed = ("", 0.0)
        try:
            self._own = identity.load(layout)
            self._next = identity.load_next(layout)
            self._earlier = list(identity.load_earlier(layout))
            for one in self._all():
                identity.place(layout, one)
        except (IdentityError, OSError) as error:
            log.error("The machine's key can't be used; protected settings and new tokens can't be read", error=error)
        self._facts = self._look()

    def _all(self) -> Sequence[identity.Identity]:
        return [one for one in (self._own, self._next, *self._earlier) if one is not None]

    def facts(self) -> Document:
        """Return what is reported of certificate and token: parts of the status."""
        return self._facts

    def take(self, goal: Goal) -> None:
        """Take in what a goal says of certificate and token. Called in the watcher's thread, which has the time."""
        if self._next is not None and goal.thumbprint == self._next.thumbprint:
            self._change_key()
        self._renew(goal.credential)

    def _change_key(self) -> None:
        """Use the key that the operator knows the machine by now; the one before it is kept while it is needed."""
        own, following = self._own, self._next
        if own is None or following is None:
            return
        try:
            self._own, earlier = identity.promote(self._layout, own, following)
        except (IdentityError, OSError) as error:
            # It is done again with the next goal, or the next start; until then both keys are at hand.
            self._log.error("The machine's new key can't be taken into use yet", error=error)
            return
        self._next = None
        self._earlier.append(earlier)
        self._facts = self._look()
        self._log.info("A new key is in use", thumbprint=following.thumbprint, before=own.thumbprint)

    def _renew(self, token: NextToken | None) -> None:
        """Take the next token into use, if there is one: only once the API server has answered to it.

        Blocks for as long as that takes.
        """
        held = self._facts.get("credential")
        known = held.get("id") if isinstance(held, dict) else None
        if token is None or token.id == known:
            return
        own = next((one for one in self._all() if one.thumbprint == token.thumbprint), None)
        if own is None or (self._failed[0] == token.id and time.monotonic() < self._failed[1]):
            return
        try:
            text = identity.opened(own, token.token).decode("ascii").strip()
            claims(text)
            self._prove(text)
            files.write(self._config.token_file, text.encode(), 0o600)
        except (IdentityError, ClusterError, OSError, ValueError) as error:
            self._failed = (token.id, time.monotonic() + _TRY_AGAIN_S)
            self._log.error("The next token can't be taken into use; the one before it stays", id=token.id, error=error)
            return
        self._facts = self._look()
        self._log.info("A new token is in use", id=token.id)

    def _prove(self, token: str) -> None:
        """Raise ClusterError where the API server does not take a token."""
        client = Cluster(self._config, token=token)
        try:
            client.read()
        finally:
            client.close()

    def _look(self) -> Document:
        facts: Document = {}
        proposed = self._next or self._own
        if proposed is not None and self._config.anchor_uid:
            facts["certificateRequest"] = {
                "anchorUID": self._config.anchor_uid,
                "certificate": proposed.certificate,
                **({"signature": proposed.signature} if proposed.signature else {}),
            }
        try:
            found = claims(files.read(self._config.token_file, _LIMIT).decode("ascii").strip())
        except (OSError, ValueError):
            return facts
        if not found.expires_at:
            facts["credential"] = {"id": found.id}
            return facts
        facts["credential"] = {
            "id": found.id,
            "boundUID": found.bound_uid,
            "issuedAt": clock.rfc3339(found.issued_at),
            "expiresAt": clock.rfc3339(found.expires_at),
        }
        return facts


def claims(token: str) -> Claims:
    """Return what a ServiceAccount's token says of itself. Raises ValueError where it is none."""
    try:
        payload = token.split(".")[1]
        document = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if document.get(f"{_OLD_FORM}/service-account.uid") and "exp" not in document:
            # What a cluster's controller puts into a Secret has no name of its own and no end.
            return Claims(hashlib.sha256(token.encode()).hexdigest()[:32], "", 0.0, 0.0)
        bound = document["kubernetes.io"].get("secret", {})
        return Claims(
            str(document["jti"])[:64],
            str(bound.get("uid", ""))[:64],
            clock.number(document["iat"]),
            clock.number(document["exp"]),
        )
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError):
        # Nothing of it is said: it may be a good one.
        raise ValueError("it is no token of a ServiceAccount") from None

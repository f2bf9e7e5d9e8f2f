"""The machine's certificate and token: what is said of them, and the next ones, taken from the goal when they work."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from vmext_agent import clock, files, identity, text
from vmext_agent.backoff import Backoff
from vmext_agent.cluster import Cluster, ClusterError
from vmext_agent.errors import IdentityError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from vmext_agent.config import Config
    from vmext_agent.goal_state import Goal, NextToken
    from vmext_agent.layout import Layout
    from vmext_agent.log import Log
    from vmext_agent.report import Document

_LIMIT = 1 << 16
#: What did not work is tried again by itself, whatever it was: the disk, the network, the API server, a clock.
_FIRST_S, _LIMIT_S = 1.0, 300.0
_ERROR = 1024
_OLD_FORM = "kubernetes.io/serviceaccount"


class Claims(NamedTuple):
    """What a token says of itself; times in seconds since 1970, 0 for a token that has none: it does not end."""

    id: str
    bound_uid: str
    issued_at: float
    expires_at: float


class Credential:
    """The machine's certificate and token.

    ``take`` is called in the watcher's thread and ``turn`` in the reporter's, which has the time: both may block.

    Args:
        config: where the token is, and what the machine was enrolled for.
        layout: where key and certificate are.
        draw: randomness of the back-off.
        changed: called when what is reported of them is another by now.
    """

    def __init__(
        self, config: Config, layout: Layout, draw: random.Random, changed: Callable[[], None], log: Log
    ) -> None:
        self._config = config
        self._layout = layout
        self._log = log
        self._changed = changed
        self._lock = threading.Lock()
        self._backoff = Backoff(_FIRST_S, _LIMIT_S, draw)
        #: What the newest goal says: the token to use next, and which certificate the operator knows the machine by.
        self._wanted: tuple[NextToken | None, str] = (None, "")
        #: When what did not work is tried again, by the monotonic clock; None where nothing is left to do.
        self._due: float | None = None
        self._error = ""
        self._own: identity.Identity | None = None
        self._next: identity.Identity | None = None
        #: Those that were in use before: what is encrypted to them may still come.
        self._earlier: list[identity.Identity] = []
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
        """Take in what a goal says of certificate and token; what does not work is tried again by ``turn``."""
        with self._lock:
            if (goal.credential, goal.thumbprint) != self._wanted:
                self._wanted = (goal.credential, goal.thumbprint)
                self._backoff.reset()
            self._try()

    def wait_s(self) -> float | None:
        """Return how long until ``turn`` is due; None for not before something changes."""
        due = self._due
        return None if due is None else max(0.0, due - time.monotonic())

    def turn(self) -> None:
        """Try again what did not work, if it is time."""
        with self._lock:
            if self._due is not None and time.monotonic() >= self._due:
                self._try()

    def _try(self) -> None:
        """Take the next key and the next token into use, where there are such; note when to try again."""
        before, error_before, (token, thumbprint) = self._facts, self._error, self._wanted
        is_another = False
        try:
            if self._next is not None and thumbprint == self._next.thumbprint:
                is_another = self._change_key(self._next)
            if token is not None:
                is_another = self._renew(token) or is_another
        except (IdentityError, ClusterError, OSError, ValueError) as error:
            wait_s = self._backoff.next()
            self._due = time.monotonic() + wait_s
            self._error = text.cut(text.clean(str(error)), _ERROR)
            self._log.error(
                "The machine's next key or token can't be taken into use; what is in use stays, and it is tried again",
                id=token.id if token is not None else "",
                in_seconds=round(wait_s),
                error=error,
            )
        else:
            self._due, self._error = None, ""
            self._backoff.reset()
        if is_another or self._error != error_before:
            # Else there is nothing new to be read: most goals say of both what the one before them did.
            self._facts = self._look()
        if self._facts != before:
            self._changed()

    def _change_key(self, following: identity.Identity) -> bool:
        """Use the key that the operator knows the machine by now; the one before it is kept while it is needed.

        Returns whether another one is in use. Raises IdentityError, OSError: until it works both keys are at hand.
        """
        own = self._own
        if own is None:
            return False
        self._own, earlier = identity.promote(self._layout, own, following)
        self._next = None
        self._earlier.append(earlier)
        self._log.info("A new key is in use", thumbprint=following.thumbprint, before=own.thumbprint)
        return True

    def _renew(self, token: NextToken) -> bool:
        """Take the next token into use: only once the API server has answered to it. Blocks for as long as that takes.

        Returns whether another one is in use. Raises IdentityError, ClusterError, OSError, ValueError: the one before
        it stays.
        """
        held = self._facts.get("credential")
        known = held.get("id") if isinstance(held, dict) else None
        own = next((one for one in self._all() if one.thumbprint == token.thumbprint), None)
        if token.id == known or own is None:
            return False
        opened = identity.opened(own, token.token).decode("ascii").strip()
        claims(opened)
        self._prove(opened)
        files.write(self._config.token_file, opened.encode(), 0o600)
        self._log.info("A new token is in use", id=token.id)
        return True

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
        problem = {"renewalError": self._error} if self._error else {}
        if not found.expires_at:
            facts["credential"] = {"id": found.id, **problem}
            return facts
        facts["credential"] = {
            "id": found.id,
            "boundUID": found.bound_uid,
            "issuedAt": clock.rfc3339(found.issued_at),
            "expiresAt": clock.rfc3339(found.expires_at),
            **problem,
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

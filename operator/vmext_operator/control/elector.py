"""Take the operator's Lease, keep it, let it go: what of several operators one may act.

The official package's elector can't create a Lease, renews for a payload that has died, and lets it run on when the API
server is gone (tried). What is decided here is ``core.election``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

from vmext_operator.api.meta import Key
from vmext_operator.cluster import identities
from vmext_operator.cluster.client import Client
from vmext_operator.cluster.term import Term
from vmext_operator.core import election
from vmext_operator.core.election import RENEW_DEADLINE_S, RETRY_S, Record, Sighting
from vmext_operator.errors import ClusterError, ConflictError, LeaseLostError, NotFoundError

logger = logging.getLogger(__name__)

NAME = "vmext-operator"
_AGAIN_S = 0.2
_LEASES = "coordination.k8s.io/v1/leases"


class Elector:
    """One process' part in the election.

    Args:
        client: for the Lease alone, so that a renewal waits for no other request; its time-out is ``RETRY_S``.
        namespace: of the Lease.
        identity: that no other process has at the same time.
        term: what is kept up to date.
        clock: seconds that also pass while the machine sleeps.
        now: the wall's time, only ever written.
        random_source: spreads the standbys' looks.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: str,
        term: Term,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        random_source: random.Random,
    ) -> None:
        self._client = client
        self._key = Key(namespace, NAME)
        self._identity = identity
        self._term = term
        self._clock = clock
        self._now = now
        self._random = random_source
        self._seen: Sighting | None = None
        self._renewed = clock()
        #: The Lease as it was last read or written, None where it has to be read first.
        self._lease: dict[str, Any] | None = None
        #: When the Lease was last read or written with success.
        self.looked: float | None = None

    async def acquire(self) -> None:
        """Return as soon as the Lease is ours, however long that takes."""
        said = ""
        while True:
            pause_s, state, level = RETRY_S * self._random.uniform(0.8, 1.0), "", logging.WARNING
            try:
                wait_s = await self._try()
            except ConflictError:
                # Somebody was faster: look again at once.
                self._lease, pause_s = None, 0.05
            except NotFoundError:
                self._lease = None
                state = f"namespace {self._key.namespace} is not there; create it, or name another with --namespace"
            except ClusterError as error:
                self._lease = None
                state = str(error)
            else:
                if wait_s is None:
                    logger.info("leading lease=%s identity=%s", self._key, self._identity)
                    return
                pause_s = min(pause_s, wait_s + 0.01)
                holder = self._seen.record.holder if self._seen is not None and self._seen.record is not None else ""
                state, level = f"{holder or 'nobody'} holds it", logging.INFO
            if state and state != said:
                said = state
                logger.log(level, "standing by lease=%s identity=%s why=%s", self._key, self._identity, state)
            await asyncio.sleep(pause_s)

    async def keep(self) -> None:
        """Renew the Lease for ever. Raises LeaseLostError when it is another's, or can't be renewed in time."""
        pause_s = RETRY_S
        while True:
            await asyncio.sleep(pause_s)
            # Before anything is tried: a process that was stopped has to know at once.
            self._check()
            pause_s = RETRY_S
            try:
                await self._renew()
            except (ConflictError, NotFoundError) as error:
                # Somebody wrote to it, or deleted it. Who leads now is to be known at once.
                logger.warning("lease touched lease=%s error=%s", self._key, error)
                self._lease = None
                with contextlib.suppress(ClusterError):
                    await self._renew()
            except ClusterError as error:
                # One that was not answered has taken a third of the time that there is: no more of it is slept away.
                self._lease, pause_s = None, _AGAIN_S
                logger.warning("lease not renewed lease=%s error=%s", self._key, error)
            self._check()

    async def _renew(self) -> None:
        if await self._try() is not None:
            self._term.end()
            raise LeaseLostError(f"Lease {self._key} is lost: another one has it")

    def _check(self) -> None:
        age_s = self._clock() - self._renewed
        if age_s >= RENEW_DEADLINE_S:
            self._term.end()
            raise LeaseLostError(f"Lease {self._key} is lost: it was not renewed for {age_s:.1f} s")

    async def release(self) -> None:
        """Let the Lease go, if it is ours: another one takes it at its next look."""
        self._term.end()
        if self._lease is None or election.parse(self._lease).holder != self._identity:
            return
        try:
            await self._write(election.released(election.parse(self._lease)))
        except ClusterError as error:
            logger.warning("lease not released lease=%s error=%s", self._key, error)
        else:
            logger.info("lease released lease=%s", self._key)

    async def _try(self) -> float | None:
        """Take or renew the Lease; return None when it is ours, else after how many seconds it may be taken."""
        if self._lease is None or election.parse(self._lease).holder != self._identity:
            try:
                self._lease = await self._client.request("GET", identities.path(_LEASES, self._key))
            except NotFoundError:
                self._lease = None
            self.looked = self._clock()
        record = election.parse(self._lease) if self._lease is not None else None
        self._seen = election.see(self._seen, record, self._clock())
        wait_s = election.wait_s(self._seen, self._identity, self._clock())
        if wait_s > 0:
            return wait_s
        asked = self._clock()
        await self._write(election.taken(record, self._identity, self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
        self._renewed = asked
        self._term.renew(asked)
        self.looked = self._clock()
        return None

    async def _write(self, record: Record) -> None:
        """Write the Lease on top of what was read of it, or create it. Raises ClusterError."""
        spec = election.render(record)
        if self._lease is None:
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}, "spec": spec}
            target = identities.path(_LEASES, Key(self._key.namespace, ""))
            self._lease = await self._client.request("POST", target, body=lease)
        else:
            # With the resourceVersion that was read: of two who take it at once one gets a conflict.
            target = identities.path(_LEASES, self._key)
            self._lease = await self._client.request("PUT", target, body={**self._lease, "spec": spec})
        self._seen = election.see(None, election.parse(self._lease), self._clock())

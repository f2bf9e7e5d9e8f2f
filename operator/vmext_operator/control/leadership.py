"""Hold the Lease on a thread of its own: a busy event loop loses no election, and one that hangs gives it up.

Whoever loses the Lease ends its process at once, whatever it is at: its supervisor starts it again, as a standby.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable

from vmext_operator.cluster.client import Client
from vmext_operator.cluster.term import Term, boot_clock
from vmext_operator.control.elector import Elector
from vmext_operator.control.writer import Clock
from vmext_operator.core.election import RETRY_S
from vmext_operator.errors import LeaseLostError, OperatorError

logger = logging.getLogger(__name__)

#: An operator whose event loop did not turn for this long is stuck: parsing a fleet takes seconds.
STUCK_S = 60.0
_BEAT_S = 1.0


class Leadership:
    """The part in the election of the process whose event loop makes this.

    Args:
        kubeconfig: a file's path, None for a Pod's own ServiceAccount.
        namespace: of the Lease.
        identity: that no other process has at the same time.
        clock: the wall's time.
        random_source: spreads the standbys' looks.
        lost: ends the process.
    """

    def __init__(
        self,
        kubeconfig: str | None,
        namespace: str,
        identity: str,
        clock: Clock,
        random_source: random.Random,
        lost: Callable[[], object],
    ) -> None:
        self.term = Term()
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._random = random_source
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._beaten = boot_clock()
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._held: asyncio.Future[None] = self._loop.create_future()
        self._ready = threading.Event()
        self._elector: Elector | None = None
        self._thread = threading.Thread(target=self._run, name="elector", daemon=True)

    @property
    def looked_s(self) -> float | None:
        """Return how many seconds ago the Lease was read or written with success, None where it never was."""
        looked = self._elector.looked if self._elector is not None else None
        return None if looked is None else boot_clock() - looked

    @property
    def leads(self) -> bool:
        """Tell whether this process has come to lead."""
        return self._held.done()

    async def acquire(self) -> None:
        """Return as soon as this process leads. Raises ConfigurationError."""
        self._thread.start()
        await asyncio.shield(self._held)

    async def beat(self) -> None:
        """Tell the elector for ever that this event loop turns."""
        while True:
            self._beaten = boot_clock()
            await asyncio.sleep(_BEAT_S)

    async def release(self) -> None:
        """Let the Lease go, or stop trying; return when that is done."""
        if not self._thread.is_alive():
            return
        self._ready.wait()
        assert self._own_loop is not None
        assert self._end is not None
        # It may just have ended by itself.
        with contextlib.suppress(RuntimeError):
            self._own_loop.call_soon_threadsafe(self._end.set)
        await self._loop.run_in_executor(None, self._thread.join, 3 * RETRY_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._take_part())
        except LeaseLostError as error:
            logger.error("%s; ending", error)
            self._lost()
        except OperatorError as error:
            self._tell(error)
        except BaseException as error:
            # Whatever it is, nobody renews the Lease any more.
            logger.exception("the elector failed; ending")
            self._tell(error)
            self._lost()
        finally:
            self._ready.set()

    async def _take_part(self) -> None:
        self._own_loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        # Of its own, so that a renewal waits for no other request.
        async with Client(kubeconfig=self._kubeconfig, term=None, in_flight=1, timeout_s=RETRY_S) as client:
            self._elector = Elector(
                client, self._namespace, self._identity, self.term, boot_clock, self._clock.now, self._random
            )
            tasks = [asyncio.create_task(self._lead(self._elector)), asyncio.create_task(self._end.wait())]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for task in done:
                task.result()
            await self._elector.release()

    async def _lead(self, elector: Elector) -> None:
        await elector.acquire()
        self._tell(None)
        await asyncio.gather(elector.keep(), self._watch_the_loop())

    async def _watch_the_loop(self) -> None:
        self._beaten = boot_clock()
        while True:
            await asyncio.sleep(_BEAT_S)
            stuck_s = boot_clock() - self._beaten
            if stuck_s > STUCK_S:
                self.term.end()
                raise LeaseLostError(f"the Lease is given up: the operator has been stuck for {stuck_s:.0f} s")

    def _tell(self, error: BaseException | None) -> None:
        def tell() -> None:
            if not self._held.done():
                if error is None:
                    self._held.set_result(None)
                else:
                    self._held.set_exception(error)

        self._loop.call_soon_threadsafe(tell)

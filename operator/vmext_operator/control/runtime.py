"""The operator's life: election, feed, barrier, workers, resync."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import Client
from vmext_operator.control import feed, resync
from vmext_operator.control.leadership import Leadership
from vmext_operator.control.queue import KeyedQueue
from vmext_operator.control.reconcile import Reconciler, Settings
from vmext_operator.control.store import Store
from vmext_operator.control.writer import Clock
from vmext_operator.errors import ConflictError, OperatorError

logger = logging.getLogger(__name__)

WORKERS = 16


async def run(
    kubeconfig: str | None,
    identity: str,
    clock: Clock,
    random_source: random.Random,
    settings: Settings,
    lost: Callable[[], object],
) -> None:
    """Stand by until this process leads, then lead until a signal ends it.

    It waits for an API server that is away. What it can't go on through ends it, for its supervisor to start it again:
    starting is cheap, since all state is in the API server.

    Args:
        kubeconfig: a file's path, None for a Pod's own ServiceAccount.
        identity: by which this process holds the Lease; no other process has it at the same time.
        clock: wall and monotonic time.
        random_source: spreads retries and lists.
        settings: what people can set.
        lost: ends the process at once: it leads no more.

    Raises:
        ConfigurationError: it is not known how to reach an API server.
        ClusterError: the API server refuses what the operator can't do without.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Until kopf takes them over; then its end is the end.
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    leadership = Leadership(kubeconfig, settings.namespace, identity, clock, random_source, lost)
    try:
        await _first_of(
            stopped.wait(), leadership.beat(), _lead(kubeconfig, leadership, clock, random_source, settings)
        )
    finally:
        # Whatever it had under way has ended.
        await leadership.release()


async def _lead(
    kubeconfig: str | None, leadership: Leadership, clock: Clock, random_source: random.Random, settings: Settings
) -> None:
    await leadership.acquire()
    queue: KeyedQueue[Key] = KeyedQueue(random_source)
    store = Store(queue.add, settings.publisher_keys)
    everything_listed = asyncio.Event()
    async with Client(kubeconfig=kubeconfig, term=leadership.term) as client:
        await resync.wait_until_served(client)
        reconciler = Reconciler(client, store, clock, settings)
        handlers = feed.registry(store, await client.kopf_login())
        try:
            await _first_of(
                *(_worker(reconciler, queue, everything_listed) for _ in range(WORKERS)),
                _list(client, store, queue, everything_listed, random_source),
                # Last: when kopf ends it waits for the tasks that have come since it began, as if they were its own.
                feed.run(handlers),
            )
        finally:
            queue.close()


async def _first_of(*parts: Coroutine[Any, Any, object]) -> None:
    """Run until one of them has ended, end the others, and raise what it raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _list(
    client: Client,
    store: Store,
    queue: KeyedQueue[Key],
    everything_listed: asyncio.Event,
    random_source: random.Random,
) -> None:
    await resync.list_patiently(client, store)
    machines = store.machine_keys()
    logger.info("everything listed machines=%d", len(machines))
    for key in machines:
        queue.add(key)
    everything_listed.set()
    await queue.idle()
    logger.info("every machine looked at machines=%d", len(machines))
    await resync.keep_listing(client, store, queue.add, random_source)


async def _worker(reconciler: Reconciler, queue: KeyedQueue[Key], everything_listed: asyncio.Event) -> None:
    # The barrier: nothing is decided before every kind is known in full.
    await everything_listed.wait()
    while True:
        key = await queue.get()
        try:
            again = await reconciler.reconcile(key)
        except ConflictError as error:
            delay = queue.failed(key)
            logger.debug("object changed meanwhile vm=%s retry_in=%.2fs error=%s", key, delay, error)
        except OperatorError as error:
            delay = queue.failed(key)
            logger.warning("reconcile failed vm=%s retry_in=%.2fs error=%s", key, delay, error)
        except Exception:
            delay = queue.failed(key)
            logger.exception("reconcile failed unexpectedly vm=%s retry_in=%.2fs", key, delay)
        else:
            queue.done(key)
            if again is not None:
                queue.add_after(key, again)

"""The operator's life: feed, barrier, workers, resync."""

from __future__ import annotations

import asyncio
import logging
import random

from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import Client
from vmext_operator.control import feed, resync
from vmext_operator.control.queue import KeyedQueue
from vmext_operator.control.reconcile import Reconciler, Settings
from vmext_operator.control.store import Store
from vmext_operator.control.writer import Clock
from vmext_operator.errors import ConflictError, OperatorError

logger = logging.getLogger(__name__)

WORKERS = 16


async def run(kubeconfig: str | None, clock: Clock, random_source: random.Random, settings: Settings) -> None:
    """Run until a signal ends it.

    It goes on through an API server that is away. What it can't go on through ends it, for its supervisor to start it
    again: starting is cheap, since all state is in the API server.

    Args:
        kubeconfig: a file's path, None for a Pod's own ServiceAccount.
        clock: wall and monotonic time.
        random_source: spreads retries and lists.
        settings: what people can set.

    Raises:
        ConfigurationError: it is not known how to reach an API server.
        ClusterError: the API server refuses what the operator can't do without.
    """
    queue: KeyedQueue[Key] = KeyedQueue(random_source)
    store = Store(queue.add, settings.publisher_keys)
    everything_listed = asyncio.Event()
    async with Client(kubeconfig=kubeconfig) as client:
        await resync.wait_until_served(client)
        reconciler = Reconciler(client, store, clock, settings)
        tasks = [
            asyncio.create_task(_worker(reconciler, queue, everything_listed), name=f"worker-{number}")
            for number in range(WORKERS)
        ]
        tasks.append(asyncio.create_task(_list(client, store, queue, everything_listed, random_source), name="list"))
        # Last: when kopf ends it waits for the tasks that have come since it began, as if they were its own.
        handlers = feed.registry(store, await client.kopf_login())
        tasks.append(asyncio.create_task(feed.run(handlers), name="feed"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            queue.close()
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

"""The operator's life: probes, election, feed, barrier, workers, resync."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

from vmext_operator.api.meta import Key
from vmext_operator.cluster.client import Client
from vmext_operator.control import budgets, kopf_runtime, logs, metrics, probes, resync
from vmext_operator.control.backoff import Backoff
from vmext_operator.control.budgets import Budgets
from vmext_operator.control.catalog import Catalog
from vmext_operator.control.feed import Feed
from vmext_operator.control.heartbeats import Heartbeats
from vmext_operator.control.leadership import Leadership
from vmext_operator.control.metrics import Metrics
from vmext_operator.control.namespaces import Collection, Namespaces
from vmext_operator.control.queue import KeyedQueue, Lane
from vmext_operator.control.reconcile import Reconciler, Settings
from vmext_operator.control.resync import Resync
from vmext_operator.control.secret_feed import SecretFeed
from vmext_operator.control.settings_check import Checker
from vmext_operator.control.store import Store
from vmext_operator.control.tasks import first_of
from vmext_operator.control.watches import Watches
from vmext_operator.control.writer import Clock, Writer
from vmext_operator.core import vitals
from vmext_operator.core.vitals import Vitals
from vmext_operator.errors import ConflictError, OperatorError, WatchHangsError

logger = logging.getLogger(__name__)

#: Each has one request under way, most of the time. More fill the API server's own queue, and make what it tells late.
WORKERS = 8
#: How long the parts may take to end: kopf can get stuck while it does.
LONGEST_END_S = kopf_runtime.LAST_RESORT_S


@dataclass(frozen=True, slots=True)
class Options:
    """How a process takes part.

    Attributes:
        kubeconfig: a file's path, None for a Pod's own ServiceAccount.
        identity: by which this process holds the Lease; no other process has it at the same time.
        probe_address: ``host:port`` for probes and metrics, empty for none.
        resync_s: between two lists of everything, at least.
        watch_secrets: whether Secrets are watched, by their metadata.
        namespaces: that are watched, and no others; none for every one.
    """

    kubeconfig: str | None
    identity: str
    probe_address: str
    resync_s: float
    watch_secrets: bool = False
    namespaces: tuple[str, ...] = ()


async def run(
    options: Options, clock: Clock, random_source: random.Random, settings: Settings, lost: Callable[[], object]
) -> None:
    """Stand by until this process leads, then lead until a signal ends it.

    It waits for an API server that is away. What it can't go on through ends it, for its supervisor to start it again:
    starting is cheap, since all state is in the API server.

    Args:
        options: how this process takes part.
        clock: wall and monotonic time.
        random_source: spreads retries and lists.
        settings: what people can set of its decisions.
        lost: ends the process at once: it leads no more.

    Raises:
        ConfigurationError: it is not known how to reach an API server, or probes can't be served.
        ClusterError: the API server refuses what the operator can't do without.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Until kopf takes them over; then its end is the end.
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    leadership = Leadership(options.kubeconfig, settings.namespace, options.identity, clock, random_source, lost)
    operator = _Operator(options, leadership, clock, random_source, settings)
    try:
        await first_of(
            stopped.wait(), leadership.beat(), operator.serve_probes(), operator.lead(), patience_s=LONGEST_END_S
        )
    except WatchHangsError as error:
        logger.error("ending error=%s", error)
        await leadership.release()
        # What hung may hang still.
        lost()
    finally:
        # Whatever it had under way has ended.
        await leadership.release()


class _Operator:
    """One process' parts."""

    def __init__(
        self,
        options: Options,
        leadership: Leadership,
        clock: Clock,
        random_source: random.Random,
        settings: Settings,
    ) -> None:
        self._options = options
        self._leadership = leadership
        self._clock = clock
        self._random = random_source
        self._settings = settings
        self._queue: KeyedQueue[Key] = KeyedQueue(random_source, lambda key: key.namespace)
        self._store = Store(self._changed, settings.publisher_keys)
        self._budgets = Budgets(clock.monotonic, lambda key: len(self._store.extensions_of(key)))
        self._watches = Watches(clock.monotonic)
        self._metrics = Metrics()
        self._metrics.show(lambda: leadership.leads, self._queue, self._store)
        self._seen = Namespaces(options.namespaces, self._opened, self._watches.left)
        self._metrics.count_out_of_reach(lambda: len(self._seen.out_of_reach))
        self._secrets: SecretFeed | None = None
        self._resync: Resync | None = None
        self._catalog: Catalog | None = None

    async def serve_probes(self) -> None:
        """Answer probes for ever."""
        if not self._options.probe_address:
            await asyncio.Event().wait()
        await probes.Probes(
            {
                "/livez": lambda: probes.verdict(vitals.sick(self._vitals())),
                "/readyz": lambda: probes.verdict(vitals.unready(self._vitals())),
                "/metrics": lambda: (200, metrics.CONTENT_TYPE, self._metrics.text()),
            }
        ).serve(self._options.probe_address)

    async def lead(self) -> None:
        """Stand by, then lead until something ends that."""
        await self._leadership.acquire()
        client = Client(
            kubeconfig=self._options.kubeconfig,
            term=self._leadership.term,
            watches=len(self._seen.every_collection()) + len(self._seen.scopes),
            told=self._requested,
        )
        async with client:
            self._resync = Resync(
                client,
                self._store,
                self._seen,
                self._watches,
                self._metrics,
                self._clock.monotonic,
                self._options.resync_s,
                self._random,
            )
            await resync.wait_until_served(client, self._seen.scopes, Backoff(self._random))
            heartbeats = Heartbeats(self._clock, self._settings.leases_every_s, self._seen)
            reconciler = Reconciler(client, self._store, self._clock, self._settings, heartbeats, self._budgets)
            self._catalog = Catalog(self._store, Writer(client, self._store, self._clock), Checker(), self._clock)
            feed = Feed(client, self._store, self._seen, self._told, self._random)
            self._secrets = self._secret_feed(client, reconciler) if self._options.watch_secrets else None
            handlers = kopf_runtime.registry(client.kopf_login)
            try:
                await first_of(
                    *(self._work(reconciler) for _ in range(WORKERS)),
                    feed.run(),
                    self._follow_secrets(),
                    self._list_again(self._resync),
                    self._tell_when_idle(),
                    self._catalog.keep_judging(self._seen.known),
                    heartbeats.keep_reading(client, self._store, self._queue.add, self._random),
                    # Last: when kopf ends it waits for all tasks that came after it, as if they were its own.
                    kopf_runtime.run(handlers),
                    patience_s=LONGEST_END_S,
                )
            finally:
                self._queue.close()

    def _secret_feed(self, client: Client, reconciler: Reconciler) -> SecretFeed:
        def changed(secret: Key) -> None:
            reconciler.secret_changed(secret)
            for machine in self._store.machines_naming(secret):
                self._changed(machine, Lane.URGENT)

        def is_named(secret: Key) -> bool:
            return bool(self._store.machines_naming(secret))

        return SecretFeed(client, self._seen.scopes, is_named, changed, self._metrics.told, self._random)

    async def _follow_secrets(self) -> None:
        await self._seen.known.wait()
        if self._secrets is None:
            await asyncio.Event().wait()
        else:
            await self._secrets.run()

    def _told(self, collection: Collection, kind: str) -> None:
        self._watches.told(collection)
        self._metrics.told(collection.plural, kind)
        if self._catalog is not None:
            self._catalog.told(collection.plural)

    def _changed(self, machine: Key, lane: Lane) -> None:
        """Have a machine looked at: at once for what people declared, for what it reports as its account has it."""
        if lane is not Lane.ONGOING:
            self._budgets.declared(machine)
        wait_s = self._budgets.work_in_s(machine)
        if wait_s > 0:
            self._queue.add_after(machine, wait_s)
        else:
            self._queue.add(machine, lane)

    def _requested(self, method: str, target: str, code: int, seconds: float) -> None:
        self._budgets.requested(method)
        self._metrics.requested(method, target, code, seconds)

    def _opened(self, scope: str) -> None:
        for key in self._store.machine_keys():
            if self._seen.scope_of(key.namespace) == scope:
                self._queue.add(key)

    def _vitals(self) -> Vitals:
        lists, now = self._resync, self._clock.monotonic()
        return Vitals(
            leads=self._leadership.leads,
            listed=self._seen.known.is_set(),
            list_age_s=now - lists.last_good if lists is not None else 0.0,
            list_every_s=lists.every_s if lists is not None else self._options.resync_s,
            stalled_s=self._queue.stalled_s,
            lease_looked_s=self._leadership.looked_s,
        )

    async def _list_again(self, lists: Resync) -> None:
        await self._seen.known.wait()
        logger.info("everything listed machines=%d", len(self._store.machine_keys()))
        await lists.keep_listing(self._queue.add)

    async def _tell_when_idle(self) -> None:
        await self._seen.known.wait()
        await self._queue.idle()
        logger.info("every machine looked at machines=%d", len(self._store.machine_keys()))
        await asyncio.Event().wait()

    async def _work(self, reconciler: Reconciler) -> None:
        if self._options.watch_secrets:
            await self._seen.known.wait()
        if self._secrets is not None:
            # Whatever changes after a Secret was read is told.
            await self._secrets.tried.wait()
        while True:
            key = await self._queue.get()
            # The barrier: nothing is decided before all that decides about it is known. It comes again when that is so.
            if not self._seen.admits(key.namespace):
                self._queue.done(key)
                continue
            logs.about.set(str(key))
            budgets.working_for.set(key)
            self._budgets.worked(key, budgets.LOOK)
            begun, outcome = self._clock.monotonic(), "failed"
            try:
                again = await reconciler.reconcile(key)
            except ConflictError as error:
                delay, outcome = self._queue.failed(key, self._budgets.work_in_s(key)), "conflict"
                logger.debug("object changed meanwhile vm=%s retry_in=%.2fs error=%s", key, delay, error)
            except OperatorError as error:
                delay = self._queue.failed(key, self._budgets.work_in_s(key))
                logger.warning("reconcile failed vm=%s retry_in=%.2fs error=%s", key, delay, error)
            except Exception:
                delay = self._queue.failed(key, self._budgets.work_in_s(key))
                logger.exception("reconcile failed unexpectedly vm=%s retry_in=%.2fs", key, delay)
            else:
                self._queue.done(key)
                outcome = "ok"
                if again is not None:
                    self._queue.add_after(key, max(again, self._budgets.work_in_s(key)))
            self._metrics.reconciled(outcome, self._clock.monotonic() - begun)

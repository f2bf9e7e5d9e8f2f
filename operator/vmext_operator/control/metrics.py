"""What the operator counts, as Prometheus reads it: docs/operations/metrics.md lists the same.

No label has the name of an object: a fleet has tens of thousands. What can be counted when it is asked for is counted
then.
"""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vmext_operator.api import conditions, goal_state
from vmext_operator.api.meta import Key
from vmext_operator.api.virtual_machine import VirtualMachine
from vmext_operator.control.queue import KeyedQueue
from vmext_operator.control.store import Differences, Store

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_STATES = ("Creating", "Updating", "Succeeded", "Failed", "Deleting", "Unknown")
_REACHABILITIES = ("reachable", "unreachable", "unknown")
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """All of the operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter(
            "vmext_api_requests", "Requests to the API server that were answered, or not (code 0).", "verb kind code"
        )
        self._request_s = self._histogram(
            "vmext_api_request_seconds", "How long requests to the API server took.", "verb"
        )
        self._tokens = self._counter("vmext_tokens_minted", "Tokens that were minted for machines.")
        self._reconcile_s = self._histogram(
            "vmext_reconcile_seconds", "How long a reconcile of one machine took.", "outcome"
        )
        self._goal_s = self._histogram(
            "vmext_goal_latency_seconds", "From when a change reached the operator until the goal state was written."
        )
        self._events = self._counter("vmext_watch_events", "Events that watches brought.", "kind type")
        self._differences = self._counter(
            "vmext_resync_differences",
            "Objects that a list of everything had otherwise than the watch had told.",
            "kind what",
        )
        self._age_s: Callable[[Key], float] = lambda _: 0.0

    def _counter(self, name: str, text: str, labels: str = "") -> Counter:
        return Counter(name, text, labels.split(), registry=self.registry)

    def _histogram(self, name: str, text: str, labels: str = "") -> Histogram:
        return Histogram(name, text, labels.split(), buckets=_BUCKETS_S, registry=self.registry)

    def requested(self, method: str, target: str, code: int, seconds: float) -> None:
        """Count a request."""
        kind = kind_of(target)
        self._requests.labels(method, kind, str(code)).inc()
        self._request_s.labels(method).observe(seconds)
        if not 200 <= code < 300:
            return
        if kind == "serviceaccounts/token":
            self._tokens.inc()
        if method in ("POST", "PATCH") and kind == goal_state.PLURAL:
            *_, namespace, _, name = target.split("/")
            self._goal_s.observe(self._age_s(Key(namespace, name)))

    def reconciled(self, outcome: str, seconds: float) -> None:
        """Count a reconcile that ended ``ok``, ``conflict`` or ``failed``."""
        self._reconcile_s.labels(outcome).observe(seconds)

    def told(self, plural: str, kind: str) -> None:
        """Count an event of a watch."""
        self._events.labels(plural, kind).inc()

    def differences(self, plural: str, found: Differences) -> None:
        """Count what a list brought that a watch had not."""
        for what, number in found._asdict().items():
            self._differences.labels(plural, what).inc(number)

    def show(self, leads: Callable[[], bool], queue: KeyedQueue[Key], store: Store) -> None:
        """Show from now on, whenever it is asked, who leads, what waits, and what there is."""
        self._age_s = queue.age_s
        self.registry.register(_Picture(leads, queue, store))

    def count_out_of_reach(self, count: Callable[[], int]) -> None:
        """Show from now on how many of the watched namespaces can't be read."""
        gauge = Gauge(
            "vmext_namespaces_out_of_reach", "Namespaces to watch that can't be read.", registry=self.registry
        )
        gauge.set_function(count)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


class _Picture(Collector):
    """What is counted when it is asked for."""

    def __init__(self, leads: Callable[[], bool], queue: KeyedQueue[Key], store: Store) -> None:
        self._leads = leads
        self._queue = queue
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Count."""
        yield GaugeMetricFamily("vmext_leader", "1 where this process leads, 0 where it stands by.", self._leads())
        yield GaugeMetricFamily("vmext_queue_depth", "Machines that wait for a worker.", len(self._queue))
        yield GaugeMetricFamily("vmext_queue_working", "Machines that are worked on.", self._queue.working)
        stalled = "For how long a machine has been with a worker, at most, or none was taken though one waits."
        yield GaugeMetricFamily("vmext_queue_stalled_seconds", stalled, self._queue.stalled_s)
        states = Count(str(one.status.get("provisioningState") or "Unknown") for one in self._store.extensions())
        yield _by("vmext_extensions", "Extensions by provisioningState.", "state", _STATES, states)
        found = Count(_reachability(machine) for machine in self._store.machines())
        yield _by("vmext_machines", "Machines by whether their agent answers.", "reachability", _REACHABILITIES, found)


def kind_of(target: str) -> str:
    """Return the plural, and the subresource, of a request's path."""
    parts = target.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    if not rest:
        return "discovery"
    return "/".join((rest[0], *rest[2:3]))


def _reachability(machine: VirtualMachine) -> str:
    found = conditions.find(machine.status.get("conditions") or (), "AgentReachable")
    status = found.get("status") if found is not None else None
    return {"True": "reachable", "False": "unreachable"}.get(str(status), "unknown")


def _by(name: str, text: str, label: str, known: tuple[str, ...], found: Count[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value in known:
        family.add_metric((value,), found[value])
    return family

"""The operator's own metrics, in controller-runtime's words behind the prefix ``kubetune_``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from kubetune import __version__

from .controller import Key
from .inventory import Inventory
from .polls import Polls
from .queue import WorkQueue

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Everything served at /metrics hangs on ``registry``."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._total = Counter(
            "kubetune_reconcile", "Passes over one custom resource.", ["kind", "result"], registry=self.registry
        )
        self._errors = Counter("kubetune_reconcile_errors", "Passes that failed.", ["kind"], registry=self.registry)
        self._seconds = Histogram(
            "kubetune_reconcile_time_seconds", "Duration of a pass.", ["kind"], buckets=BUCKETS, registry=self.registry
        )
        self._requests = Counter(
            "kubetune_rest_client_requests",
            "Requests to the API server; code 0 means no answer.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self.loop_lag = Gauge(
            "kubetune_event_loop_lag_seconds", "How late the event loop ran a timer last.", registry=self.registry
        )
        self.holds_lease = Gauge(
            "kubetune_lease_held", "1 while this operator is the one that acts.", registry=self.registry
        )
        self.inventory = Inventory(kinds)
        self.registry.register(self.inventory)
        Gauge(
            "kubetune_build_info", "Always 1; the label names the release.", ["version"], registry=self.registry
        ).labels(__version__).set(1)

    def watch_queue(self, queue: WorkQueue[Key]) -> None:
        """Adds the queue's own numbers."""
        self.registry.register(_QueueCollector(queue))

    def watch_polls(self, polls: Polls) -> None:
        """Adds the numbers of the pods that are asked."""
        self.registry.register(_PollsCollector(polls))

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        self._total.labels(kind, result).inc()
        self._seconds.labels(kind).observe(seconds)
        if result == "error":
            self._errors.labels(kind).inc()

    def requested(self, verb: str, resource: str, code: int) -> None:
        self._requests.labels(verb, resource, code).inc()


class _PollsCollector(Collector):
    def __init__(self, polls: Polls) -> None:
        self._polls = polls

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("kubetune_polled_pods", "Pods that are asked for their progress.", self._polls.followed)
        yield CounterMetricFamily("kubetune_polls", "Questions put to pods.", self._polls.asked)
        yield GaugeMetricFamily(
            "kubetune_progress_writes_waiting",
            "Custom resources whose progress waits for its turn to be written.",
            self._polls.waiting,
        )


class _QueueCollector(Collector):
    def __init__(self, queue: WorkQueue[Key]) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        queue = self._queue
        longest = queue.longest_running
        yield GaugeMetricFamily("kubetune_workqueue_depth", "Keys in line.", queue.depth)
        yield GaugeMetricFamily("kubetune_workqueue_planned", "Keys to be looked at later.", queue.planned)
        yield GaugeMetricFamily(
            "kubetune_workqueue_oldest_age_seconds", "Age of the key that waits longest.", queue.oldest_age
        )
        yield GaugeMetricFamily(
            "kubetune_workqueue_longest_running_processor_seconds",
            "How long the key worked on longest has been worked on.",
            longest[1] if longest else 0.0,
        )
        yield CounterMetricFamily("kubetune_workqueue_adds", "Keys ever put in line.", queue.adds)
        yield CounterMetricFamily("kubetune_workqueue_retries", "Keys put back after a failure.", queue.retries)

"""Prometheus metrics: requests as they pass, and what stands in the database when somebody asks.

Labels are methods, route templates, statuses and states: nothing that names an institution, an enterprise or a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.web.observing import Seen

MEDIA_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# name → (help, label, label value → number)
Gauges = dict[str, tuple[str, str, dict[str, float]]]


class _Standing:
    """Gauges read from the database at each scrape."""

    def __init__(self, read: Callable[[], Gauges]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        for name, (text, label, values) in self._read().items():
            family = GaugeMetricFamily(name, text, labels=[label])
            for value, number in values.items():
                family.add_metric([value], number)
            yield family


class Metrics:
    """One registry for each app, so that two in one process do not mix."""

    def __init__(self, read: Callable[[], Gauges]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "creditlab_requests_total", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "creditlab_request_seconds", "Time from request to answer.", ["method", "route"], buckets=_BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self._standing = _Standing(read)

    def request(self, seen: Seen) -> None:
        """Counts and times one answer; a request that ended without one was answered 500 further out."""
        self.requests.labels(seen.method, seen.route, str(seen.status or 500)).inc()
        self.seconds.labels(seen.method, seen.route).observe(seen.seconds)

    def text(self) -> bytes:
        """The exposition, with the gauges of this moment."""
        standing = CollectorRegistry()
        standing.register(self._standing)
        return generate_latest(self.registry) + generate_latest(standing)

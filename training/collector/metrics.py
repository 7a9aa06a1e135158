"""The collector's Prometheus metrics; no label ever holds a device, a token or a text.

With several processes, each writes into a shared directory (`PROMETHEUS_MULTIPROC_DIR`, set before
this module is imported), and whichever process is asked adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from training.collector.wire import Result

__all__ = ["MULTIPROCESS_VARIABLE", "Metrics"]

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECORDS = (1, 5, 10, 50, 100, 500, 1000, 5000)


class Metrics:
    """One registry; safe to use from any thread."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter(
            "collector_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self._records = Counter(
            "collector_records", "Records, by what became of them.", ["status"], registry=registry
        )
        self._conflicts = Counter(
            "collector_conflicts", "Ids that came again with another payload.", registry=registry
        )
        self._seconds = Histogram(
            "collector_batch_seconds",
            "Seconds from the whole body to the commit.",
            buckets=SECONDS,
            registry=registry,
        )
        self._sizes = Histogram(
            "collector_batch_records", "Records in a batch.", buckets=RECORDS, registry=registry
        )
        self._bytes = Counter("collector_bytes", "Bytes of bodies.", ["state"], registry=registry)

    def count_request(self, route: str, status: int) -> None:
        """One answered request; `route` is the route's pattern, never the path that came."""
        self._requests.labels(route, str(status)).inc()

    def count_batch(self, results: Iterable[Result], seconds: float, sent: int, plain: int) -> None:
        """One batch that was committed; `sent` and `plain` are bytes before and after gzip."""
        found = list(results)
        for result in found:
            self._records.labels(result.status.value).inc()
            self._conflicts.inc(result.code == "conflict")
        self._seconds.observe(seconds)
        self._sizes.observe(len(found))
        self._bytes.labels("sent").inc(sent)
        self._bytes.labels("decompressed").inc(plain)

    def render(self) -> bytes:
        """The text format that Prometheus reads, of all processes together."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

"""`intentd status`: what a running daemon says of itself, in a few numbers."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from edge.client import Client

__all__ = ["read_status"]

FIRST_ERROR_STATUS = 400


def read_status(client: Client) -> dict[str, Any]:
    """Readiness, model, uptime, memory, queue and counts; names carry their unit.

    Raises:
        DaemonUnreachable: Nobody answers.
    """
    samples = [
        sample
        for family in text_string_to_metric_families(client.metrics())
        for sample in family.samples
    ]
    model = client.model()

    def total(name: str, failed_only: bool = False) -> float:
        return sum(
            sample.value
            for sample in samples
            if sample.name == name
            and (not failed_only or int(sample.labels["status"]) >= FIRST_ERROR_STATUS)
        )

    return {
        "ready": client.is_ready(),
        "socket": str(client.socket),
        "model": model.model.name,
        "version": model.model.version,
        "phase": model.model.phase,
        "digest": model.model.digest,
        "threads": model.threads,
        "uptime_s": round(time.time() - total("process_start_time_seconds")),
        "rss_mib": round(total("process_resident_memory_bytes") / 2**20),
        "queue_depth": int(total("intentd_queue_depth")),
        "requests": int(total("intentd_requests_total")),
        "failed_requests": int(total("intentd_requests_total", failed_only=True)),
        "texts": int(total("intentd_predictions_total")),
        "truncated_texts": int(total("intentd_truncated_total")),
    }

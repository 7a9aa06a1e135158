"""The daemon's Prometheus metrics.

No label of any metric ever holds something that a user wrote.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from edge.bundle import Bundle
from edge.wire import ClassifyAnswer, Reason

__all__ = ["Metrics"]

# From a cached answer to BART on a slow NAS with a full window.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SWAP_ENDS = ("committed", "rolled_back", "refused")  # as `edge.wire.models.ActivationState`
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """One registry; safe to use from any thread."""

    def __init__(self) -> None:
        # Otherwise each metric has a second line, with a time that nobody asked for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter(
            "intentd_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self._predictions = Counter(
            "intentd_predictions", "Texts classified, by reason.", ["reason"], registry=registry
        )
        self._truncated = Counter(
            "intentd_truncated", "Texts longer than the window.", registry=registry
        )
        self._repeats = Counter(
            "intentd_repeats", "Texts answered from memory: asked before.", registry=registry
        )
        self._tokens = Histogram(
            "intentd_tokens", "Tokens of a text's longest row.", buckets=TOKENS, registry=registry
        )
        self._stages = Histogram(
            "intentd_stage_seconds",
            "Seconds spent in a stage: queue, tokenize, infer.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._depth = Gauge("intentd_queue_depth", "Requests that wait.", registry=registry)
        self._corrections = Counter(
            "intentd_corrections", "Corrections made durable, by kind.", ["kind"], registry=registry
        )
        self._outbox = Gauge(
            "intentd_outbox_records", "Records that upstream does not have yet.", registry=registry
        )
        self._store_ok = Gauge(
            "intentd_store_ok", "Whether corrections can be kept (1) or not (0).", registry=registry
        )
        self._dropped = Gauge(
            "intentd_predictions_dropped",
            "Answers since the start that were not kept for review.",
            registry=registry,
        )
        self._model = Info("intentd_model", "The bundle that answers.", registry=registry)
        self._loaded = Gauge(
            "intentd_model_loaded", "Whether the model is in memory (1).", registry=registry
        )
        self._swaps = Counter(
            "intentd_swaps", "Activations that ended, by how.", ["state"], registry=registry
        )
        self._swapping = Gauge(
            "intentd_swap_in_progress", "Whether an activation goes on (1).", registry=registry
        )
        self._shadow_texts = Gauge(
            "intentd_shadow_texts", "Texts that the shadow was asked.", registry=registry
        )
        self._shadow_agreement = Gauge(
            "intentd_shadow_agreement",
            "Share of texts on which the shadow agrees; NaN without one.",
            registry=registry,
        )
        ProcessCollector(registry=registry)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Show what can be counted before it is: of a first sample no rate can be had."""
        for state in SWAP_ENDS:
            self._swaps.labels(state)
        for reason in Reason:
            self._predictions.labels(reason.value)

    def expect_requests(self, route: str) -> None:
        """Show a route before its first request, as answered 0 times with 200."""
        self._requests.labels(route, "200")

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the queue's depth whenever the metrics are read."""
        self._depth.set_function(depth)

    def watch_store(self, is_ok: Callable[[], bool], dropped: Callable[[], float]) -> None:
        """Read the stores' health whenever the metrics are read."""
        self._store_ok.set_function(lambda: float(is_ok()))
        self._dropped.set_function(dropped)

    def watch_model(self, is_loaded: Callable[[], bool]) -> None:
        """Read whether the model is in memory whenever the metrics are read."""
        self._loaded.set_function(lambda: float(is_loaded()))

    def watch_swaps(
        self,
        is_swapping: Callable[[], bool],
        shadow: Callable[[], tuple[int, float | None]],
    ) -> None:
        """Read what goes on with models, and the shadow's texts and agreement."""
        self._swapping.set_function(lambda: float(is_swapping()))
        self._shadow_texts.set_function(lambda: float(shadow()[0]))
        self._shadow_agreement.set_function(lambda: _or_nan(shadow()[1]))

    def count_swap(self, state: str) -> None:
        """One activation that ended: committed, rolled_back or refused."""
        self._swaps.labels(state).inc()

    def set_outbox(self, size: int) -> None:
        """How many records upstream does not have yet."""
        self._outbox.set(size)

    def count_correction(self, kind: str) -> None:
        """One correction, durable."""
        self._corrections.labels(kind).inc()

    def set_model(self, bundle: Bundle) -> None:
        """Name the bundle that answers."""
        manifest = bundle.manifest
        self._model.info(
            {
                "name": manifest.name,
                "version": manifest.version,
                "phase": manifest.task.phase,
                "digest": bundle.digest,
            }
        )

    def count_request(self, route: str, status: int) -> None:
        """One answered request; `route` is the route's pattern, never the path that came."""
        self._requests.labels(route, str(status)).inc()

    def count_answer(self, answer: ClassifyAnswer) -> None:
        """One classified text."""
        self._predictions.labels(answer.reason.value).inc()
        self._tokens.observe(answer.tokens.used)
        self._truncated.inc(answer.tokens.truncated)
        if answer.cached:
            self._repeats.inc()
            return  # no stage was gone through
        for stage, milliseconds in (
            ("queue", answer.timings.queue_ms),
            ("tokenize", answer.timings.tokenize_ms),
            ("infer", answer.timings.infer_ms),
        ):
            self._stages.labels(stage).observe(milliseconds / 1e3)

    def render(self) -> bytes:
        """The text format that Prometheus reads."""
        return generate_latest(self._registry)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value

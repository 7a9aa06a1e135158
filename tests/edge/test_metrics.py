"""`edge.metrics`: what Prometheus reads, and that nothing a user wrote is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from edge.bundle import Bundle, Manifest
from edge.metrics import Metrics
from edge.swap.progress import ENDED
from edge.wire import (
    ClassifyAnswer,
    LabelSetInfo,
    ModelInfo,
    Reason,
    Score,
    Timings,
    TokenInfo,
)

CANARY = "zeppelin"


def bundle(name: str = "tiny") -> Bundle:
    """A bundle with this name; its files are not needed."""
    manifest = Manifest.model_validate(
        {
            "name": name,
            "version": "1",
            "task": "zero-shot-embedding",
            "architecture": "BertModel",
            "max_tokens": 512,
            "quantization": {"recipe": "fp32", "batch_invariant": True},
            "opset": 18,
            "source": {"model": "made-up", "revision": "0"},
            "licence": "Apache-2.0",
            "created_utc": "2026-01-01T00:00:00Z",
        }
    )
    return Bundle(Path("nowhere"), manifest, "d1" * 32)


def answer(
    label: str = CANARY, truncated: bool = False, reason: Reason = Reason.ABOVE_THRESHOLD
) -> ClassifyAnswer:
    """An answer about a label that the user made up."""
    return ClassifyAnswer(
        id="0",
        label=label,
        labels=[label],
        raw_label=label,
        reason=reason,
        scores=[Score(label=label, score=1.0)],
        model=ModelInfo(name="tiny", version="1", phase="starter", digest="d1" * 32),
        label_set=LabelSetInfo(name="request", version="", digest="l"),
        tokens=TokenInfo(used=9, truncated=truncated),
        timings=Timings(queue_ms=1.0, tokenize_ms=2.0, infer_ms=30.0),
    )


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, as Prometheus' own reader reads it."""
    families = text_string_to_metric_families(metrics.render().decode("utf-8"))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status() -> None:
    """The route is a pattern, so that no path makes a new series."""
    metrics = Metrics()
    metrics.count_request("/v1/classify", 200)
    metrics.count_request("/v1/classify", 200)
    metrics.count_request("/v1/classify", 422)

    samples = read(metrics)

    route = ("route", "/v1/classify")
    assert samples["intentd_requests_total", (route, ("status", "200"))] == 2
    assert samples["intentd_requests_total", (route, ("status", "422"))] == 1


def test_what_can_happen_is_there_before_it_happens() -> None:
    """Prometheus takes no rate of a series' first sample: the first refusal would not show."""
    metrics = Metrics()
    metrics.expect_requests("/v1/classify")
    samples = read(metrics)

    asked = (("route", "/v1/classify"), ("status", "200"))
    assert samples["intentd_requests_total", asked] == 0
    for state in ENDED:
        assert samples["intentd_swaps_total", (("state", state.value),)] == 0
    for reason in Reason:
        assert samples["intentd_predictions_total", (("reason", reason.value),)] == 0


def test_answers_are_counted_with_their_tokens_and_times() -> None:
    """Milliseconds on the wire, seconds in the metrics, as Prometheus has it."""
    metrics = Metrics()
    for reason in Reason:
        metrics.count_answer(answer(truncated=reason is Reason.CORRECTED, reason=reason))

    samples = read(metrics)

    for reason in Reason:
        assert samples["intentd_predictions_total", (("reason", reason.value),)] == 1
    assert samples["intentd_truncated_total", ()] == 1
    assert samples["intentd_tokens_sum", ()] == 27
    for stage, seconds in (("queue", 0.003), ("tokenize", 0.006), ("infer", 0.09)):
        key = (("stage", stage),)
        assert samples["intentd_stage_seconds_count", key] == 3
        assert samples["intentd_stage_seconds_sum", key] == pytest.approx(seconds)


def test_the_bundle_that_answers_is_named_and_only_that_one() -> None:
    """After a swap the old one is gone."""
    metrics = Metrics()
    metrics.set_model(bundle("old"))
    metrics.set_model(bundle("new"))

    infos = [labels for name, labels in read(metrics) if name == "intentd_model_info"]

    assert [dict(labels) for labels in infos] == [
        {"name": "new", "version": "1", "phase": "starter", "digest": "d1" * 32}
    ]


def test_the_queue_is_looked_at_when_the_metrics_are_read() -> None:
    """A gauge that is set on change would be wrong whenever a change is missed."""
    metrics, queue = Metrics(), [1, 2, 3]
    metrics.watch_queue(lambda: len(queue))

    assert read(metrics)["intentd_queue_depth", ()] == 3
    queue.clear()
    assert read(metrics)["intentd_queue_depth", ()] == 0


def test_the_stores_are_looked_at_when_the_metrics_are_read() -> None:
    """Corrections are counted by kind; a store that breaks shows at the next reading."""
    metrics, health = Metrics(), {"ok": True, "dropped": 0}
    metrics.watch_store(lambda: bool(health["ok"]), lambda: float(health["dropped"]))
    metrics.count_correction("correction")
    metrics.set_outbox(3)

    assert read(metrics)["intentd_corrections_total", (("kind", "correction"),)] == 1
    assert read(metrics)["intentd_outbox_records", ()] == 3
    assert read(metrics)["intentd_store_ok", ()] == 1
    health.update(ok=False, dropped=2)
    assert read(metrics)["intentd_store_ok", ()] == 0
    assert read(metrics)["intentd_predictions_dropped", ()] == 2


def test_memory_and_open_files_of_the_process_are_there() -> None:
    """A leak shows here first."""
    names = {name for name, _ in read(Metrics())}

    assert {"process_resident_memory_bytes", "process_open_fds"} <= names


def test_two_daemons_in_one_process_do_not_share_numbers() -> None:
    """Each has its registry; none is the library's global one."""
    one, two = Metrics(), Metrics()
    one.count_request("/", 200)

    assert not any(name == "intentd_requests_total" for name, _ in read(two))


@given(label=st.text(min_size=1).map(lambda text: CANARY + text), truncated=st.booleans())
def test_nothing_that_a_user_wrote_is_in_the_metrics(label: str, truncated: bool) -> None:
    """A user's labels neither leak, nor break the format, nor make new series."""
    metrics = Metrics()
    metrics.count_answer(answer(label="A"))
    before = set(read(metrics))
    metrics.count_answer(answer(label, truncated))

    assert set(read(metrics)) == before
    assert CANARY not in metrics.render().decode()


def test_every_metric_has_our_prefix_and_a_help_text() -> None:
    """What stands in a dashboard must say whose it is and what it means."""
    metrics = Metrics()
    metrics.set_model(bundle())
    metrics.count_answer(answer())
    for family in text_string_to_metric_families(metrics.render().decode()):
        assert family.name.startswith(("intentd_", "process_")), family.name
        assert family.documentation.endswith("."), family.name

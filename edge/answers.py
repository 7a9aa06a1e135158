"""What the daemon says of its model and its answers, in the wire's form. It asks no model."""

from __future__ import annotations

from edge.ids import uuid7
from edge.labels import LabelSet
from edge.predictor import Prediction, Predictor
from edge.runtime import runtime_version
from edge.window import Window
from edge.wire import (
    ClassifyAnswer,
    IntentInfo,
    IntentsAnswer,
    LabelSetInfo,
    ModelAnswer,
    ModelInfo,
    Score,
    Timings,
    TokenInfo,
    WindowReason,
)

__all__ = ["build_answer", "describe_intents", "describe_model"]


def build_answer(
    predictor: Predictor,
    prediction: Prediction,
    label_set: LabelSet,
    queue_ms: float,
    top_k: int | None = None,
    is_repeat: bool = False,
    window: Window | None = None,
) -> ClassifyAnswer:
    """The wire form of a prediction.

    Args:
        predictor: Who made it.
        prediction: What was predicted.
        label_set: The labels asked for.
        queue_ms: How long it waited.
        top_k: How many scores to show; None shows all.
        is_repeat: Whether the model was not asked again.
        window: What could have been read; None means the bundle's window.
    """
    limit = window or Window(predictor.bundle.manifest.max_tokens, WindowReason.MODEL)
    return ClassifyAnswer(
        id=str(uuid7()),
        label=prediction.label,
        labels=list(prediction.labels),
        raw_label=prediction.raw_label,
        reason=prediction.reason,
        scores=[Score(label=name, score=score) for name, score in prediction.scores[:top_k]],
        model=_model_info(predictor),
        label_set=_label_set_info(label_set),
        tokens=TokenInfo(
            used=prediction.tokens_used,
            truncated=prediction.truncated,
            window=limit.tokens,
            window_reason=limit.reason,
        ),
        timings=Timings(
            queue_ms=round(queue_ms, 3),
            tokenize_ms=0.0 if is_repeat else round(prediction.tokenize_ms, 3),
            infer_ms=0.0 if is_repeat else round(prediction.infer_ms, 3),
        ),
        cached=is_repeat,
    )


def describe_intents(predictor: Predictor) -> IntentsAnswer:
    """The default label set, with the thresholds that hold for this bundle."""
    label_set = predictor.label_set
    return IntentsAnswer(
        label_set=_label_set_info(label_set),
        fixed=predictor.fixed_labels,
        intents=[
            IntentInfo(
                name=intent.name,
                description=intent.description,
                threshold=predictor.threshold(intent),
                examples=list(intent.examples),
            )
            for intent in label_set.intents
        ],
    )


def describe_model(predictor: Predictor, parallel_runs: int = 1) -> ModelAnswer:
    """The bundle, and how it is run."""
    manifest = predictor.bundle.manifest
    return ModelAnswer(
        model=_model_info(predictor),
        task=manifest.task.value,
        architecture=manifest.architecture,
        max_tokens=manifest.max_tokens,
        quantization=manifest.quantization.recipe,
        batch_invariant=manifest.quantization.batch_invariant,
        licence=manifest.licence,
        source=f"{manifest.source.model}@{manifest.source.revision}",
        threads=predictor.threads,
        parallel_runs=parallel_runs,
        runtime=f"onnxruntime {runtime_version()}",
    )


def _model_info(predictor: Predictor) -> ModelInfo:
    manifest = predictor.bundle.manifest
    return ModelInfo(
        name=manifest.name,
        version=manifest.version,
        phase=manifest.task.phase,
        digest=predictor.bundle.digest,
    )


def _label_set_info(label_set: LabelSet) -> LabelSetInfo:
    return LabelSetInfo(name=label_set.name, version=label_set.version, digest=label_set.digest)

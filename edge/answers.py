"""What the daemon says of its model and its answers, in the wire's form. It asks no model."""

from __future__ import annotations

from edge.cpu import default_threads
from edge.ids import uuid7
from edge.labels import LabelSet
from edge.predictor import Prediction, Predictor
from edge.runtime import runtime_version
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
)

__all__ = ["build_answer", "describe_intents", "describe_model"]


def build_answer(
    predictor: Predictor,
    prediction: Prediction,
    label_set: LabelSet,
    queue_ms: float,
    top_k: int | None = None,
) -> ClassifyAnswer:
    """The wire form of a prediction."""
    return ClassifyAnswer(
        id=str(uuid7()),
        label=prediction.label,
        labels=list(prediction.labels),
        raw_label=prediction.raw_label,
        reason=prediction.reason,
        scores=[Score(label=name, score=score) for name, score in prediction.scores[:top_k]],
        model=_model_info(predictor),
        label_set=_label_set_info(label_set),
        tokens=TokenInfo(used=prediction.tokens_used, truncated=prediction.truncated),
        timings=Timings(
            queue_ms=round(queue_ms, 3),
            tokenize_ms=round(prediction.tokenize_ms, 3),
            infer_ms=round(prediction.infer_ms, 3),
        ),
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


def describe_model(predictor: Predictor, threads: int) -> ModelAnswer:
    """The bundle; `threads` as the settings have it, 0 for as many as are usable."""
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
        threads=threads or default_threads(),
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

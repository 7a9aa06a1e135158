"""Every choice that makes a bundle, frozen, with its reason: a build's, and the starter's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edge.bundle import Metric, Target
from edge.similarity import SimilarityParams
from export.gate import Gate

__all__ = ["AUTO", "LENGTHS", "BuildOptions", "Limits", "StarterRecipe", "created_utc"]

AUTO = "auto"
LENGTHS = (40, 256)
"""Tokens a row at which candidates are timed: a request, and a request with its passage."""

# Fixed, so that the same weights give the same bundle on any day; SOURCE_DATE_EPOCH overrules it.
RECIPE_EPOCH_S = 1_795_305_600  # 2026-11-22T00:00:00Z

# Printed by `intentd-export evaluate` on 2026-11-22 (docs/starter.md).
MEASURED = (
    Metric(name="accuracy, request with its passage", value=0.838, n=191, dataset="intent4 dev"),
    Metric(name="accuracy, request without it", value=0.869, n=191, dataset="intent4 dev"),
    Metric(name="accuracy of the answered", value=0.916, n=131, dataset="intent4 dev"),
    Metric(name="requests of no label turned away", value=0.975, n=40, dataset="intent4 oos"),
)


@dataclass(frozen=True, slots=True)
class StarterRecipe:
    """How the starter is made from all-MiniLM-L6-v2."""

    name: str = "starter-minilm-l6"
    version: str = "1"
    source_model: str = "sentence-transformers/all-MiniLM-L6-v2"
    licence: str = "Apache-2.0"
    opset: int = 18
    """The lowest that Optimum exports BERT with without a warning."""
    max_tokens: int = 256
    """The source's `max_seq_length`: what it was trained to read."""
    min_cosine: float = 0.97
    """Parity gate: the least cosine allowed between an fp32 and an int8 embedding."""
    max_score_delta: float = 0.15
    """Parity gate and self-test: the largest |Δscore| against fp32; a low temperature is steep."""
    min_label_agreement: float = 0.99
    """Parity gate: the share of answered probe texts that keep their label."""
    threshold: float = 0.54
    """For the default labels: the lowest that gains 5 points on intent4, passage or not.
    Ad-hoc labels have none: they are known by one text each."""
    metrics: tuple[Metric, ...] = MEASURED
    """Measured on the shipped bundle; tests/export/test_starter_accuracy.py keeps them true."""

    @property
    def similarity(self) -> dict[str, float]:
        """The scoring scalars, as the manifest carries them."""
        return asdict(SimilarityParams())


@dataclass(frozen=True, slots=True)
class Limits:
    """When the search for sensitive products gives up."""

    evaluations: int = 12
    minutes: float = 30.0


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a bundle is built from a classifier."""

    out: Path
    """The bundle's directory; replaced in one step, and only by a bundle that passed."""
    recipe: str = AUTO
    """One of `export.recipes.RECIPE_NAMES`, or `auto`: the fastest that keeps the answers."""
    fused: bool | None = None
    """Whether attention is fused and the last layer trimmed; None means where it pays."""
    target: Target = Target.ANY
    """The instruction set to pack for; what it is measured on is this machine's."""
    name: str | None = None
    """None means the source's, in lower case."""
    version: str = "1"
    licence: str | None = None
    """None means what the model card states, else `not stated`."""
    probes: Path | None = None
    """The caller's own texts, asked beside the built-in ones."""
    private_probes: bool = False
    """Whether those texts stay on this machine: none of them then goes into the self-test."""
    threshold: float = 0.0
    """Score below which no label is given."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Per label; stronger than `threshold`."""
    dataset_sha256: str | None = None
    """Of what the model was trained on."""
    gate: Gate = field(default_factory=Gate)
    limits: Limits = field(default_factory=Limits)
    work_dir: Path | None = None
    """Where intermediates lie; None means a temporary directory beside `out`."""
    keep: bool = False
    """Whether the intermediates stay after success."""
    opset: int = 18
    """The lowest that Optimum exports these models with without a warning."""


def created_utc(environ: Mapping[str, str] = os.environ) -> str:
    """When the bundle says it was made: `SOURCE_DATE_EPOCH` (seconds), else the recipe's date."""
    epoch_s = int(environ.get("SOURCE_DATE_EPOCH", RECIPE_EPOCH_S))
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

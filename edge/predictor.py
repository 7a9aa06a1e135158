"""From a bundle to predictions: opens tokenizer and graph, picks the family, applies thresholds.

It knows no HTTP and no database. Export and training measure models through this very class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from edge.bundle import MODEL, TOKENIZER, Bundle, Manifest, SelfTestCase, Task
from edge.cpu import read_cpu
from edge.errors import BundleIncompatible
from edge.labels import Intent, LabelSet
from edge.query import ModelFamily, Query, Scores, Shape
from edge.runtime import Graph, RuntimeOptions, runtime_version
from edge.sequence_classification import SequenceClassification
from edge.text import check_text
from edge.tokens import TextTokenizer
from edge.vectors import VectorFile
from edge.wire import Reason
from edge.zero_shot_embedding import ZeroShotEmbedding
from edge.zero_shot_nli import ZeroShotNli

__all__ = ["Prediction", "Predictor", "SelfTestResult"]

FAMILIES: Mapping[Task, type[ZeroShotNli | SequenceClassification | ZeroShotEmbedding]] = {
    Task.ZERO_SHOT_NLI: ZeroShotNli,
    Task.SEQUENCE_CLASSIFICATION: SequenceClassification,
    Task.ZERO_SHOT_EMBEDDING: ZeroShotEmbedding,
}
LONE_THREAD = frozenset({Task.ZERO_SHOT_EMBEDDING})
"""Its runs are so short that a second thread costs more to wake than it brings.

Source: the starter on two cores takes 2.2 ms on one thread and 2.6 on two (benchmarks/NOTES.md).
"""
MOST_RUNS: Mapping[Task, int] = {Task.ZERO_SHOT_NLI: 1, Task.SEQUENCE_CLASSIFICATION: 4}
"""Runs at once, lest their memory add up; one of NLI holds a row a label, and fills the cores."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a text asks for, and how sure the model is."""

    label: str | None
    """The best label; None if its score is below its threshold."""
    labels: tuple[str, ...]
    """Every label at or above its threshold, best first; at most one unless `multi_label`."""
    raw_label: str
    reason: Reason
    scores: tuple[tuple[str, float], ...]
    """(label, score in [0, 1]), best first; ties in the label set's order."""
    tokens_used: int
    truncated: bool
    tokenize_ms: float
    infer_ms: float


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """How the bundle answers on this CPU, beside what the workstation recorded."""

    cases: int
    agreeing: int
    """Cases whose label is the reference label."""
    max_score_delta: float
    """Largest |Δscore| over all cases and labels."""
    tolerance: float

    @property
    def passed(self) -> bool:
        """Every label agrees and no score is further off than the bundle allows."""
        return self.agreeing == self.cases and self.max_score_delta <= self.tolerance


class Predictor:
    """One loaded bundle with its default label set. `predict` may be called from any thread."""

    def __init__(
        self, bundle: Bundle, label_set: LabelSet, options: RuntimeOptions | None = None
    ) -> None:
        """Load the model.

        Args:
            bundle: A verified bundle.
            label_set: The default labels; a fixed-label bundle takes only their thresholds.
            options: Threads and memory; None means the defaults.

        Raises:
            BundleCorrupt: The tokenizer cannot be read.
            BundleIncompatible: The graph cannot be loaded.
        """
        manifest = bundle.manifest
        tokenizer = TextTokenizer((bundle.path / TOKENIZER).read_bytes())
        options = options or RuntimeOptions()
        if manifest.task in LONE_THREAD and not options.threads:
            options = replace(options, threads=1)
        graph = Graph(bundle.path / MODEL, options)
        self.threads = graph.threads
        """Threads for one run."""
        self._family: ModelFamily = FAMILIES[manifest.task](manifest, tokenizer, graph)
        self.bundle = bundle
        self.label_set = _own_labels(manifest, label_set) if self.fixed_labels else label_set
        self._thresholds_of = lru_cache(32)(self._read_thresholds)
        self._family.prepare(self.label_set, self._vector_file(options.vectors))

    def runs_at_once(self, threads: int) -> int:
        """How many texts are best read at once, with so many threads to use."""
        return min(threads, MOST_RUNS.get(self.bundle.manifest.task, threads))

    @property
    def fixed_labels(self) -> bool:
        """Whether the labels were fixed in training, so that a request cannot bring its own."""
        return self._family.fixed_labels

    def predict(self, query: Query) -> Prediction:
        """Answer one query.

        Raises:
            InvalidRequest: The text, labels, template or window cannot be used with this bundle.
        """
        return self.conclude(query, self.score(query))

    def score(self, query: Query) -> Scores:
        """The scores alone, which no threshold has touched.

        Raises:
            InvalidRequest: As `predict`.
        """
        check_text(query.text)
        return self._family.score(query)

    def shape(self, query: Query) -> Shape:
        """What a run of this query looks like, whatever its text.

        Raises:
            InvalidValue: The template has no place for the label.
        """
        return self._family.shape(query)

    def conclude(self, query: Query, scores: Scores) -> Prediction:
        """What follows from the scores of a query under today's thresholds."""
        names = query.label_set.names
        order = np.argsort(-scores.values, kind="stable")
        ranked = tuple((names[i], float(scores.values[i])) for i in order)
        thresholds = self._thresholds_of(query.label_set)
        reached = [name for name, score in ranked if score >= thresholds[name]]
        raw_label = ranked[0][0]
        is_reached = ranked[0][1] >= thresholds[raw_label]
        return Prediction(
            label=raw_label if is_reached else None,
            labels=tuple(reached) if query.multi_label else (raw_label,) * is_reached,
            raw_label=raw_label,
            reason=Reason.ABOVE_THRESHOLD if is_reached else Reason.BELOW_THRESHOLD,
            scores=ranked,
            tokens_used=scores.tokens_used,
            truncated=scores.truncated,
            tokenize_ms=scores.tokenize_ms,
            infer_ms=scores.infer_ms,
        )

    def threshold(self, intent: Intent) -> float:
        """Score in [0, 1] below which this label is not given: its own, else the bundle's."""
        if intent.threshold is not None:
            return intent.threshold
        manifest = self.bundle.manifest
        return manifest.thresholds.get(intent.name, manifest.threshold)

    def self_test(self) -> SelfTestResult:
        """Answer the bundle's reference texts on this CPU.

        Raises:
            BundleCorrupt: The self-test cannot be read.
            BundleIncompatible: It holds no case.
        """
        cases = list(self.bundle.read_selftest())
        if not cases:
            raise BundleIncompatible(f"{self.bundle.path}: the self-test is empty; build it again")
        deltas = [self._check(case) for case in cases]
        return SelfTestResult(
            cases=len(cases),
            agreeing=sum(agrees for agrees, _ in deltas),
            max_score_delta=float(np.max([delta for _, delta in deltas])),  # NaN stays NaN
            tolerance=self.bundle.manifest.selftest_tolerance,
        )

    def _vector_file(self, directory: Path | None) -> VectorFile | None:
        if directory is None:
            return None
        labels = self.label_set.digest
        return VectorFile.of(directory, self.bundle.digest, labels, runtime_version(), read_cpu())

    def _check(self, case: SelfTestCase) -> tuple[bool, float]:
        label_set = LabelSet.from_names(case.labels) if case.labels else self.label_set
        prediction = self.predict(Query(case.text, label_set))
        found = dict(prediction.scores)
        deltas = [abs(found.get(label, 0.0) - score) for label, score in case.scores.items()]
        return prediction.raw_label == case.label, float(np.max(deltas, initial=0.0))

    def _read_thresholds(self, label_set: LabelSet) -> dict[str, float]:
        return {intent.name: self.threshold(intent) for intent in label_set.intents}


def _own_labels(manifest: Manifest, label_set: LabelSet) -> LabelSet:
    """A fixed-label bundle's labels, with what the admin's label set says of those it names."""
    known = {intent.name: intent for intent in label_set.intents}
    intents = tuple(known.get(label, Intent(label)) for label in manifest.labels)
    return LabelSet(name=manifest.name, version=manifest.version, intents=intents)

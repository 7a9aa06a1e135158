"""Phase B: a fine-tuned classifier with labels fixed in training.

By default DistilBERT: encoder only, with a window of 512.
"""

from __future__ import annotations

import time

import numpy as np

from edge.batch import run_rows
from edge.bundle import Manifest
from edge.errors import InvalidValue, UnknownLabel
from edge.labels import LabelSet
from edge.query import Query, Scores, Shape, join, read_window
from edge.runtime import Graph
from edge.scoring import sigmoid, softmax
from edge.tokens import TextTokenizer
from edge.vectors import VectorFile

__all__ = ["SequenceClassification"]


class SequenceClassification:
    """Fixed labels, one forward row for a text."""

    fixed_labels = True

    def __init__(self, manifest: Manifest, tokenizer: TextTokenizer, graph: Graph) -> None:
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._graph = graph
        self._positions = {label: i for i, label in enumerate(manifest.labels)}

    def prepare(self, label_set: LabelSet, kept: VectorFile | None = None) -> None:
        """Check that the model has these labels; there is nothing to compute.

        Raises:
            UnknownLabel: It does not.
        """
        self._find(label_set)

    def shape(self, query: Query) -> Shape:
        """One row."""
        return Shape(1, self._tokenizer.n_special_single)

    def score(self, query: Query) -> Scores:
        """Scores over all of the model's labels; a subset keeps the scores that it has among all.

        Raises:
            UnknownLabel: The model was not trained on one of the labels.
            WindowTooSmall: The window leaves no room for the text.
            InvalidValue: The query brings a hypothesis template, which this family does not read.
        """
        if query.hypothesis_template is not None:
            raise InvalidValue(
                "hypothesis_template: this bundle has fixed labels and reads no template; "
                "leave the field out"
            )
        positions = self._find(query.label_set)
        started = time.perf_counter()
        special = self._tokenizer.n_special_single
        room = read_window(self._manifest.max_tokens, query, special, "the special tokens")
        piece = self._tokenizer.encode(join(query.text, query.content), room)
        row = self._tokenizer.single(piece.ids)
        tokenized = time.perf_counter()
        logits = run_rows(self._graph, [row], self._tokenizer.pad_id)[0].astype(np.float64)
        scaled = logits / self._manifest.temperature
        values = sigmoid(scaled) if self._manifest.activation == "sigmoid" else softmax(scaled)
        return Scores(
            values=values[positions],
            tokens_used=len(row.ids),
            truncated=piece.truncated,
            tokenize_ms=(tokenized - started) * 1e3,
            infer_ms=(time.perf_counter() - tokenized) * 1e3,
        )

    def _find(self, label_set: LabelSet) -> list[int]:
        """Logit positions of the labels asked for."""
        unknown = [name for name in label_set.names if name not in self._positions]
        if unknown:
            raise UnknownLabel(
                f"labels: {len(unknown)} of them unknown to this fixed-label bundle, which has "
                f"{', '.join(self._manifest.labels)}; ask for these, or serve a zero-shot bundle"
            )
        return [self._positions[name] for name in label_set.names]

"""The starter: a sentence encoder; a label scores by likeness to its description and examples.

One forward run however many labels there are, for boxes too weak for BART.
"""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from edge.batch import run_rows
from edge.bundle import Manifest
from edge.errors import InvalidValue
from edge.labels import LabelSet
from edge.query import Query, Scores, read_window
from edge.runtime import Graph
from edge.similarity import READ_CHARS, LabelBank, SimilarityParams, segments
from edge.tokens import TextTokenizer

__all__ = ["ZeroShotEmbedding"]

CACHED_LABEL_SETS = 32


class ZeroShotEmbedding:
    """Any labels; the vectors of a label set are computed once and kept."""

    fixed_labels = False

    def __init__(self, manifest: Manifest, tokenizer: TextTokenizer, graph: Graph) -> None:
        self._window = manifest.max_tokens
        self._params = SimilarityParams.from_manifest(manifest.similarity)
        self._tokenizer = tokenizer
        self._graph = graph
        self._bank = lru_cache(CACHED_LABEL_SETS)(self._build_bank)

    def prepare(self, label_set: LabelSet) -> None:
        """Embed the label set's wording once, and keep the vectors."""
        self._bank(label_set)

    def score(self, query: Query) -> Scores:
        """Likeness of the text's head and tail to what each label is known by.

        The content is not read: which passage a request is about does not tell what is asked of it.

        Raises:
            WindowTooSmall: The window leaves no room for the text.
            InvalidValue: The query brings a hypothesis template, which this family does not read.
        """
        if query.hypothesis_template is not None:
            raise InvalidValue(
                "hypothesis_template: this bundle compares meanings and reads no template; "
                "leave the field out, or serve a zero-shot-nli bundle"
            )
        bank = self._bank(query.label_set)
        started = time.perf_counter()
        parts = segments(query.text, query.content)
        room = self._room(query)
        pieces = [self._tokenizer.encode(part, room) for part in parts]
        rows = [self._tokenizer.single(piece.ids) for piece in pieces]
        tokenized = time.perf_counter()
        vectors = run_rows(self._graph, rows, self._tokenizer.pad_id)
        values = bank.score(vectors, multi_label=query.multi_label)
        is_short = len(query.text) <= READ_CHARS and query.text.strip() in parts
        return Scores(
            values=values,
            tokens_used=max(len(row.ids) for row in rows),
            truncated=not is_short or any(piece.truncated for piece in pieces),
            tokenize_ms=(tokenized - started) * 1e3,
            infer_ms=(time.perf_counter() - tokenized) * 1e3,
        )

    def _room(self, query: Query) -> int:
        special = self._tokenizer.n_special_single
        return read_window(self._window, query, special, "the special tokens")

    def _build_bank(self, label_set: LabelSet) -> LabelBank:
        return LabelBank.build(label_set, self._embed, self._params)

    def _embed(self, text: str) -> np.ndarray:
        """float32 [dim] of one text in a run of its own: batch-mates would change it."""
        room = self._window - self._tokenizer.n_special_single
        row = self._tokenizer.single(self._tokenizer.encode(text, room).ids)
        return np.asarray(run_rows(self._graph, [row], self._tokenizer.pad_id)[0])

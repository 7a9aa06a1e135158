"""The starter: a sentence encoder; a label scores by likeness to its description and examples.

One forward run however many labels there are, for boxes too weak for BART.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from edge.batch import run_rows
from edge.bundle import Manifest
from edge.cpu import default_threads
from edge.errors import InvalidValue
from edge.labels import LabelSet
from edge.query import Query, Scores, Shape, read_window
from edge.runtime import Graph
from edge.similarity import READ_CHARS, LabelBank, SimilarityParams, known_texts, segments
from edge.tokens import TextTokenizer
from edge.vectors import VectorFile

__all__ = ["ZeroShotEmbedding"]

CACHED_LABEL_SETS = 32
MANY_TEXTS = 16  # fewer are embedded before a second thread has started


class ZeroShotEmbedding:
    """Any labels; the vectors of a label set are computed once and kept."""

    fixed_labels = False

    def __init__(self, manifest: Manifest, tokenizer: TextTokenizer, graph: Graph) -> None:
        self._window = manifest.max_tokens
        self._params = SimilarityParams.from_manifest(manifest.similarity)
        self._tokenizer = tokenizer
        self._graph = graph
        self._ad_hoc = lru_cache(CACHED_LABEL_SETS)(self._build_bank)
        self._prepared: dict[str, LabelBank] = {}

    def prepare(self, label_set: LabelSet, kept: VectorFile | None = None) -> None:
        """Embed the label set's wording once, and keep the vectors; in `kept` for the next start.

        What clients bring as labels is never written anywhere.
        """
        self._prepared[label_set.digest] = self._build_bank(label_set, kept)

    def shape(self, query: Query) -> Shape:
        """One row counts: each part of a text is short."""
        return Shape(1, self._tokenizer.n_special_single)

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

    def _bank(self, label_set: LabelSet) -> LabelBank:
        return self._prepared.get(label_set.digest) or self._ad_hoc(label_set)

    def _build_bank(self, label_set: LabelSet, kept: VectorFile | None = None) -> LabelBank:
        texts = known_texts(label_set)
        vectors = None if kept is None else kept.read(len(texts))
        if vectors is None:
            vectors = self._embed_all(texts)
            if kept is not None:
                kept.write(vectors)
        found = iter(vectors)
        return LabelBank.build(label_set, lambda _: next(found), self._params)

    def _embed_all(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, dim]; many of them on all cores, which changes no bit."""
        if len(texts) < MANY_TEXTS:
            return np.stack([self._embed(text) for text in texts])
        with ThreadPoolExecutor(default_threads()) as pool:
            return np.stack(list(pool.map(self._embed, texts)))

    def _embed(self, text: str) -> np.ndarray:
        """float32 [dim] of one text in a run of its own: batch-mates would change it."""
        room = self._window - self._tokenizer.n_special_single
        row = self._tokenizer.single(self._tokenizer.encode(text, room).ids)
        return np.asarray(run_rows(self._graph, [row], self._tokenizer.pad_id)[0])

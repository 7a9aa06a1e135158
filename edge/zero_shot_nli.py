"""Phase A: an NLI model, by default BART-large-MNLI, judges one hypothesis for each label.

BART is an encoder–decoder with a window of 1024. The numbers are those of the `transformers`
zero-shot pipeline; the truncation is explicit, and reported.
"""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from edge.batch import run_rows
from edge.bundle import Manifest
from edge.errors import InvalidValue
from edge.labels import LabelSet
from edge.query import Query, Scores, Shape, join, read_window
from edge.runtime import Graph
from edge.scoring import softmax
from edge.tokens import Row, TextTokenizer
from edge.vectors import VectorFile

__all__ = ["ZeroShotNli"]

MAX_HYPOTHESIS_TOKENS = 512
CACHED_LABEL_SETS = 32


class ZeroShotNli:
    """Any labels, one forward row for each."""

    fixed_labels = False

    def __init__(self, manifest: Manifest, tokenizer: TextTokenizer, graph: Graph) -> None:
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._graph = graph
        empty = np.empty(0, np.int64)
        self._eos_per_row = _count(tokenizer.pair(empty, empty), tokenizer.eos_id)
        self._hypotheses = lru_cache(CACHED_LABEL_SETS)(self._encode_hypotheses)

    def prepare(self, label_set: LabelSet, kept: VectorFile | None = None) -> None:
        """Tokenise the label set's hypotheses once, and keep them."""
        self._hypotheses(label_set, None)

    def shape(self, query: Query) -> Shape:
        """A row for each label, with its hypothesis."""
        hypotheses = self._hypotheses(query.label_set, query.hypothesis_template)
        longest = max(len(ids) for ids in hypotheses)
        return Shape(len(hypotheses), self._tokenizer.n_special_pair + longest)

    def score(self, query: Query) -> Scores:
        """Softmax over the labels' entailment logits; against contradiction if labels stand alone.

        Raises:
            WindowTooSmall: The window leaves no room for the text beside the longest hypothesis.
            InvalidValue: The template has no place for the label.
        """
        started = time.perf_counter()
        rows, truncated = self._encode(query)
        tokenized = time.perf_counter()
        logits = run_rows(self._graph, rows, self._tokenizer.pad_id).astype(np.float64)
        alone = query.multi_label or len(rows) == 1
        return Scores(
            values=self._alone(logits) if alone else self._shared(logits),
            tokens_used=max(len(row.ids) for row in rows),
            truncated=truncated,
            tokenize_ms=(tokenized - started) * 1e3,
            infer_ms=(time.perf_counter() - tokenized) * 1e3,
        )

    def _shared(self, logits: np.ndarray) -> np.ndarray:
        """float64 [labels], summing to 1."""
        return softmax(logits[:, self._manifest.entailment_id] / self._manifest.temperature)

    def _alone(self, logits: np.ndarray) -> np.ndarray:
        """float64 [labels], each entailment against contradiction; neutral is left out."""
        ids = [self._manifest.contradiction_id, self._manifest.entailment_id]
        pair = logits[:, np.array(ids, np.int64)]
        return np.asarray(softmax(pair / self._manifest.temperature)[:, 1])

    def _encode(self, query: Query) -> tuple[list[Row], bool]:
        """One row a label, and whether the text was cut.

        The text is tokenised once; each row cuts it to what its own hypothesis leaves, never the
        other way.
        """
        hypotheses = self._hypotheses(query.label_set, query.hypothesis_template)
        special = self._tokenizer.n_special_pair
        window, longest = self._manifest.max_tokens, max(len(ids) for ids in hypotheses)
        what = "the longest hypothesis and the special tokens"
        tightest = read_window(window, query, special + longest, what)
        shortest = min(len(ids) for ids in hypotheses)
        piece = self._tokenizer.encode(
            join(query.text, query.content), tightest + longest - shortest
        )
        rows = [
            self._tokenizer.pair(piece.ids[: tightest + longest - len(ids)], ids)
            for ids in hypotheses
        ]
        self._check_eos(rows)
        return rows, piece.truncated or len(piece.ids) > tightest

    def _encode_hypotheses(self, label_set: LabelSet, template: str | None) -> list[np.ndarray]:
        """Ids of each hypothesis: by the request's template, the intent's own, or the bundle's."""
        default = self._manifest.hypothesis_template or ""
        template_or_default = default if template is None else template
        sentences = [
            intent.hypothesis
            if intent.hypothesis and template is None
            else fill_template(template_or_default, intent.name)
            for intent in label_set.intents
        ]
        return [self._tokenizer.encode(text, MAX_HYPOTHESIS_TOKENS).ids for text in sentences]

    def _check_eos(self, rows: list[Row]) -> None:
        """BART answers at the last `</s>` of a row; with one too many it would answer elsewhere.

        Raises:
            RuntimeError: A bug: some text became a special token.
        """
        found = {_count(row, self._tokenizer.eos_id) for row in rows}
        if found != {self._eos_per_row}:
            raise RuntimeError(
                f"expected {self._eos_per_row} </s> in every row, found {sorted(found)}"
            )


def _count(row: Row, token_id: int | None) -> int:
    return int((row.ids == token_id).sum()) if token_id is not None else 0


def fill_template(template: str, label: str) -> str:
    """The hypothesis for a label.

    Raises:
        InvalidValue: The template does not hold exactly one `{}`.
    """
    if not (template.count("{}") == template.count("{") == template.count("}") == 1):
        raise InvalidValue(
            "hypothesis_template: expected a sentence with exactly one {} where the label goes, "
            "such as 'This text asks to {}.'"
        )
    return template.replace("{}", label)

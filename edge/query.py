"""What is asked of a model and what it answers: the words that the three model families share.

It is free of HTTP, and runs no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge.errors import WindowTooSmall
from edge.labels import LabelSet
from edge.vectors import VectorFile

__all__ = ["MIN_TEXT_TOKENS", "ModelFamily", "Query", "Scores", "Shape", "join", "read_window"]

MIN_TEXT_TOKENS = 1  # a window that leaves less than this for the text answers from the label alone


@dataclass(frozen=True, slots=True)
class Query:
    """One text and how to score it."""

    text: str
    label_set: LabelSet
    content: str | None = None
    """What the text is about; read with what the text leaves of the window."""
    multi_label: bool = False
    hypothesis_template: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a query's run looks like, whatever its text."""

    rows: int
    """How many are run."""
    overhead: int
    """Tokens of the longest row that are not text."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One score a label, in the order of the query's label set."""

    values: np.ndarray
    """float64 [labels], each in [0, 1]."""
    tokens_used: int
    """Tokens of the longest row, special tokens included."""
    truncated: bool
    tokenize_ms: float
    infer_ms: float


class ModelFamily(Protocol):
    """One family of models: how a query becomes rows, and logits become scores."""

    @property
    def fixed_labels(self) -> bool:
        """Whether the labels were fixed in training."""
        ...

    def score(self, query: Query) -> Scores:
        """Score one query; the same query gives the same bits, whatever else runs."""
        ...

    def shape(self, query: Query) -> Shape:
        """How many rows a query takes, and what of each is not text."""
        ...

    def prepare(self, label_set: LabelSet, kept: VectorFile | None = None) -> None:
        """Do once what depends on the labels alone, so that the first query does not pay for it.

        Args:
            label_set: The default labels.
            kept: Where a family that embeds them may leave the vectors for the next start.
        """
        ...


def read_window(window: int, query: Query, overhead: int, what: str) -> int:
    """Tokens that the text may fill: the smaller of both windows, less `overhead`.

    Args:
        window: The bundle's `max_tokens`.
        query: Its `max_tokens` may lower the window, never raise it.
        overhead: Tokens that are not text: special tokens, and the longest hypothesis.
        what: What the overhead is, for the message.

    Raises:
        WindowTooSmall: Nothing is left for the text.
    """
    limit = window if query.max_tokens is None else min(window, query.max_tokens)
    room = limit - overhead
    if room < MIN_TEXT_TOKENS:
        raise WindowTooSmall(
            f"max_tokens: a window of {limit} tokens leaves {room} for the text, "
            f"since {what} take {overhead}; ask for at least {overhead + MIN_TEXT_TOKENS} "
            f"(the model's window is {window})"
        )
    return room


def join(text: str, content: str | None) -> str:
    """The premise: the request first, so that the window is spent on it first."""
    return text if content is None else f"{text}\n\n{content}"

"""Scores by likeness: which parts of a text to embed, and how their vectors become label scores.

Pure text and numpy: it tokenises nothing, runs no graph, and fits nothing to anybody's data.

A text is read by its head and its tail, because a request stands before or after the passage it is
about, and a passage embedded along with it drowns it. A label is known by its description and its
examples. Their vectors, and those of the background (requests that mean none of the labels), are
centred: what all of them share says nothing about which one is meant. The evidence for a label is
then how near its nearest examples are, mixed with how near all of them are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from edge.errors import BundleIncompatible
from edge.labels import Intent, LabelSet
from edge.scoring import sigmoid, softmax

__all__ = ["READ_CHARS", "LabelBank", "SimilarityParams", "known_texts", "segments"]

Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

READ_CHARS = 4000  # looked at on either end; bounds the cost of a 50 MB text
SEGMENT_CHARS = 300  # longer lines are passages; accuracy is flat from 200 to 600 (docs/starter.md)
LINE_CHARS = 16  # shorter lines ("Hi,", "Thanks") are no request: they join the next one
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[\u3002\uff01\uff1f])")


@dataclass(frozen=True, slots=True)
class SimilarityParams:
    """The scalars of the scoring; the bundle's manifest carries them as `similarity`.

    Source: 5-fold cross-validation on intent4 (2026-11-22), docs/starter.md.
    """

    nearest_weight: float = 0.7
    """Share in [0, 1] of a label's evidence that its √n nearest texts give; all n give the rest."""
    centre_prior: float = 5.0
    """Zero vectors averaged into the centre, so that two bare names are not torn to opposites."""
    temperature: float = 0.03
    """Evidence is divided by it before the softmax; for labels known by many texts."""
    temperature_one: float = 0.075
    """Added (in squares, over n): evidence from few texts is noisy, and one name is the fewest."""
    midpoint: float = 0.12
    """Evidence at which a label standing alone scores 0.5; for labels known by many texts."""
    midpoint_one: float = 0.12
    """Added over n, as the likeness to one name is not averaged down."""

    @classmethod
    def from_manifest(cls, values: Mapping[str, float]) -> Self:
        """The parameters of a bundle; a scalar that it leaves out has the default.

        Raises:
            BundleIncompatible: A scalar is unknown here, or out of its range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise BundleIncompatible(
                f"similarity: this intentd does not know {', '.join(unknown)}; "
                "update intentd, or build the bundle with the matching intentd-export"
            )
        params = cls(**values)
        in_range = 0 <= params.nearest_weight <= 1 and params.centre_prior >= 0
        if not (in_range and params.temperature > 0):
            raise BundleIncompatible(
                "similarity: expected nearest_weight in [0, 1], centre_prior from 0, temperature "
                f"above 0; found {dict(values)}; build the bundle again"
            )
        return params


@dataclass(frozen=True, eq=False)
class LabelBank:
    """What one label set looks like to one encoder. Immutable, so any thread may score with it."""

    params: SimilarityParams
    centre: Scores
    """float64 [dim]; what every text of the set has in common."""
    labels: tuple[Scores, ...]
    """Per label, in the set's order: float64 [texts, dim], centred, of length 1."""
    background: Scores | None
    """The same for the background; None if the set has none."""

    @classmethod
    def build(
        cls, label_set: LabelSet, embed: Callable[[str], Vectors], params: SimilarityParams
    ) -> Self:
        """Embed a label set, one text at a time.

        Args:
            label_set: Labels without description and examples are known by their names.
            embed: Text to float32 [dim] of length 1. Called in the set's order; called alone for
                each text, because an int8 graph's vector depends on its batch-mates.
            params: The scalars of the scoring.
        """
        groups = _groups_of(label_set)
        raw = [np.stack([embed(text) for text in group]).astype(np.float64) for group in groups]
        total = np.concatenate(raw)
        centre = total.sum(axis=0) / (len(total) + params.centre_prior)
        unit = [_unit(vectors - centre) for vectors in raw]
        n = len(label_set.intents)
        return cls(params, centre, tuple(unit[:n]), unit[n] if label_set.background else None)

    def score(self, segment_vectors: Vectors, *, multi_label: bool = False) -> Scores:
        """Scores in [0, 1] for one text, in the label set's order.

        One label of several: a softmax in which the background takes part as one more, unnamed
        label. What it wins is missing from the sum, so that a text which fits no label scores low
        on all. Without a background the scores sum to 1.

        `multi_label`, or one label alone: each label against the background or the midpoint,
        whichever is the higher bar. The scores do not share 1; they still depend on the set, whose
        mean is taken off every vector.

        Args:
            segment_vectors: float32 [segments, dim], of length 1; a label counts where it is
                strongest.
            multi_label: Whether any number of labels may hold.

        Returns:
            float64 [labels].
        """
        segment = _unit(segment_vectors.astype(np.float64) - self.centre)
        found = [
            self._evidence(segment, texts, mix)
            for texts, mix in zip(self._groups, self._mixes, strict=True)
        ]
        n = len(self.labels)
        evidence, rivals = np.array(found[:n]), found[n:]
        if multi_label or len(evidence) + len(rivals) == 1:
            return sigmoid((evidence - max([self._midpoint, *rivals])) / self._temperature)
        return softmax(np.append(evidence, rivals) / self._temperature)[: len(evidence)]

    @cached_property
    def _groups(self) -> tuple[Scores, ...]:
        """The labels, and the background where there is one."""
        return self.labels if self.background is None else (*self.labels, self.background)

    @cached_property
    def _mixes(self) -> tuple[Scores, ...]:
        """Per group, what each of its texts counts, the least like first: float64 [texts]."""
        return tuple(self._mix(len(texts)) for texts in self._groups)

    def _mix(self, n: int) -> Scores:
        weight, nearest = self.params.nearest_weight, math.ceil(math.sqrt(n))
        mix = np.full(n, (1 - weight) / n)
        mix[-nearest:] += weight / nearest
        return mix

    @property
    def _texts_per_label(self) -> float:
        return float(np.mean([len(label) for label in self.labels]))

    @cached_property
    def _temperature(self) -> float:
        one = self.params.temperature_one / math.sqrt(self._texts_per_label)
        return math.hypot(self.params.temperature, one)

    @cached_property
    def _midpoint(self) -> float:
        return self.params.midpoint + self.params.midpoint_one / self._texts_per_label

    @staticmethod
    def _evidence(segment: Scores, texts: Scores, mix: Scores) -> float:
        """The strongest segment's likeness to a group of texts, in [-1, 1]."""
        return float((np.sort(segment @ texts.T, axis=1) @ mix).max())


def known_texts(label_set: LabelSet) -> tuple[str, ...]:
    """Every text that a label set is known by, in the order in which `LabelBank.build` embeds."""
    return tuple(text for group in _groups_of(label_set) for text in group)


def _groups_of(label_set: LabelSet) -> list[tuple[str, ...]]:
    """Per label, and last for the background where there is one."""
    groups = [_known_by(intent) for intent in label_set.intents]
    return [*groups, label_set.background] if label_set.background else groups


def segments(text: str, content: str | None = None) -> tuple[str, ...]:
    """The parts of a text that may hold the request: its head, its tail, and a short text whole.

    At most three, each at most 300 characters, from the first and last 4000 characters: what a text
    costs does not grow with its length.

    Args:
        text: Not blank.
        content: What the text is about, if the caller sent it apart. Its words say nothing about
            what is asked (measured, docs/starter.md), so it is not read.
    """
    head, tail = text[:READ_CHARS], text[-READ_CHARS:]
    whole = head.strip() if len(text) <= READ_CHARS else ""
    found = [_opening(head), _closing(tail)]
    if len(whole) <= SEGMENT_CHARS:
        found.append(whole)
    parts = tuple(dict.fromkeys(part for part in found if part))
    # Blank on both ends for thousands of characters: the one case that reads on.
    return parts or (text.strip()[:SEGMENT_CHARS],)


def _opening(head: str) -> str:
    """The first line, or its first sentence where it is a passage."""
    line = _first_line(head.splitlines())
    return line if len(line) <= SEGMENT_CHARS else _sentences(line)[0][:SEGMENT_CHARS].strip()


def _closing(tail: str) -> str:
    """The last line, or its last sentence where it is a passage."""
    line = _first_line(tail.splitlines()[::-1], backwards=True)
    return line if len(line) <= SEGMENT_CHARS else _sentences(line)[-1][-SEGMENT_CHARS:].strip()


def _first_line(lines: list[str], *, backwards: bool = False) -> str:
    """The first line with words in it; one too short to be a request comes with its neighbour."""
    taken: list[str] = []
    for line in filter(None, (line.strip() for line in lines)):
        taken.append(line)
        if len(line) >= LINE_CHARS or len(taken) == 2:
            break
    return " ".join(taken[::-1] if backwards else taken)


def _sentences(line: str) -> list[str]:
    return [part for part in _SENTENCE_END.split(line) if part.strip()]


def _known_by(intent: Intent) -> tuple[str, ...]:
    """The texts that stand for a label."""
    texts = tuple(text for text in (intent.description, *intent.examples) if text.strip())
    return texts or (intent.name.replace("_", " ").lower(),)


def _unit(vectors: Scores) -> Scores:
    """Each row scaled to length 1; a row that is all centre stays 0, and is like nothing."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))

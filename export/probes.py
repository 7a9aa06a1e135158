"""What a model is asked when its answers are compared: texts, and the labels to judge them by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.bundle import Task
from edge.errors import InvalidRequest
from edge.labels import LabelSet
from edge.text import check_text
from export.errors import SourceInvalid
from export.probe_texts import PROBES, SELF_TESTS

__all__ = ["Probe", "make_probes", "read_probes"]

INTENTS = ("a summary", "a fact from the text", "an explanation", "a file or a web page")
TOPICS = ("history", "money", "animals", "everyday life")
MAX_SELF_TEST_CHARS = 120
TONES = ("positive", "negative", "neutral")


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to a model."""

    text: str
    labels: tuple[str, ...] = ()
    """Empty: the model's own."""
    multi_label: bool = False
    """Each label judged by itself: entailment against contradiction."""
    private: bool = False
    """Asked here, and never packed: somebody wrote it to a daemon."""

    @property
    def is_self_test(self) -> bool:
        """Whether it may go into a bundle: short, so that a NAS is quickly done with it."""
        return len(self.text) <= MAX_SELF_TEST_CHARS and not self.multi_label and not self.private


def make_probes(task: Task, own: Sequence[Probe] = ()) -> list[Probe]:
    """The built-in questions for a task, and the caller's own.

    For NLI 24 requests with two label sets and 18 short texts with three, once with each label by
    itself; for fixed labels each text once.
    """
    if task is Task.SEQUENCE_CLASSIFICATION:
        return [*(Probe(text) for text, _ in SELF_TESTS), *(Probe(text) for text in PROBES), *own]
    short = [Probe(text, labels) for text, labels in SELF_TESTS]
    alone = [Probe(text, labels, multi_label=True) for text, labels in SELF_TESTS]
    other = [Probe(text, labels) for text, _ in SELF_TESTS for labels in (INTENTS, TONES)]
    long = [Probe(text, labels) for text in PROBES for labels in (INTENTS, TOPICS)]
    return [*short, *alone, *other, *long, *own]


def read_probes(path: Path, *, private: bool = False) -> list[Probe]:
    """Read JSON lines with `text`, and `labels` where the model has none of its own.

    Args:
        path: The file.
        private: Whether the texts must not go into a bundle.

    Raises:
        SourceInvalid: A line is no such object.
    """
    probes = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            labels = tuple(str(label) for label in row.get("labels", ()))
            probes.append(Probe(_usable(str(row["text"]), labels), labels, private=private))
        except InvalidRequest as error:
            raise SourceInvalid(
                f"{path}:{number}: as a request it would be refused: {error}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceInvalid(
                f"{path}:{number}: expected an object with text, and labels for an NLI model, "
                f"found something else ({type(error).__name__}: {error})"
            ) from error
    return probes


def _usable(text: str, labels: tuple[str, ...]) -> str:
    """The text; what a device would refuse is refused now and not after an hour."""
    check_text(text)
    if labels:
        LabelSet.from_names(labels)
    return text

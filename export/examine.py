"""What a model is for, read from its own config and tokenizer: task, labels, ids, window.

Nothing is guessed: an id comes from a label's name, never from a position, and what is not said is
an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from edge.bundle import Task
from export.checkpoint import CONFIG, TOKENIZER_CONFIG, Checkpoint
from export.errors import SourceInvalid

__all__ = ["DEFAULT_TEMPLATE", "Phase", "Traits", "examine"]

DEFAULT_TEMPLATE = "This example is {}."
"""As the zero-shot pipeline of `transformers`."""
GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "WithLMHead")
CLASSIFIER = "ForSequenceClassification"
MIN_WINDOW, MAX_WINDOW = 8, 1 << 20  # tokenizers without a window say 10^30
OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"})
"""Families whose `max_position_embeddings` counts the padding positions before the first token."""


class Phase(StrEnum):
    """Which of the daemon's two kinds of model is built."""

    A = "a"
    """Zero-shot: an NLI model judges any labels."""
    B = "b"
    """A fine-tuned classifier with labels of its own."""


@dataclass(frozen=True, slots=True)
class Traits:
    """All that the manifest says of a model before it is converted."""

    task: Task
    architecture: str
    labels: tuple[str, ...]
    """In the order of the logits."""
    entailment_id: int | None
    contradiction_id: int | None
    template: str | None
    activation: Literal["softmax", "sigmoid"]
    max_tokens: int
    temperature: float = 1.0
    """What a classifier's logits are divided by before the softmax; found after its training."""

    def facts(self) -> dict[str, str]:
        """What is shown before the work starts."""
        facts = {
            "task": self.task.value,
            "architecture": self.architecture,
            "window": f"{self.max_tokens} tokens",
            "labels": ", ".join(self.labels[:12]) + (" …" if len(self.labels) > 12 else ""),
        }
        if self.task is Task.ZERO_SHOT_NLI:
            facts["entailment"] = f"logit {self.entailment_id}"
            facts["contradiction"] = f"logit {self.contradiction_id}"
            facts["template"] = str(self.template)
        else:
            facts["activation"] = self.activation
        return facts


def examine(checkpoint: Checkpoint, phase: Phase, template: str | None = None) -> Traits:
    """Read a model's traits.

    Args:
        checkpoint: A checked model directory.
        phase: What the caller wants to build; the model must be of that kind.
        template: The hypothesis template; None means the pipeline's own.

    Raises:
        SourceInvalid: The model is of another kind, or does not say what must be known.
    """
    architecture = _architecture(checkpoint)
    labels = _labels(checkpoint)
    is_nli = phase is Phase.A
    ids = _nli_ids(checkpoint, labels) if is_nli else (None, None)
    if not is_nli:
        _refuse_placeholders(checkpoint, labels)
    return Traits(
        task=Task.ZERO_SHOT_NLI if is_nli else Task.SEQUENCE_CLASSIFICATION,
        architecture=architecture,
        labels=labels,
        entailment_id=ids[0],
        contradiction_id=ids[1],
        template=_template(template) if is_nli else None,
        activation="softmax" if is_nli else _activation(checkpoint, labels),
        max_tokens=_window(checkpoint),
    )


def _architecture(checkpoint: Checkpoint) -> str:
    names = checkpoint.config.get("architectures") or ["none"]
    name = str(names[0])
    where = checkpoint.path / CONFIG
    if name.endswith(GENERATIVE):
        raise SourceInvalid(
            f"{where}: expected a classifier (…{CLASSIFIER}), found the generative {name}; "
            "a model that writes text is of no use here: choose an NLI model or a classifier"
        )
    if not name.endswith(CLASSIFIER):
        raise SourceInvalid(
            f"{where}: expected an architecture …{CLASSIFIER}, found {name}; "
            "fine-tune the model as a classifier first, or choose one that is"
        )
    return name


def _labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    found: Any = checkpoint.config.get("id2label")
    where = checkpoint.path / CONFIG
    if not isinstance(found, Mapping) or not found:
        raise SourceInvalid(
            f"{where}: expected id2label with the label of each logit, found none; add it"
        )
    by_id = {str(key): str(label) for key, label in found.items()}
    if set(by_id) != {str(i) for i in range(len(by_id))}:
        raise SourceInvalid(
            f"{where}: expected id2label to count from 0 without a gap, found {sorted(by_id)}"
        )
    labels = tuple(by_id[str(i)] for i in range(len(by_id)))
    if len(set(labels)) < len(labels):
        raise SourceInvalid(f"{where}: expected distinct labels, found {list(labels)}")
    return labels


def _nli_ids(checkpoint: Checkpoint, labels: tuple[str, ...]) -> tuple[int, int]:
    """Logits of entailment and contradiction, by name."""
    entailing = _find(labels, ("entail",))
    against = _find(labels, ("contradict", "not_entail", "not entail"))
    if len(entailing) != 1 or len(against) != 1:
        raise SourceInvalid(
            f"{checkpoint.path / CONFIG}: expected an NLI model, whose id2label names one "
            f"entailment and one contradiction, found {', '.join(labels)}; "
            "choose an NLI model, or build a classifier with --phase b"
        )
    return entailing[0], against[0]


def _find(labels: tuple[str, ...], prefixes: tuple[str, ...]) -> list[int]:
    return [i for i, label in enumerate(labels) if label.lower().startswith(prefixes)]


def _refuse_placeholders(checkpoint: Checkpoint, labels: tuple[str, ...]) -> None:
    if all(label == f"LABEL_{i}" for i, label in enumerate(labels)):
        raise SourceInvalid(
            f"{checkpoint.path / CONFIG}: expected id2label with the labels' own names, found "
            f"{labels[0]} …; write the names that apps are to see into id2label"
        )


def _activation(checkpoint: Checkpoint, labels: tuple[str, ...]) -> Literal["softmax", "sigmoid"]:
    """As the text-classification pipeline of `transformers`."""
    problem = checkpoint.config.get("problem_type")
    if problem == "regression":
        raise SourceInvalid(
            f"{checkpoint.path / CONFIG}: expected a classifier, found problem_type regression; "
            "a number is no label: choose another model"
        )
    return "sigmoid" if problem == "multi_label_classification" or len(labels) == 1 else "softmax"


def _template(template: str | None) -> str:
    chosen = DEFAULT_TEMPLATE if template is None else template
    if not (chosen.count("{}") == chosen.count("{") == chosen.count("}") == 1):
        raise SourceInvalid(
            f"--template: expected a sentence with one {{}} for the label, found {chosen!r}"
        )
    return chosen


def _window(checkpoint: Checkpoint) -> int:
    """The smaller of what the model has positions for and what its tokenizer was set to."""
    positions = checkpoint.config.get("max_position_embeddings")
    if isinstance(positions, int) and checkpoint.config.get("model_type") in OFFSET_POSITIONS:
        positions -= int(checkpoint.config.get("pad_token_id") or 0) + 1
    limits = [positions, checkpoint.tokenizer_config.get("model_max_length")]
    sane = [int(n) for n in limits if isinstance(n, int | float) and 0 < n <= MAX_WINDOW]
    if not sane or min(sane) < MIN_WINDOW:
        raise SourceInvalid(
            f"{checkpoint.path}: expected max_position_embeddings in {CONFIG} or model_max_length "
            f"in {TOKENIZER_CONFIG}, at least {MIN_WINDOW}, found {limits}; add one"
        )
    return min(sane)

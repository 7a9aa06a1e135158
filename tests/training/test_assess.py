"""Assessing: the bundle as a box runs it, the golden set as people froze it, and an honest no."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.predictor import Predictor
from tests.commands import Done
from tests.models import TinyModel, change_bundle
from tests.training.judged import freeze_told
from tests.training.samples import (
    QUIET,
    collected,
    frozen,
    lines_of,
    real_rows,
    row,
    run_train,
    settings_for,
)
from training.assess import assess
from training.build import build
from training.errors import DataRefused, StageMissing
from training.stage import read_manifest, sha256_of

# Of the four classes, the tiny model's texts are of two.
EASY = ("--set", "assess.ece=1", "--set", "assess.class_f1=0")
Load = Callable[[Path], Predictor]


@pytest.fixture
def bundle(tiny: Callable[[str], TinyModel]) -> Path:
    """A quantised bundle of four labels."""
    return tiny("intents").int8


def found_in(work_dir: Path, name: str = "assessment.json") -> dict[str, Any]:
    """A JSON file of the stage."""
    found: dict[str, Any] = json.loads((work_dir / "assess" / name).read_text())
    return found


def run(work_dir: Path, bundle: Path, *more: str) -> Done:
    """The command, with a calibration that a model of random weights can reach."""
    return run_train(work_dir, "assess", "--bundle", str(bundle), *EASY, *more)


def test_a_good_bundle_passes(work_dir: Path, bundle: Path, load: Load) -> None:
    """Exit code 0, the numbers, and what they were measured with."""
    freeze_told(work_dir, load(bundle))
    done = run(work_dir, bundle)
    found = found_in(work_dir)

    assert done.returncode == 0, done.stderr
    assert found["passed"] is True
    assert found["bundle"] == load(bundle).bundle.digest
    assert found["golden"] == sha256_of(work_dir / "golden" / "golden-1.jsonl")
    assert (found["n"], found["n_oos"], found["accuracy"]["value"]) == (24, 2, 1.0)
    assert found["accuracy"]["low"] < 0.9  # 24 rows cannot prove it
    assert found["more_rows"] == 35 - 24
    assert "you need 11 more golden rows to tell" in done.stderr
    assert {one["label"] for one in found["per_class"]} == set(found["labels"])
    assert 0 <= found["oos_auroc"] <= 1
    said = lines_of(work_dir / "assess" / "predictions.jsonl")
    assert [one["raw_label"] == one["label"] for one in said if one["label"]] == [True] * 24
    for name in ("report.html", "report.md", "figures/confusion.svg", "drift.json"):
        assert (work_dir / "assess" / name).is_file()


def test_a_failed_gate_is_written_down_and_exits_with_one(
    work_dir: Path, bundle: Path, load: Load
) -> None:
    """One clear line a gate."""
    freeze_told(work_dir, load(bundle), wrong=8)
    strict = ("--set", "assess.class_f1=0.7")
    done = run(work_dir, bundle, *strict)
    found = found_in(work_dir)

    assert done.returncode == 1
    assert found["passed"] is False
    assert found["accuracy"]["value"] == pytest.approx(16 / 24)
    gates = [gate["name"] for gate in found["gates"] if not gate["passed"]]
    assert gates == ["accuracy", "macro_f1", "class_f1"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("assess: expected")]
    assert len(lines) == 3
    assert lines[0] == "assess: expected accuracy ≥ 0.9, found 0.667"
    assert "Not passed: accuracy" in (work_dir / "assess" / "report.md").read_text()
    assert run(work_dir, bundle, *strict).returncode == 1  # also when nothing has changed
    assert "unchanged" in run(work_dir, bundle, *strict).stdout


def test_each_gate_is_a_setting(work_dir: Path, bundle: Path, load: Load) -> None:
    """The accuracy's is the golden set's own."""
    freeze_told(work_dir, load(bundle), wrong=8)
    low = ["--set=golden.gate=0.1", "--set=assess.macro_f1=0.1", "--set=assess.class_f1=0"]

    assert run(work_dir, bundle, *low).returncode == 0
    assert run(work_dir, bundle, *low, "--set", "assess.ece=0").returncode == 1


def test_what_was_assessed_is_not_assessed_again(work_dir: Path, bundle: Path, load: Load) -> None:
    """Another bundle is; and the golden set counts whom it has judged."""
    freeze_told(work_dir, load(bundle))
    settings = settings_for(work_dir)
    assert not assess(settings, QUIET, bundle).skipped
    assert assess(settings, QUIET, bundle).skipped
    assert assess(settings, QUIET, bundle, force=True).skipped is False
    assert found_in(work_dir)["golden_uses"] == 1

    other = change_bundle(bundle, work_dir / "other", version="2").path
    assert not assess(settings, QUIET, other).skipped
    assert found_in(work_dir)["golden_uses"] == 2


def test_answers_are_compared_with_the_bundle_before(
    work_dir: Path, bundle: Path, load: Load
) -> None:
    """How many rows were mended and broken."""
    from edge.bundle import STARTER

    freeze_told(work_dir, load(bundle))
    settings = settings_for(work_dir)
    assess(settings, QUIET, STARTER)
    before = found_in(work_dir)["accuracy"]["value"]
    assert found_in(work_dir, "drift.json")["answers"] is None
    assess(settings, QUIET, bundle)
    drift = found_in(work_dir, "drift.json")["answers"]

    assert drift["accuracy"] == [before, 1.0]
    assert (drift["mended"], drift["broken"]) == (round(24 * (1 - before)), 0)
    assess(settings, QUIET, bundle, force=True)
    assert found_in(work_dir, "drift.json")["answers"] == drift  # it is still what came before


def test_the_build_is_compared_with_the_one_before(
    work_dir: Path, bundle: Path, load: Load
) -> None:
    """Labels, lengths, words and meaning; a second look at the same build changes nothing."""
    freeze_told(work_dir, load(bundle), n=8)
    loose = ("build.leaks=drop", "build.leak_cosine=1.0", "build.leak_jaccard=1.0")
    fast = settings_for(work_dir, "build.suspects=false", *loose)
    collected(work_dir, real_rows(10))
    build(fast, QUIET)
    assess(fast, QUIET, bundle)
    assert found_in(work_dir, "drift.json")["data"] is None

    more = [row(f"n{i}", f"explain quantum field number {i} at length", "REASON") for i in range(9)]
    collected(work_dir, [*real_rows(10), *more])
    build(fast, QUIET)
    assess(fast, QUIET, bundle)
    data = found_in(work_dir, "drift.json")["data"]
    assert data["shares"]["REASON"][1] > data["shares"]["REASON"][0]
    assert all(data[name] > 0 for name in ("labels", "lengths", "vocabulary", "meaning"))
    assert 0 < data["new_words"] < 1
    assess(fast, QUIET, bundle, force=True)
    assert found_in(work_dir, "drift.json")["data"] == data


def test_without_a_golden_set_nothing_is_judged(work_dir: Path, bundle: Path) -> None:
    """One line says how to make one."""
    done = run(work_dir, bundle)

    assert (done.returncode, done.stdout) == (2, "")
    assert "golden freeze" in done.stderr or "`freeze`" in done.stderr
    assert not (work_dir / "assess").exists()


def test_without_a_bundle_nothing_is_judged(work_dir: Path, bundle: Path, load: Load) -> None:
    """One line names what writes one."""
    freeze_told(work_dir, load(bundle))
    done = run_train(work_dir, "assess")

    assert (done.returncode, done.stdout) == (2, "")
    assert "intentd-train export" in done.stderr


def test_a_touched_golden_set_is_refused(work_dir: Path, bundle: Path, load: Load) -> None:
    """Its hash is in the manifest."""
    freeze_told(work_dir, load(bundle))
    path = work_dir / "golden" / "golden-1.jsonl"
    path.chmod(0o600)
    path.write_text(path.read_text().replace("bridges", "castles"))

    with pytest.raises(StageMissing, match="found another"):
        assess(settings_for(work_dir), QUIET, bundle)


def test_a_golden_set_of_other_labels_or_wordings_is_refused(
    work_dir: Path, bundle: Path, load: Load
) -> None:
    """A bundle cannot be judged by it."""
    mixed = real_rows(2)
    mixed[0] = mixed[0].model_copy(update={"label_set": "t" * 64})
    frozen(work_dir, mixed)

    with pytest.raises(DataRefused, match="one label set, found 2"):
        assess(settings_for(work_dir), QUIET, bundle)
    keep = settings_for(work_dir, "build.mixed_label_sets=keep")
    assert assess(keep, QUIET, bundle).manifest["counts"]["n"] == 8


def test_a_bundle_of_other_labels_than_the_build_is_refused(
    work_dir: Path, tiny: Callable[[str], TinyModel], bundle: Path, load: Load
) -> None:
    """Before a single row is answered."""
    freeze_told(work_dir, load(bundle))

    with pytest.raises(DataRefused, match=r"labels SPAM, found EXTRACT"):
        assess(settings_for(work_dir), QUIET, tiny("spam").int8)
    assert not (work_dir / "assess").exists()


def test_erased_rows_are_not_judged_by(work_dir: Path, bundle: Path, load: Load) -> None:
    """Freezing again leaves them out."""
    freeze_told(work_dir, load(bundle))
    collected(work_dir, real_rows(1), erased=["golden-3"])

    with pytest.raises(DataRefused, match="without erased rows"):
        assess(settings_for(work_dir), QUIET, bundle)


def test_a_full_disk_leaves_the_last_assessment(
    work_dir: Path, bundle: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, one line, and nothing half-written."""
    freeze_told(work_dir, load(bundle))
    assert run(work_dir, bundle).returncode == 0
    before = read_manifest(work_dir / "assess")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    monkeypatch.setattr("training.assess.write_assessment", full)
    done = run(work_dir, bundle, "--force")
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert read_manifest(work_dir / "assess") == before
    assert [path.name for path in work_dir.iterdir() if path.name.startswith(".")] == []

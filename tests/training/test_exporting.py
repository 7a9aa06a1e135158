"""The stage `export`: a bundle that answers at its temperature, and holds nobody's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.bundle import Bundle, read_bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from export.quiet import quiet
from tests.models import TinyModel
from tests.training.samples import LABELS, QUIET, collected, real_rows, row, run_train, settings_for
from training.build import build
from training.fit.stage import fit
from training.rows import read_rows
from training.stage import read_manifest

TEMPERATURE = 0.4
FAST = ("--set", "export.recipe=fp32")


@pytest.fixture(scope="module")
def exported(tiny: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory up to the bundle, fp32, with a temperature that tells."""
    work_dir = tmp_path_factory.mktemp("train")
    rows = [*real_rows(16), row("long", "sum up " + "a tale, " * 4000, "SUMMARIZE")]
    collected(work_dir, rows)
    source = tiny("spam").source
    settings = settings_for(
        work_dir, "build.suspects=false", f'fit.encoder="{source}"', "fit.head=frozen"
    )
    build(settings, QUIET)
    fit(settings, QUIET)
    set_temperature(work_dir)
    done = run_train(work_dir, "export", *FAST)
    assert done.returncode == 0, done.stderr
    return work_dir


def set_temperature(work_dir: Path) -> None:
    """As if it had been fitted: random weights have none worth telling."""
    from training.stage import sha256_of

    path = work_dir / "fit" / "calibration.json"
    changes = {"temperature": TEMPERATURE, "threshold": 0.3, "thresholds": {"REASON": 0.6}}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    manifest = work_dir / "fit" / "manifest.json"
    found = json.loads(manifest.read_text())
    found["outputs"]["calibration.json"] = sha256_of(path)
    manifest.write_text(json.dumps(found))


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    """Verified."""
    return read_bundle(exported / "export" / "bundle")


def test_the_manifest_has_what_was_fitted(exported: Path, bundle: Bundle) -> None:
    """Temperature, thresholds, the hash of what was trained on, and the encoder's name."""
    manifest = bundle.manifest
    fitted = read_manifest(exported / "fit")

    assert manifest.labels == LABELS
    assert manifest.temperature == TEMPERATURE
    assert (manifest.threshold, manifest.thresholds) == (0.3, {"REASON": 0.6})
    assert manifest.dataset_sha256 == fitted["inputs"]["train"]
    assert manifest.source.model == fitted["counts"]["encoder"]
    assert manifest.name == "intents"
    assert read_manifest(exported / "export")["counts"]["digest"] == bundle.digest


def test_the_edge_answers_at_the_temperature(exported: Path, bundle: Bundle) -> None:
    """As PyTorch's logits divided by it; and so does the self-test that the bundle carries."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = exported / "fit" / "model"
    with quiet():
        network = AutoModelForSequenceClassification.from_pretrained(model).eval()
        tokenizer = AutoTokenizer.from_pretrained(model)
    predictor = Predictor(bundle, LabelSet.from_names(("x",)))
    for text in ("sum up bridges for me", "why do taxes matter?"):
        with torch.inference_mode():
            logits = network(**tokenizer(text, return_tensors="pt")).logits[0]
        expected = torch.softmax(logits.double() / TEMPERATURE, dim=0)
        found = dict(predictor.predict(Query(text, predictor.label_set)).scores)
        assert [found[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-4)
    assert predictor.self_test().passed


def test_no_text_of_a_person_is_packed(exported: Path, bundle: Bundle) -> None:
    """The calibration part is asked, and stays here: a bundle goes to other people's boxes."""
    asked = [one.text for one in read_rows(exported / "build" / "calibration.jsonl")]
    packed = {case.text for case in bundle.read_selftest()}
    left = [path.name for path in (exported / "export").iterdir()]

    assert read_manifest(exported / "export")["counts"]["own_probes"] == len(asked) > 0
    assert not packed & set(asked)
    assert sorted(left) == ["bundle", "manifest.json"]


def test_an_unchanged_export_is_skipped(exported: Path) -> None:
    """And a bundle that was touched is made again."""
    assert "unchanged" in run_train(exported, "export", *FAST).stdout
    (exported / "export" / "bundle" / "CARD.md").write_text("mine")
    assert "written in" in run_train(exported, "export", *FAST).stdout


def test_a_refused_bundle_is_an_honest_no(exported: Path) -> None:
    """Exit code 1 with the numbers, and the last bundle stays."""
    before = read_bundle(exported / "export" / "bundle").digest
    done = run_train(
        exported, "export", "--set", "export.recipe=int8", "--set", "export.max_delta=0.000001"
    )

    assert done.returncode == 1
    assert "expected label agreement" in done.stderr
    assert read_bundle(exported / "export" / "bundle").digest == before


def test_without_a_fit_there_is_nothing_to_export(work_dir: Path) -> None:
    """It names the command to run first."""
    done = run_train(work_dir, "export")

    assert done.returncode == 2
    assert "intentd-train fit" in done.stderr

"""The whole build on small models: it keeps the answers, or it packs nothing."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edge.bundle import CARD, Bundle, Task, read_bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from export import build as build_module
from export.build import build_bundle
from export.checkpoint import open_checkpoint
from export.convert import export_classifier
from export.errors import ConversionFailed, OutputFailed, ParityFailed, SourceInvalid
from export.examine import Phase, examine
from export.gate import Gate
from export.probes import make_probes
from export.report import Reporter
from export.settings import BuildOptions, Limits
from tests.models import TinyModel
from tests.outliers import Kind, worst_delta

Sources = Callable[..., Path]


class Built:
    """A build with what a person saw of it."""

    def __init__(self, source: Path, options: BuildOptions, phase: Phase = Phase.A) -> None:
        self.log = io.StringIO()
        self.source, self.options = source, options
        self.checkpoint = open_checkpoint(source)
        self.traits = examine(self.checkpoint, phase)

    def run(self) -> Bundle:
        """Build it."""
        reporter = Reporter(Console(file=self.log, soft_wrap=True, highlight=False))
        return build_bundle(self.checkpoint, self.traits, self.options, reporter)

    @property
    def recipes(self) -> list[str]:
        """The recipes of the table, in order; a fused one says so."""
        table = self.log.getvalue().split("recipe ", 1)[1].splitlines()[1:]
        return [re.split("  +", line)[0] for line in table if re.search(r"(passed|failed)$", line)]


def plain(out: Path, **options: Any) -> BuildOptions:
    """Without fusions, which most of these tests are not about."""
    return BuildOptions(out, **({"fused": False} | options))


@pytest.mark.parametrize(("kind", "seed"), [("bart", 1), ("distilbert", 4)])
def test_model_without_outliers_takes_the_fastest_recipe(
    planted: Sources, tmp_path: Path, kind: Kind, seed: int
) -> None:
    """One measurement is enough, nothing is searched, and the manifest tells what was measured."""
    built = Built(planted(kind, seed, 1.0), plain(tmp_path / "out"))
    manifest = built.run().manifest

    assert built.recipes == ["int8"]
    assert "search" not in built.log.getvalue()
    assert manifest.task is Task.ZERO_SHOT_NLI
    assert manifest.quantization.recipe.startswith("int8, per-channel, 7-bit")
    assert not manifest.quantization.batch_invariant
    assert manifest.quantization.parity["label_agreement"] >= 0.99
    assert 0 < manifest.quantization.parity["max_abs_score_delta"] <= 0.05


@pytest.mark.parametrize("kind", ["bart", "distilbert"])
@pytest.mark.parametrize("seed", [1, 2])
def test_outliers_are_noticed_and_the_answers_kept(
    planted: Sources, tmp_path: Path, kind: Kind, seed: int
) -> None:
    """int8 fails, another int8 is found, and what lies on disk is within the bound."""
    built = Built(planted(kind, seed), plain(tmp_path / "out"))
    bundle = built.run()

    assert built.recipes[0] == "int8"
    assert len(built.recipes) > 1
    assert bundle.manifest.quantization.recipe.startswith("int8-")
    assert worst_delta(built.source, built.traits, bundle) <= 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["bart", "distilbert"])
def test_forced_recipe_outside_the_gate_is_refused_with_the_numbers(
    planted: Sources, tmp_path: Path, kind: Kind
) -> None:
    """Nothing is packed, nothing is left, and the message says what to do."""
    built = Built(planted(kind, 1), plain(tmp_path / "out", recipe="int8"))

    with pytest.raises(ParityFailed, match=r"found 0\.\d+ and 0\.\d+; nothing was packed.*auto"):
        built.run()
    assert built.recipes == ["int8"]
    assert not list(tmp_path.iterdir())


def test_search_leaves_products_in_fp32_where_smoothing_is_not_enough(
    planted: Sources, tmp_path: Path
) -> None:
    """The card names them."""
    options = plain(tmp_path / "out", recipe="int8-mixed")
    built = Built(planted("bart", 1), options)
    bundle = built.run()
    found = re.search(r"(\d+) products? in fp32", bundle.manifest.quantization.recipe)

    assert found
    assert (bundle.path / CARD).read_text().count("\n- `/") == int(found[1]) > 0
    assert worst_delta(built.source, built.traits, bundle) <= 0.05


@pytest.mark.parametrize("kind", ["bart", "distilbert"])
def test_fusions_are_measured_and_taken(planted: Sources, tmp_path: Path, kind: Kind) -> None:
    """With and without, and what is packed still keeps the answers."""
    built = Built(planted(kind, 1), plain(tmp_path / "out", fused=None))
    bundle = built.run()
    taken = built.recipes[-1]

    assert built.recipes[-2] == f"{taken}, fused"
    assert "fused" in bundle.manifest.quantization.recipe
    assert worst_delta(built.source, built.traits, bundle) <= 0.05


def test_fusions_that_do_not_fit_are_left_out_unless_they_are_demanded(
    planted: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph of another shape, or one whose answers moved: a note, or an error."""

    def refuse(*_: object) -> None:
        raise ConversionFailed("expected 2 attentions, found 3")

    monkeypatch.setattr("export.measure.fuse", refuse)
    source = planted("distilbert", 1, 1.0)
    built = Built(source, plain(tmp_path / "out", fused=None))

    assert "fused" not in built.run().manifest.quantization.recipe
    assert "not fused: expected 2 attentions" in built.log.getvalue()
    with pytest.raises(ConversionFailed, match="attentions"):
        Built(source, plain(tmp_path / "other", fused=True)).run()
    assert not (tmp_path / "other").exists()


def test_fixed_labels_bert_and_its_token_types(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """BERT reads segments; a pair's second sentence is told from the first."""
    built = Built(tiny("nli-bert").source, plain(tmp_path / "out", recipe="fp32"))
    bundle = built.run()

    assert bundle.manifest.architecture == "BertForSequenceClassification"
    assert worst_delta(built.source, built.traits, bundle) < 1e-4


@pytest.mark.parametrize("name", ["intents", "spam"])
def test_phase_b_keeps_labels_and_activation(
    tiny: Callable[[str], TinyModel], tmp_path: Path, name: str
) -> None:
    """As the pipeline of `transformers` would answer."""
    built = Built(tiny(name).source, plain(tmp_path / "o", recipe="fp32"), Phase.B)
    manifest = built.run().manifest
    original = read_bundle(tiny(name).bundle).manifest

    assert manifest.task is Task.SEQUENCE_CLASSIFICATION
    assert (manifest.labels, manifest.activation) == (original.labels, original.activation)
    assert manifest.max_tokens == original.max_tokens


def test_classifier_may_have_any_number_of_labels(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """A request's labels are limited, as each costs a row; a classifier's own cost nothing."""
    source = _relabel(tiny("intents").source, 70, tmp_path / "many")
    bundle = Built(source, plain(tmp_path / "out", recipe="fp32"), Phase.B).run()

    assert len(bundle.manifest.labels) == 70
    assert all(len(case.scores) == 70 for case in bundle.read_selftest())


def _relabel(source: Path, labels: int, out: Path) -> Path:
    """The same model with a new head."""
    from transformers import AutoModelForSequenceClassification

    names = {number: f"intent {number}" for number in range(labels)}
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=labels, id2label=names, ignore_mismatched_sizes=True
    )
    shutil.copytree(source, out)
    model.save_pretrained(out)
    return out


def test_same_source_gives_the_same_digest(planted: Sources, tmp_path: Path) -> None:
    """Elsewhere, from a copy under another path, with other intermediates at hand."""
    source = planted("distilbert", 1)
    copy = shutil.copytree(source, tmp_path / "elsewhere" / source.name)
    one = Built(source, plain(tmp_path / "a")).run()
    options = plain(tmp_path / "b", work_dir=tmp_path / "work", keep=True)
    other = Built(copy, options).run()
    resumed = Built(copy, replace(options, out=tmp_path / "c")).run()

    assert one.digest == other.digest == resumed.digest


def test_interrupted_build_goes_on_where_it_was(
    planted: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch is not asked again, nothing is measured twice, and success cleans up."""
    options = plain(tmp_path / "out", work_dir=tmp_path / "work")
    source = planted("bart", 2)

    def break_down(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_module._Build, "_pack", break_down)
        with pytest.raises(KeyboardInterrupt):
            Built(source, options).run()
    measured = sorted(path.name for path in (tmp_path / "work").rglob("measured-*.json"))
    again = Built(source, options)
    again.run()

    assert len(measured) == len(again.recipes) > 1
    assert "asking" not in again.log.getvalue()
    assert "making" not in again.log.getvalue()
    assert not list((tmp_path / "work").iterdir())


def test_self_test_has_cases_that_a_sound_device_passes(planted: Sources, tmp_path: Path) -> None:
    """Sixteen at least, each with its labels and fp32's scores, and clearly decided."""
    bundle = Built(planted("bart", 1), plain(tmp_path / "out")).run()
    cases = list(bundle.read_selftest())

    assert len(cases) >= 16
    assert Predictor(bundle, LabelSet.from_names(("x", "y"))).self_test().passed
    for case in cases:
        ranked = sorted(case.scores.values())
        assert case.scores[case.label] == ranked[-1]
        assert ranked[-1] - ranked[-2] >= 0.1


def test_weights_that_do_not_fit_the_config_are_refused(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """`transformers` would draw the missing ones at random, and only warn."""
    source = shutil.copytree(tiny("encoder").source, tmp_path / "m")
    config = json.loads((source / "config.json").read_text())
    config |= {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "entailment", "1": "contradiction"},
        "label2id": {"entailment": 0, "contradiction": 1},
    }
    (source / "config.json").write_text(json.dumps(config))

    with pytest.raises(SourceInvalid, match="classifier"):
        Built(source, plain(tmp_path / "out")).run()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_broken_conversion_is_refused(
    planted: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter would only warn, if at all."""

    def damage(source: Path, out: Path, opset: int) -> Path:
        import onnx
        from onnx import numpy_helper

        path = original(source, out, opset)
        model = onnx.load(path)
        tensor = next(w for w in model.graph.initializer if len(w.dims) == 2 and w.dims[0] == 96)
        shifted = numpy_helper.to_array(tensor) * np.float32(1.02)
        tensor.CopyFrom(numpy_helper.from_array(shifted, tensor.name))
        onnx.save(model, path)
        return path

    original = export_classifier
    monkeypatch.setattr(build_module, "export_classifier", damage)
    with pytest.raises(ParityFailed, match=r"Δlogit.*Nothing was packed"):
        Built(planted("bart", 1), plain(tmp_path / "out")).run()
    assert not list(tmp_path.iterdir())


def test_own_probes_are_asked_as_well(planted: Sources, tmp_path: Path) -> None:
    """With their labels; an NLI model has none of its own."""
    path = tmp_path / "probes.jsonl"
    path.write_text('{"text": "The roof leaks.", "labels": ["house", "boat"]}\n')
    options = plain(tmp_path / "out", probes=path, recipe="fp32")
    bundle = Built(planted("distilbert", 1, 1.0), options).run()
    default = len(make_probes(Task.ZERO_SHOT_NLI))

    assert bundle.manifest.quantization.parity["cases"] == default + 1
    path.write_text('{"text": "The roof leaks."}\n')
    with pytest.raises(SourceInvalid, match="labels"):
        Built(planted("distilbert", 1, 1.0), options).run()


def test_search_limits_reach_the_search(planted: Sources, tmp_path: Path) -> None:
    """One trial; if it fails the next recipe's turn comes."""
    options = plain(tmp_path / "out", gate=Gate(max_delta=0.02), limits=Limits(evaluations=1))
    built = Built(planted("bart", 1), options)
    built.run()

    assert "searching: at most 1 trial" in built.log.getvalue()
    assert built.recipes.count("int8-mixed") == 1
    assert built.recipes[-1] in ("nbits8", "fp32")


def test_place_without_room_is_refused_before_the_work(
    planted: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed and what there is."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))

    with pytest.raises(OutputFailed, match="found 1 MB; make room"):
        Built(planted("bart", 1), plain(tmp_path / "out")).run()
    assert not list(tmp_path.iterdir())

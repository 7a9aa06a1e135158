"""Every form in which a random model is measured: fp32, Optimum's int8, ours, and our bundle.

What is ours is made anew whenever the exporter's code has changed; the rest is made once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.floor import build_floor
from benchmarks.random_models import BART, Scale, random_model
from edge.bundle import (
    CARD,
    MODEL,
    SELFTEST,
    TOKENIZER,
    Manifest,
    Quantization,
    SelfTestCase,
    Source,
    Target,
    Task,
    seal_bundle,
)
from edge.cpu import read_cpu
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query

__all__ = ["Feed", "Graphs", "make_floor", "make_graphs", "make_rows"]

OPSET = 18
STEP_TOKENS = 2  # rows of one request differ by what their hypotheses do
SELF_TESTS = ("find the invoice from May", "sum up the minutes", "why did the price go up?")
TOLERANCE = 0.2  # random weights suffer from another CPU's rounding
NLI_LABELS = ("billing", "shipping", "returns")
EXPORTER = Path(__file__).parents[1] / "export"

Feed = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Graphs:
    """Where the forms of one model lie."""

    source: Path
    """The `transformers` directory."""
    fp32: Path
    """As Optimum exports it."""
    optimum: Path
    """int8, as Optimum quantises by default for this CPU."""
    bundle: Path
    """int8, fused and quantised as `intentd-export` does."""

    @property
    def ours(self) -> Path:
        """The bundle's graph."""
        return self.bundle / MODEL


def make_graphs(name: str, cache: Path, scale: Scale) -> Graphs:
    """Make what is not there yet; for full-size models that takes minutes and 6 GB.

    Raises:
        FileNotFoundError: The configuration and tokenizer of that name are not on this machine.
    """
    source = random_model(name, cache, scale)
    work = cache / f"{source.name}-graphs"
    fp32, optimum = work / "model.onnx", work / "optimum" / "model_quantized.onnx"
    if not fp32.is_file():
        from export.convert import export_classifier

        export_classifier(source, work, OPSET)
    if not optimum.is_file():
        _quantise_as_optimum(work)
    bundle = work / f"bundle-{_exporter_key()}"
    if not bundle.is_dir():
        for old in work.glob("bundle-*"):
            shutil.rmtree(old)
        _make_bundle(fp32, source, bundle, Task.ZERO_SHOT_NLI if name == BART else None)
    return Graphs(source, fp32, optimum, bundle)


def make_floor(graphs: Graphs, feed: Feed) -> Path:
    """The products of our graph alone, for rows of one shape."""
    rows, tokens = feed["input_ids"].shape
    out = graphs.bundle.with_name(f"floor-{_exporter_key()}-{rows}x{tokens}.onnx")
    if not out.is_file():
        build_floor(graphs.ours, out, feed)
    return out


def make_rows(is_bart: bool, rows: int, tokens: int) -> Feed:
    """Random ids between the model's special tokens, each row a little shorter, padded as usual."""
    start, end, pad = (0, 2, 1) if is_bart else (101, 102, 0)
    ids = np.random.default_rng(0).integers(1000, 20000, (rows, tokens)).astype(np.int64)
    mask = np.zeros((rows, tokens), np.int64)
    for row in range(rows):
        length = tokens - STEP_TOKENS * row
        ids[row, 0], ids[row, [length // 2, length - 1]] = start, end
        ids[row, length:] = pad
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _exporter_key() -> str:
    """Another one for other code, or another kind of CPU."""
    digest = hashlib.sha256(str(read_cpu().has_vnni).encode())
    for file in sorted(EXPORTER.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _quantise_as_optimum(directory: Path) -> None:
    """The defaults of `AutoQuantizationConfig.avx512_vnni`, for those CPUs the fastest there is."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = AutoQuantizationConfig.avx512_vnni(is_static=False)
    quantizer = ORTQuantizer.from_pretrained(directory, file_name="model.onnx")
    quantizer.quantize(save_dir=directory / "optimum", quantization_config=config)


def _make_bundle(fp32: Path, source: Path, out: Path, task: Task | None) -> None:
    unfinished = out.with_name(f"unfinished-{out.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _quantise_as_ours(fp32, unfinished / MODEL, source / "config.json")
    shutil.copyfile(source / TOKENIZER, unfinished / TOKENIZER)
    (unfinished / CARD).write_text("# Seeded random weights\n\nFor measuring speed.\n", "utf-8")
    (unfinished / SELFTEST).write_text("", "utf-8")
    manifest = _describe(json.loads((source / "config.json").read_text("utf-8")), source.name, task)
    predictor = Predictor(seal_bundle(unfinished, manifest), LabelSet.from_names(NLI_LABELS))
    lines = [json.dumps(case) + "\n" for case in _self_tests(predictor)]
    (unfinished / SELFTEST).write_text("".join(lines), "utf-8")
    seal_bundle(unfinished, manifest)
    unfinished.rename(out)


def _quantise_as_ours(fp32: Path, out: Path, config: Path) -> None:
    """The first recipe that a build tries on this machine, fused."""
    from export.fuse import Architecture, fuse
    from export.graph import load_graph, save_graph, split_gemms
    from export.quantize import apply_recipe
    from export.recipes import candidates

    architecture = Architecture.from_config(json.loads(config.read_text("utf-8")))
    if architecture is None:
        raise ValueError(f"{config}: expected a family that export.fuse knows")
    model = load_graph(fp32)
    split_gemms(model)
    fuse(model, architecture)
    target = Target.AVX512_VNNI if read_cpu().has_vnni else Target.ANY
    apply_recipe(model, candidates(target, fused=True)[0])
    save_graph(model, out)


def _describe(config: dict[str, object], name: str, task: Task | None) -> Manifest:
    names = config["id2label"]
    assert isinstance(names, dict)
    labels = tuple(str(names[key]).lower() for key in sorted(names, key=int))
    is_nli = task is Task.ZERO_SHOT_NLI
    return Manifest(
        name=name,
        version="1",
        task=task or Task.SEQUENCE_CLASSIFICATION,
        architecture=str(config["architectures"][0]),  # type: ignore[index]
        labels=labels,
        entailment_id=labels.index("entailment") if is_nli else None,
        contradiction_id=labels.index("contradiction") if is_nli else None,
        hypothesis_template="This example is {}." if is_nli else None,
        max_tokens=int(str(config["max_position_embeddings"])),
        quantization=Quantization(recipe="int8, not gated", batch_invariant=False),
        selftest_tolerance=TOLERANCE,
        opset=OPSET,
        source=Source(model="benchmarks.random_models", revision=name),
        licence="Apache-2.0",
        created_utc="2026-11-28T00:00:00Z",
    )


def _self_tests(predictor: Predictor) -> Iterator[dict[str, object]]:
    """What the bundle itself answers: random weights are nobody's reference."""
    for text in SELF_TESTS:
        found = predictor.predict(Query(text, predictor.label_set))
        labels = () if predictor.fixed_labels else NLI_LABELS
        case = SelfTestCase(text, labels, found.raw_label, dict(found.scores))
        yield {
            "text": case.text,
            "labels": list(case.labels),
            "label": case.label,
            "scores": dict(case.scores),
        }

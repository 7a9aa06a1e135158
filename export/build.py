"""Builds a bundle: convert → compare with PyTorch → measure recipes → self-test → pack.

The order of the steps lives here; each step is a module of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.bundle import CARD, MODEL, SELFTEST, TOKENIZER, Bundle, Manifest, Task
from edge.predictor import Predictor
from edge.tokens import TextTokenizer
from export.card import write_card
from export.checkpoint import Checkpoint
from export.choose import choose, refusal
from export.convert import export_classifier
from export.describe import describe, notes, parity, self_test
from export.errors import ConversionFailed, OutputFailed, ParityFailed, SourceInvalid
from export.examine import Traits
from export.fuse import Architecture
from export.measure import Measurement, Workbench
from export.pack import pack_bundle
from export.probes import Probe, make_probes, read_probes
from export.recipes import candidates
from export.reference import Answer, answer_probes, check_conversion, read_answers, write_answers
from export.report import Reporter
from export.settings import AUTO, BuildOptions

__all__ = ["build_bundle"]

COPIES_ON_DISK = 5  # converted, prepared, fused, candidate, and packed or watched


def build_bundle(
    checkpoint: Checkpoint, traits: Traits, options: BuildOptions, reporter: Reporter
) -> Bundle:
    """Build the bundle at `options.out`.

    Args:
        checkpoint: A checked model directory.
        traits: What the model is for.
        options: How.
        reporter: Shows progress and the table of what was measured.

    Raises:
        SourceInvalid: The weights or the tokenizer cannot be used.
        ConversionFailed: A step gave a graph that the recipe does not allow.
        ParityFailed: No allowed recipe keeps the answers; `out` is as it was.
        OutputFailed: There is no room for the work.
    """
    own = read_probes(options.probes, private=options.private_probes) if options.probes else []
    if traits.task is Task.ZERO_SHOT_NLI and not all(probe.labels for probe in own):
        raise SourceInvalid(f"{options.probes}: expected labels in every line, found one without")
    probes = make_probes(traits.task, own)
    with _workplace(options, _key(checkpoint, traits, options, probes)) as work:
        _check_room(work, checkpoint)
        return _Build(checkpoint, traits, options, reporter, work).run(probes)


@dataclass(frozen=True, slots=True)
class _Build:
    """One build: its source, its choices, its voice and its place to work."""

    checkpoint: Checkpoint
    traits: Traits
    options: BuildOptions
    reporter: Reporter
    work: Path

    def run(self, probes: list[Probe]) -> Bundle:
        tokenizer_json = self.checkpoint.read_tokenizer()
        TextTokenizer(tokenizer_json)  # refuses now what the edge would refuse after the work
        manifest = describe(self.checkpoint, self.traits, self.options)
        answers = self._answer(probes)
        bench = Workbench(self.work, manifest, tokenizer_json, answers, self.options.gate)
        logit_delta, fused = self._convert(bench, answers)
        return self._pack(bench, self._take(bench, fused=fused), logit_delta, answers)

    def _answer(self, probes: list[Probe]) -> list[Answer]:
        """What PyTorch says; its memory is free again when this returns."""
        kept = self.work / "answers.json"
        if answers := read_answers(kept, self.traits, probes):
            return answers
        asked = self.reporter.track("asking PyTorch", probes)
        answers = answer_probes(self.checkpoint.path, self.traits, asked)
        write_answers(kept, answers)
        return answers

    def _convert(self, bench: Workbench, answers: list[Answer]) -> tuple[float, bool]:
        """The fp32 graphs; returns the largest |Δlogit|, and whether there is a fused one."""
        exported = self.work / "exported"
        with self.reporter.step("converting"):
            original = export_classifier(self.checkpoint.path, exported, self.options.opset)
            graph = bench.prepare(original)
        asked = self.reporter.track("comparing fp32 ONNX with PyTorch", answers)
        logit_delta = check_conversion(graph, asked, bench.pad_id)
        fused = self._fuse(bench, original, answers)
        shutil.rmtree(exported)
        return max(logit_delta, fused or 0.0), fused is not None

    def _fuse(self, bench: Workbench, original: Path, answers: list[Answer]) -> float | None:
        """Make the fused graph; its largest |Δlogit|, or None where there is none."""
        architecture = Architecture.from_config(self.checkpoint.config)
        if self.options.fused is False or (architecture is None and not self.options.fused):
            return None
        try:
            if architecture is None:
                raise ConversionFailed(
                    "--fuse: expected an architecture that fusions are known for, found "
                    f"{self.traits.architecture}; build with --no-fuse"
                )
            with self.reporter.step("fusing"):
                graph = bench.prepare(original, architecture)
            asked = self.reporter.track("comparing fused ONNX with PyTorch", answers)
            return check_conversion(graph, asked, bench.pad_id)
        except (ConversionFailed, ParityFailed) as error:
            if self.options.fused:
                raise
            self.reporter.note(f"not fused: {error}")
            return None

    def _take(self, bench: Workbench, *, fused: bool) -> Measurement:
        options = self.options
        recipes = [
            recipe
            for recipe in candidates(options.target, fused=fused)
            if options.recipe in (AUTO, recipe.name)
        ]
        compare = fused and options.fused is None
        choice = choose(
            bench, recipes, options.gate, options.limits, self.reporter, compare=compare
        )
        self.reporter.table(choice.tried, options.gate)
        if choice.taken is None:
            raise ParityFailed(refusal(recipes, choice.tried, options.gate))
        return choice.taken

    def _pack(
        self, bench: Workbench, taken: Measurement, logit_delta: float, answers: list[Answer]
    ) -> Bundle:
        cases = self_test(self.traits, answers, self.options.gate)
        with self.reporter.step(f"packing {taken.recipe.title}"):
            candidate = bench.make(taken.recipe)
            (candidate.path / SELFTEST).write_bytes(cases)
            _check_self_test(bench.open(candidate))
            return self._write(candidate, cases, taken, logit_delta)

    def _write(
        self, candidate: Bundle, cases: bytes, taken: Measurement, logit_delta: float
    ) -> Bundle:
        manifest = _with_parity(candidate.manifest, parity(taken.agreement, logit_delta))
        card = write_card(manifest, notes(self.traits, taken, self.options.gate))
        files: dict[str, bytes | Path] = {
            MODEL: candidate.path / MODEL,
            TOKENIZER: candidate.path / TOKENIZER,
            SELFTEST: cases,
            CARD: card.encode(),
        }
        return pack_bundle(self.options.out, manifest, files)


def _check_self_test(predictor: Predictor) -> None:
    """What every device will do before it serves the bundle."""
    result = predictor.self_test()
    if not result.passed:
        raise ParityFailed(
            f"expected all {result.cases} self-test cases to keep their label within "
            f"{result.tolerance:g}, found {result.agreeing} and a largest |Δscore| of "
            f"{result.max_score_delta:.4f}; nothing was packed; try --recipe fp32"
        )


def _with_parity(manifest: Manifest, found: dict[str, float]) -> Manifest:
    quantization = manifest.quantization.model_copy(update={"parity": found})
    return manifest.model_copy(update={"quantization": quantization})


def _key(checkpoint: Checkpoint, traits: Traits, options: BuildOptions, probes: list[Probe]) -> str:
    """Names the intermediates of this very build: resuming another one's would mix two models."""
    parts = [
        checkpoint.revision,
        asdict(traits),
        options.opset,
        options.target,
        asdict(options.gate),
        [asdict(probe) for probe in probes],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@contextmanager
def _workplace(options: BuildOptions, key: str) -> Iterator[Path]:
    """A directory for the intermediates: temporary, or the caller's, which outlives a failure."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.work_dir is None:
        prefix = f".{options.out.name}-work-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=options.out.parent) as scratch:
            yield Path(scratch)
        return
    work = options.work_dir / key
    work.mkdir(parents=True, exist_ok=True)
    yield work
    if not options.keep:
        shutil.rmtree(work)


def _check_room(work: Path, checkpoint: Checkpoint) -> None:
    needed, free = COPIES_ON_DISK * checkpoint.weight_bytes, shutil.disk_usage(work).free
    if free < needed:
        raise OutputFailed(
            f"{work.parent}: expected {needed / 1e6:.0f} MB free for the intermediates, found "
            f"{free / 1e6:.0f} MB; make room, or give another place by --work-dir"
        )

"""How fast and small the exported bundles' graphs are, on full-size models with random weights.

Every candidate runs in a fresh process of its own, warmed by another shape, as it does on the edge:
in one that has freed gigabytes before, large buffers cost no page faults. The candidates of a line
take turns, round after round; a ratio is the median over the rounds. CPU time stands in brackets
and has a ratio of its own, for machines that are never quiet. The floor is a graph of the int8
candidate's own MatMulInteger nodes, with their weights, and nothing in between.

    python -m benchmarks.bench_export --rounds 9
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.floor import build_floor
from benchmarks.machine import describe_machine
from benchmarks.random_models import NAMES, default_cache, random_model
from edge.cpu import read_cpu
from edge.runtime import Graph, RuntimeOptions

BART, DISTILBERT = NAMES
OPSET = 18
OURS, FP32, OPTIMUM, FLOOR = "int8, ours", "fp32", "int8, Optimum's default", "MatMulInteger alone"
WARM_TOKENS = 16
STEP_TOKENS = 2  # rows of one request differ by what their hypotheses do

Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run."""

    wall_ms: float
    cpu_ms: float
    """Of all threads, the kernel's share included; a busy machine changes it little."""
    peak_mb: float
    """The most memory that the process has ever held."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table: ours against something else."""

    model: str
    rows: int
    tokens: int
    other: str
    target: float
    """Times faster than the other; for the floor: at most this many times as long."""
    rounds_share: float = 1.0
    """Of the rounds asked for; long runs are steadier."""

    @property
    def is_floor(self) -> bool:
        """Whether fewer is better."""
        return self.other == FLOOR


COMPARISONS = (
    Comparison(DISTILBERT, 1, 32, FP32, 2.5, 10),
    Comparison(DISTILBERT, 1, 512, OPTIMUM, 1.0, 2),
    Comparison(BART, 4, 40, FP32, 3.0),
    Comparison(BART, 4, 40, FLOOR, 1.35, 2),
    Comparison(BART, 4, 1024, OPTIMUM, 1.8, 0.34),
)
SIZES_MB = {DISTILBERT: 70, BART: 420}


def main() -> None:
    """Make what is not there yet, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="3 GB of graphs")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    graphs = {name: make_graphs(name, options.cache) for name in NAMES}
    print(
        f"{describe_machine()}\n\n| model | rows × tokens | ours | against | ratio | CPU | target |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, limit in SIZES_MB.items():
        size_mb = graphs[name][OURS].stat().st_size / 1e6
        print(f"| {name} | | {size_mb:.1f} MB | | | | ≤ {limit} MB: {met(size_mb <= limit)} |")
    for comparison in COMPARISONS:
        print(measure(comparison, graphs[comparison.model], options.rounds), flush=True)


def make_graphs(name: str, cache: Path) -> dict[str, Path]:
    """fp32, Optimum's int8, ours and the floor; only ours is made anew each time."""
    source = random_model(name, cache)
    work = cache / f"{source.name}-graphs"
    fp32, optimum = work / "model.onnx", work / "optimum" / "model_quantized.onnx"
    ours, floor = work / "ours.onnx", work / "floor.onnx"
    if not fp32.is_file():
        from export.convert import export_classifier

        export_classifier(source, work, OPSET)
    if not optimum.is_file():
        _quantise_as_optimum(work)
    _quantise_as_ours(fp32, ours, source / "config.json")
    for rows, tokens in {(c.rows, c.tokens) for c in COMPARISONS if c.model == name and c.is_floor}:
        build_floor(ours, floor, make_rows(name, rows, tokens))
    return {FP32: fp32, OPTIMUM: optimum, OURS: ours, FLOOR: floor}


def _quantise_as_optimum(directory: Path) -> None:
    """The defaults of `AutoQuantizationConfig.avx512_vnni`, for those CPUs the fastest there is."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = AutoQuantizationConfig.avx512_vnni(is_static=False)
    quantizer = ORTQuantizer.from_pretrained(directory, file_name="model.onnx")
    quantizer.quantize(save_dir=directory / "optimum", quantization_config=config)


def _quantise_as_ours(fp32: Path, out: Path, config: Path) -> None:
    """The first recipe that a build tries on this machine, fused."""
    from edge.bundle import Target
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


def make_rows(name: str, rows: int, tokens: int) -> Feed:
    """Random ids between the model's special tokens, each row a little shorter, padded as usual."""
    start, end, pad = (0, 2, 1) if name == BART else (101, 102, 0)
    ids = np.random.default_rng(0).integers(1000, 20000, (rows, tokens)).astype(np.int64)
    mask = np.zeros((rows, tokens), np.int64)
    for row in range(rows):
        length = tokens - STEP_TOKENS * row
        ids[row, 0], ids[row, [WARM_TOKENS // 2, length - 1]] = start, end
        ids[row, length:] = pad
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def measure(comparison: Comparison, graphs: Mapping[str, Path], rounds: int) -> str:
    """One line of the table."""
    feed = make_rows(comparison.model, comparison.rows, comparison.tokens)
    repeats = max(3, round(rounds * comparison.rounds_share))
    with ExitStack() as stack:
        paths = (graphs[OURS], graphs[comparison.other])
        candidates = [stack.enter_context(running(path, feed)) for path in paths]
        times = [[_once(each) for each in candidates] for _ in range(repeats + 1)][1:]
    ours, others = zip(*times, strict=True)
    return _line(comparison, ours, others)


def _line(comparison: Comparison, ours: Sequence[Cost], others: Sequence[Cost]) -> str:
    pairs = list(zip(ours, others, strict=True))
    if comparison.is_floor:
        pairs = [(other, mine) for mine, other in pairs]
    ratio = statistics.median(other.wall_ms / mine.wall_ms for mine, other in pairs)
    cpu_ratio = statistics.median(other.cpu_ms / mine.cpu_ms for mine, other in pairs)
    is_met = ratio <= comparison.target if comparison.is_floor else ratio >= comparison.target
    sign = "≤" if comparison.is_floor else "≥"
    return (
        f"| {comparison.model} | {comparison.rows}×{comparison.tokens} | {_medians(ours)} "
        f"| {comparison.other}: {_medians(others)} | {ratio:.2f} | {cpu_ratio:.2f} "
        f"| {sign} {comparison.target}: {met(is_met)} |"
    )


def _medians(costs: Sequence[Cost]) -> str:
    wall_ms = statistics.median(cost.wall_ms for cost in costs)
    cpu_ms = statistics.median(cost.cpu_ms for cost in costs)
    return f"{wall_ms:.1f} ms ({cpu_ms:.1f}), {costs[-1].peak_mb:.0f} MB"


@contextmanager
def running(path: Path, feed: Feed) -> Iterator[Connection]:
    """A process that runs one graph each time it is asked to."""
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(path, feed, far))
    process.start()
    far.close()
    try:
        yield near
    finally:
        near.close()
        process.join()


def _serve(path: Path, feed: Feed, asked: Connection) -> None:
    graph = Graph(path, RuntimeOptions())
    # onnxruntime plans memory for the shape that it sees first, and keeps it from run to run. On
    # the edge that is the self-test's, and requests are of any shape.
    graph.run({name: values[:1, :WARM_TOKENS] for name, values in feed.items()})
    while True:
        try:
            asked.recv()
        except EOFError:
            return
        wall, cpu = time.perf_counter(), time.process_time()
        graph.run(feed)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        asked.send(Cost(wall * 1e3, cpu * 1e3, _peak_mb()))


def _peak_mb() -> float:
    """Of this process since it was started; `ru_maxrss` would count its parent's."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kib) / 1024


def _once(candidate: Connection) -> Cost:
    candidate.send(None)
    cost: Cost = candidate.recv()
    return cost


def met(is_met: bool) -> str:
    """How a target is reported."""
    return "met" if is_met else "missed"


if __name__ == "__main__":
    main()

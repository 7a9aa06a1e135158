"""Models in a process of their own that times each call itself: what a library costs its caller.

All questions of a lap are run back to back, which is the best that such a caller can see.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.graphs import Graphs, make_rows
from benchmarks.replies import Reply
from benchmarks.works import Question
from edge.bundle import MODEL, TOKENIZER, Task, read_bundle
from edge.runtime import Graph, RuntimeOptions
from edge.similarity import segments
from edge.tokens import TextTokenizer, pad_rows

__all__ = [
    "Shape",
    "bare",
    "batched_by_hand",
    "graph_alone",
    "optimum_pipeline",
    "transformers_pipeline",
]

TEMPLATE = "This example is {}."
STOP_S = 60.0

Call = Callable[[], dict[str, float]]
Prepare = Callable[[Any], Call]
"""What is done before the clock starts, and gives what is timed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The question to a graph alone: rows × tokens of made-up ids."""

    rows: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that answers over a pipe."""

    pid: int
    pipe: Connection

    def ask(self, questions: Sequence[Any], clients: int = 1) -> list[Reply]:
        """All of them, one after the other."""
        assert clients == 1, "a library in a process has one caller"
        self.pipe.send(questions)
        replies: list[Reply] = self.pipe.recv()
        return replies


@contextmanager
def _working(make: Callable[[], Prepare]) -> Iterator[Worker]:
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_work, args=(make, far), daemon=True)
    process.start()
    far.close()
    try:
        near.recv()
        assert process.pid is not None
        yield Worker(process.pid, near)
    finally:
        near.close()
        process.join(STOP_S)


def _work(make: Callable[[], Prepare], asked: Connection) -> None:
    prepare = make()
    asked.send("ready")
    while True:
        try:
            questions = asked.recv()
        except EOFError:
            return
        asked.send([_timed(prepare(question)) for question in questions])


def _timed(call: Call) -> Reply:
    began = time.perf_counter()
    scores = call()
    return Reply((time.perf_counter() - began) * 1e3, scores)


def bare(graphs: Graphs) -> Any:
    """One `session.run` of our graph, on the rows that the daemon makes of a text."""
    return _working(partial(_bare, graphs.bundle))


def _bare(path: Path) -> Prepare:
    bundle = read_bundle(path)
    tokenizer = TextTokenizer((path / TOKENIZER).read_bytes())
    graph = Graph(path / MODEL, RuntimeOptions())
    room = bundle.manifest.max_tokens - tokenizer.n_special_single
    cuts = bundle.manifest.task is Task.ZERO_SHOT_EMBEDDING
    names = ("input_ids", "attention_mask", "token_type_ids")

    def prepare(question: Question) -> Call:
        parts = segments(question.text) if cuts else (question.text,)
        rows = [tokenizer.single(tokenizer.encode(part, room).ids) for part in parts]
        feed = dict(zip(names, pad_rows(rows, tokenizer.pad_id), strict=True))
        return lambda: {"": float(graph.run(feed).flat[0])}

    return prepare


def graph_alone(path: Path, is_bart: bool) -> Any:
    """A graph, asked by `Shape`.

    Its first run is of another shape, as on the edge: onnxruntime plans memory for the shape that
    it sees first, and keeps it from run to run.
    """
    return _working(partial(_graph_alone, path, is_bart))


def _graph_alone(path: Path, is_bart: bool) -> Prepare:
    graph = Graph(path, RuntimeOptions())
    graph.run(make_rows(is_bart, 1, 16))

    def prepare(shape: Shape) -> Call:
        feed = make_rows(is_bart, shape.rows, shape.tokens)
        return lambda: {"": float(graph.run(feed).flat[0])}

    return prepare


def transformers_pipeline(graphs: Graphs) -> Any:
    """As its users call it, in fp32; the tokenizer is told to cut, which it does not by itself."""
    return _working(partial(_transformers, graphs.source))


def _transformers(source: Path) -> Prepare:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    return _pipeline(model, source)


def optimum_pipeline(graphs: Graphs) -> Any:
    """The same pipeline over onnxruntime and the int8 that Optimum makes by default."""
    return _working(partial(_optimum, graphs))


def _optimum(graphs: Graphs) -> Prepare:
    return _pipeline(_ort_model(graphs), graphs.source)


def _ort_model(graphs: Graphs) -> Any:
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoConfig

    return ORTModelForSequenceClassification.from_pretrained(
        graphs.optimum.parent,
        file_name=graphs.optimum.name,
        config=AutoConfig.from_pretrained(graphs.source),
    )


def _pipeline(model: Any, source: Path) -> Prepare:
    from transformers import AutoTokenizer, pipeline

    window = model.config.max_position_embeddings
    tokenizer = AutoTokenizer.from_pretrained(source, model_max_length=window)
    options = {"model": model, "tokenizer": tokenizer, "device": "cpu"}
    if model.config.model_type == "bart":
        judge = pipeline("zero-shot-classification", **options)
        return lambda question: partial(_judge, judge, question)
    classify = pipeline("text-classification", truncation=True, **options)
    return lambda question: partial(_classify, classify, question)


def _judge(judge: Any, question: Question) -> dict[str, float]:
    found = judge(question.text, list(question.labels), hypothesis_template=TEMPLATE)
    return dict(zip(found["labels"], found["scores"], strict=True))


def _classify(classify: Any, question: Question) -> dict[str, float]:
    return {row["label"]: row["score"] for row in classify(question.text, top_k=None)}


def batched_by_hand(graphs: Graphs) -> Any:
    """All hypotheses of a text in one run of Optimum's int8, which the pipeline does not do."""
    return _working(partial(_batched, graphs))


def _batched(graphs: Graphs) -> Prepare:
    from transformers import AutoTokenizer

    model = _ort_model(graphs)
    window = model.config.max_position_embeddings
    tokenizer = AutoTokenizer.from_pretrained(graphs.source, model_max_length=window)
    entailment = model.config.label2id["entailment"]

    def judge(question: Question) -> dict[str, float]:
        hypotheses = [TEMPLATE.format(label) for label in question.labels]
        texts = [question.text] * len(hypotheses)
        rows = tokenizer(
            texts, hypotheses, padding=True, truncation="only_first", return_tensors="pt"
        )
        scores = model(**rows).logits[:, entailment].softmax(0)
        return dict(zip(question.labels, scores.tolist(), strict=True))

    return lambda question: partial(judge, question)

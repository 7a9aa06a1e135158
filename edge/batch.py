"""How the rows of one query become padded runs of bounded size, and come back in their order.

Rows of two queries never share a run: on a dynamically quantised graph the batch-mates change a
score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from edge.runtime import Graph
from edge.tokens import Row, pad_rows

__all__ = ["MAX_BATCH_ROWS", "MAX_BATCH_TOKENS", "RUNS_AT_ONCE", "run_rows"]

# Constants, not settings: where the graph is dynamically quantised, the plan is part of the
# answer's definition.
MAX_BATCH_ROWS = 16
MAX_BATCH_TOKENS = 1024  # rows × longest row: memory is bounded by the plan, not by the request
RUNS_AT_ONCE = 2
"""Runs of one query that go side by side, so that no core waits at the end of each product.

Source: four rows of 1024 on two cores take 7.5 s so, 8.1 s one after the other, and 8.2 s with 235
MB more in one run (benchmarks/NOTES.md).
"""


def run_rows(graph: Graph, rows: Sequence[Row], pad_id: int) -> np.ndarray:
    """Run every row once: float32 [rows, …], in the order of `rows`."""
    if len(rows) == 1:  # the most common case, and nothing to put in order
        return _run(graph, rows, pad_id)
    chunks = list(plan([len(row.ids) for row in rows]))
    callers = min(len(chunks), graph.threads, RUNS_AT_ONCE)

    def run(chunk: list[int]) -> np.ndarray:
        return _run(graph, [rows[i] for i in chunk], pad_id)

    if callers > 1:
        with ThreadPoolExecutor(callers) as pool:
            results = list(pool.map(run, chunks))
    else:
        results = list(map(run, chunks))
    outputs = np.concatenate(results)
    in_order = np.empty_like(outputs)
    in_order[[position for chunk in chunks for position in chunk]] = outputs
    return in_order


def _run(graph: Graph, rows: Sequence[Row], pad_id: int) -> np.ndarray:
    ids, mask, types = pad_rows(rows, pad_id)
    return graph.run({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})


def plan(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Cut rows, shortest first, into runs within the two caps; yields positions.

    A pure function of the lengths. Rows of like length share a run, so that little is padding.
    """
    chunk: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        rows = len(chunk) + 1
        if chunk and (rows > MAX_BATCH_ROWS or rows * lengths[position] > MAX_BATCH_TOKENS):
            yield chunk
            chunk = []
        chunk.append(position)
    if chunk:
        yield chunk

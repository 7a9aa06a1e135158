"""How the rows of one query become padded runs of bounded size, and come back in their order.

Rows of two queries never share a run: on a dynamically quantised graph the batch-mates change a
score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edge.runtime import Graph
from edge.tokens import Row, pad_rows

__all__ = ["MAX_BATCH_ROWS", "MAX_BATCH_TOKENS", "run_rows"]

# Constants, not settings: where the graph is dynamically quantised, the plan is part of the
# answer's definition.
MAX_BATCH_ROWS = 16
MAX_BATCH_TOKENS = 4096  # rows × longest row: memory is bounded by the plan, not by the request


def run_rows(graph: Graph, rows: Sequence[Row], pad_id: int) -> np.ndarray:
    """Run every row once: float32 [rows, …], in the order of `rows`."""
    if len(rows) == 1:  # the most common case, and nothing to put in order
        return _run(graph, rows, pad_id)
    outputs: list[np.ndarray | None] = [None] * len(rows)
    for chunk in plan([len(row.ids) for row in rows]):
        result = _run(graph, [rows[i] for i in chunk], pad_id)
        for position, row_output in zip(chunk, result, strict=True):
            outputs[position] = row_output
    return np.stack([output for output in outputs if output is not None])


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

"""Meaning as a vector, by the encoder that ships with the edge: the same on every machine.

No download, no torch. Only for comparing texts; what is served is another model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edge.batch import MAX_BATCH_ROWS, run_rows
from edge.bundle import MODEL, STARTER, TOKENIZER, read_bundle
from edge.runtime import Graph, RuntimeOptions
from edge.tokens import TextTokenizer

__all__ = ["Vectors", "embed_texts", "nearest"]

Vectors = npt.NDArray[np.float32]

READ_TOKENS = 128
"""A request and the start of its passage; vectors of longer texts tell less of what is asked."""
CHUNK = 16 * MAX_BATCH_ROWS
BLOCK = 1024


def embed_texts(
    texts: Sequence[str], on_progress: Callable[[int], None] = lambda done: None
) -> Vectors:
    """float32 [texts, 384], each of length 1. The same texts in the same order give the same bits.

    Args:
        texts: What to embed; of each, the first tokens.
        on_progress: Called with how many are done.
    """
    bundle = read_bundle(STARTER)
    tokenizer = TextTokenizer((bundle.path / TOKENIZER).read_bytes())
    graph = Graph(bundle.path / MODEL, RuntimeOptions())
    room = READ_TOKENS - tokenizer.n_special_single
    parts = [np.empty((0, 384), dtype=np.float32)]
    # Texts of like length are padded little when they share a run.
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    for start in range(0, len(order), CHUNK):
        chunk = [texts[i] for i in order[start : start + CHUNK]]
        rows = [tokenizer.single(tokenizer.encode(text, room).ids) for text in chunk]
        parts.append(run_rows(graph, rows, tokenizer.pad_id))
        on_progress(start + len(chunk))
    vectors = np.concatenate(parts)
    found = np.empty_like(vectors)
    found[order] = vectors
    return found


def nearest(vectors: Vectors, others: Vectors) -> tuple[npt.NDArray[np.int64], Vectors]:
    """For each vector the position of the likest other, and the cosine; needs one other at least.

    Returns:
        int64 [vectors], and float32 [vectors] in [-1, 1].
    """
    places, cosines = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for start in range(0, len(vectors), BLOCK):
        likeness = vectors[start : start + BLOCK] @ others.T
        best = likeness.argmax(axis=1)
        places.append(best)
        cosines.append(likeness[np.arange(len(best)), best])
    return np.concatenate(places), np.concatenate(cosines)

"""How far a build has moved from the one before: labels, lengths, words, meaning.

It decides nothing. Only rows that people wrote count: made ones say what was asked of `augment`.

Source: Jensen-Shannon distance, Endres & Schindelin, IEEE Trans. Inf. Theory 49 (2003) 1858-1860.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from training.card import NO_LABEL
from training.embed import Vectors, embed_texts
from training.fold import fold
from training.rows import Row

__all__ = ["compare_profiles", "js_distance", "profile"]

MAX_WORDS = 2000
EXACT_WORDS = 16
MAX_EMBEDDED = 400
"""Rows of which the meaning is read; drawn by a hash of their ids."""


def profile(
    rows: Sequence[Row],
    build: str,
    embed: Callable[[Sequence[str]], Vectors] = embed_texts,
) -> dict[str, Any]:
    """What a build looks like, small enough to be kept.

    Args:
        rows: All of its parts.
        build: What names it: the digest of its parts.
        embed: Reads meaning.
    """
    real = [row for row in rows if row.is_real]
    drawn = sorted(real, key=lambda row: hashlib.sha256(row.id.encode()).digest())[:MAX_EMBEDDED]
    centre = embed([row.text for row in drawn]).mean(axis=0) if drawn else np.zeros(1)
    words = Counter(word for row in real for word in fold(row.text, None).split())
    lengths = [len(row.text.split()) for row in real] or [0]
    return {
        "build": build,
        "rows": len(real),
        "labels": _sorted(Counter(row.label or NO_LABEL for row in real)),
        "words_median": float(np.median(lengths)),
        "words_p95": float(np.quantile(lengths, 0.95)),
        "lengths": _sorted(Counter(map(_length_bin, lengths))),
        "vocabulary": dict(words.most_common(MAX_WORDS)),
        "centre": [round(float(x), 5) for x in centre],
    }


def compare_profiles(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """How far apart two profiles are; distances in [0, 1], 0 where they are the same."""
    known, words = set(before["vocabulary"]), Counter(now["vocabulary"])
    return {
        "build": before["build"],
        "rows": [before["rows"], now["rows"]],
        "labels": round(js_distance(before["labels"], now["labels"]), 4),
        "shares": {
            label: [_share(before["labels"], label), _share(now["labels"], label)]
            for label in sorted({*before["labels"], *now["labels"]})
        },
        "lengths": round(js_distance(before["lengths"], now["lengths"]), 4),
        "words_median": [before["words_median"], now["words_median"]],
        "words_p95": [before["words_p95"], now["words_p95"]],
        "vocabulary": round(js_distance(before["vocabulary"], now["vocabulary"]), 4),
        "new_words": round(
            sum(n for word, n in words.items() if word not in known) / max(words.total(), 1), 4
        ),
        "meaning": round(_cosine_distance(before["centre"], now["centre"]), 4),
    }


def js_distance(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """Jensen-Shannon distance of two counts, in [0, 1]; 1 where one is empty and one is not."""
    names = sorted({*first, *second})
    p, q = (_distribution(counts, names) for counts in (first, second))
    if not p.any() or not q.any():
        return float(p.any() != q.any())
    middle = (p + q) / 2
    divergence = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))


def _length_bin(words: int) -> str:
    """Short texts by the word, long ones by the octave."""
    return str(words if words < EXACT_WORDS else 1 << (words.bit_length() - 1))


def _distribution(counts: Mapping[str, int], names: Iterable[str]) -> Any:
    found = np.array([counts.get(name, 0) for name in names], dtype=np.float64)
    return found / max(found.sum(), 1)


def _divergence(p: Any, middle: Any) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / middle[some])).sum())


def _share(counts: Mapping[str, int], name: str) -> float:
    return round(counts.get(name, 0) / max(sum(counts.values()), 1), 4)


def _cosine_distance(first: Sequence[float], second: Sequence[float]) -> float:
    a, b = np.array(first), np.array(second)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return max(0.0, 1 - float(a @ b) / size) if len(a) == len(b) and size else 1.0


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))

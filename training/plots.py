"""Draws figures as SVG. The only file that knows matplotlib; it computes nothing.

Lines and words take the colour of the page around them, so that a figure is read in light and dark.
The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = [
    "INK",
    "draw_bars",
    "draw_confusion",
    "draw_curves",
    "draw_histograms",
    "draw_intervals",
    "draw_reliability",
]

INK = "#010203"
"""Stands for the colour of the words around; nothing else is drawn in it."""
BLUE, ORANGE, GREY = "#3d85c6", "#e08a1e", "#8a8f98"
WIDTH_IN = 4.5
"""So wide that words keep their size on a phone."""
MOST_NAMED = 24
"""Labels of a matrix that can still be read."""
STYLE = {
    "svg.fonttype": "none",  # words stay words: small, searchable, in the page's font
    "svg.hashsalt": "intentd",
    "font.size": 10.5,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}


def draw_confusion(table: Any, labels: Sequence[str]) -> str:
    """What was asked for (rows) and answered (columns); shades are shares of a row.

    Args:
        table: int [labels, labels].
        labels: Their names; of many, only numbers are drawn on the axes.
    """
    counts = np.asarray(table)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = np.zeros((*counts.shape, 4))
    shades[..., :3] = np.array([0x3D, 0x85, 0xC6]) / 255
    shades[..., 3] = shares * 0.85
    side = WIDTH_IN * (0.55 if len(labels) <= 6 else 0.8)
    with rc_context(STYLE):
        figure, axes = _figure(side + 0.8)
        axes.imshow(shades, interpolation="nearest", aspect="auto")
        axes.set_xlabel("answered")
        axes.set_ylabel("asked for")
        if len(labels) <= MOST_NAMED:
            axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
            axes.set_yticks(range(len(labels)), labels)
            for i, j in np.argwhere(counts > 0):
                axes.text(j, i, str(counts[i, j]), ha="center", va="center")
        return _svg(figure)


def draw_bars(values: Sequence[tuple[str, float]], floor: float, name: str) -> str:
    """One bar a class, in [0, 1], and the least that is asked for; another colour misses it."""
    with rc_context(STYLE):
        figure, axes = _figure(0.6 + 0.26 * max(len(values), 2))
        labels = [label for label, _ in values]
        colours = [BLUE if value >= floor else ORANGE for _, value in values]
        bars = axes.barh(range(len(values)), [value for _, value in values], color=colours)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.axvline(floor, color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(values)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel(f"{name} (dashed: the least that is asked for)")
        return _svg(figure)


def draw_reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """Confidence against accuracy; on the diagonal a score means what it says."""
    with rc_context(STYLE):
        figure, axes = _figure(3.2)
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as it should be")
        axes.plot(
            [part["confidence"] for part in bins],
            [part["accuracy"] for part in bins],
            color=BLUE,
            marker="o",
            label="found",
        )
        for part in bins:
            axes.annotate(
                str(part["n"]),
                (part["confidence"], part["accuracy"]),
                textcoords="offset points",
                xytext=(4, -10),
                fontsize=8,
            )
        axes.set_xlabel("mean score of the best label")
        axes.set_ylabel("share that is right")
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.05)
        axes.legend(frameon=False, loc="upper left")
        return _svg(figure)


def draw_histograms(groups: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Scores of the best label, one group over the other: share of the group a bin."""
    edges = np.linspace(0, 1, 21)
    with rc_context(STYLE):
        figure, axes = _figure(2.6)
        for (name, scores), colour in zip(groups, (BLUE, ORANGE, GREY), strict=False):
            if len(scores):
                weights = np.full(len(scores), 1 / len(scores))
                label = f"{name} ({len(scores)})"
                axes.hist(
                    scores,
                    bins=edges,
                    weights=weights,
                    color=colour,
                    alpha=0.45,
                    edgecolor=colour,
                    histtype="stepfilled",
                    label=label,
                )
        axes.set_xlabel("score of the best label")
        axes.set_ylabel("share of the group")
        axes.set_xlim(0, 1)
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        return _svg(figure)


def draw_curves(curves: Sequence[tuple[str, Sequence[float], Sequence[float]]], name: str) -> str:
    """Values over epochs, one line a name."""
    with rc_context(STYLE):
        figure, axes = _figure(2.6)
        for (label, x, y), colour in zip(curves, (BLUE, ORANGE, GREY), strict=False):
            axes.plot(x, y, color=colour, marker="o", markersize=3, label=label)
        axes.set_xlabel(name)
        axes.legend(frameon=False)
        return _svg(figure)


def draw_intervals(values: Sequence[tuple[str, float, float, float]], zero: str) -> str:
    """Differences with their intervals; where one crosses the line, it may be none.

    Args:
        values: Name, value, low and high.
        zero: What the line in the middle says.
    """
    with rc_context(STYLE):
        figure, axes = _figure(0.7 + 0.4 * len(values))
        for place, (_, value, low, high) in enumerate(values):
            axes.plot([low, high], [place, place], color=BLUE, linewidth=3, alpha=0.5)
            axes.plot([value], [place], color=BLUE, marker="o")
        axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(values)), [name for name, *_ in values])
        axes.set_ylim(len(values) - 0.5, -0.5)
        reach = max(max(abs(low), abs(high)) for _, _, low, high in values) or 0.01
        axes.set_xlim(-reach * 1.1, reach * 1.1)
        axes.set_xlabel(zero)
        return _svg(figure)


def _figure(height_in: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The picture alone: no prologue, no fixed size, no date."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*pt"', r"\1", text, count=2).strip()

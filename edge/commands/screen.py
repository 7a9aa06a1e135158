"""What the review shows: one prediction, its keys and the progress, as lines that fit a window.

Pure: it neither reads keys nor writes to a terminal. Of what users wrote only plain characters
come through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from edge.commands.keys import assign_keys, keys_of
from edge.commands.output import bar, label_name, printable
from edge.labels import TARGET_PER_LABEL

__all__ = ["Card", "Progress", "progress_lines", "render", "render_end"]

REASONS = {
    "low_confidence": "the best label was hardly better than the second",
    "disagreement": "two models, or the model and a person, said different things",
    "audit": "drawn at random, so that the sample holds more than doubts",
}
MAX_CHARS = 8000  # more than a window holds; a text of a megabyte is not measured
KEYS_WIDTH = 6
MIN_BAR_WIDTH, MAX_BAR_WIDTH = 8, 24
MIN_TEXT_LINES = 2
MAX_CONTENT_LINES = 3
COMMANDS = "0 n none of these · s skip · u undo · q quit"
_MEASURE = Console(width=80, color_system=None)


@dataclass(frozen=True, slots=True)
class Card:
    """One prediction to be judged."""

    text: str
    content: str | None
    label: str | None
    """What the daemon answered."""
    nearest: str
    """The model's best label, whatever its score."""
    score: float | None
    """The best score, in [0, 1]."""
    why: str
    """Why it is in the queue: a key of `REASONS`."""
    labels: tuple[str, ...]
    """The labels that were offered."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is."""

    done: int
    """Predictions judged in this session."""
    left: int
    """Predictions in the queue after this one, as far as it is known."""
    counts: Mapping[str | None, int] | None
    """Examples that each label has on the box; None where they are not told."""


def render(card: Card, progress: Progress, note: str, width: int, height: int) -> list[Text]:
    """The screen's lines: at most `height`, each at most `width` cells wide."""
    head = _head(progress, width)
    foot = [Text(), *_judgement(card), Text(), *_choices(card, progress, width, height)]
    foot += [*_passage(COMMANDS, width, 2, "dim"), Text(printable(note), style="bold")]
    room = max(height - len(head) - len(foot), MIN_TEXT_LINES)
    body = _passage(card.text, width, room)
    if card.content and len(body) < room:
        lines = min(room - len(body), MAX_CONTENT_LINES)
        body += _passage(f"about: {card.content}", width, lines, "dim")
    return [_fit(line, width) for line in [*head, *body, *foot]][:height]


def render_end(note: str, width: int) -> list[Text]:
    """The screen's lines when nothing is left to judge."""
    lines = [Text("nothing left to review", style="bold"), Text("u undo · q quit", style="dim")]
    return [_fit(line, width) for line in [*lines, Text(), Text(printable(note))]]


def progress_lines(
    counts: Mapping[str | None, int], labels: Sequence[str | None], width: int
) -> list[str]:
    """A line with a bar towards `TARGET_PER_LABEL` for each label."""
    names = [label_name(label) for label in labels]
    widest = max(map(cell_len, names), default=0)
    room = max(MIN_BAR_WIDTH, min(MAX_BAR_WIDTH, width - widest - 12))
    return [
        f"{set_cell_size(name, widest)}  {counts.get(label, 0):>4} of {TARGET_PER_LABEL}  "
        f"{bar(counts.get(label, 0) / TARGET_PER_LABEL, room)}".rstrip()
        for name, label in zip(names, labels, strict=True)
    ]


def _head(progress: Progress, width: int) -> list[Text]:
    title, state = "intentd review", f"{progress.done} done, {progress.left} more"
    gap = max(width - cell_len(title) - cell_len(state), 1)
    return [Text.assemble((title, "bold"), " " * gap, (state, "dim")), Text("─" * width, "dim")]


def _judgement(card: Card) -> list[Text]:
    score = "" if card.score is None else f", {card.score:.3f}"
    near = f" (nearest: {printable(card.nearest)}{score})" if card.label is None else score
    why = REASONS.get(card.why, printable(card.why))
    return [
        Text.assemble(("guess  ", "dim"), (label_name(card.label), "bold"), near),
        Text.assemble(("why    ", "dim"), why),
    ]


def _choices(card: Card, progress: Progress, width: int, height: int) -> list[Text]:
    """A line for each label with its keys and its bar; all in few lines where room is short."""
    confirm = Text.assemble(("Enter ", "bold"), f"right: {label_name(card.label)}")
    keys = assign_keys(card.labels)
    spare = height - MIN_TEXT_LINES - 9  # head, judgement, Enter, commands, note and gaps
    if len(card.labels) > spare:
        return [confirm, *_crowded(card.labels, keys, width, max(spare, 1))]
    lines = list(map(label_name, card.labels))
    if progress.counts is not None:
        lines = progress_lines(progress.counts, card.labels, width - KEYS_WIDTH)
    return [confirm] + [
        Text.assemble((f"{keys_of(label, keys):<{KEYS_WIDTH}}", "bold"), line)
        for label, line in zip(card.labels, lines, strict=True)
    ]


def _crowded(labels: Sequence[str], keys: Mapping[str, str], width: int, lines: int) -> list[Text]:
    named = " · ".join(f"{keys_of(label, keys)} {printable(label)}".strip() for label in labels)
    return _passage(named, width, lines)


def _passage(text: str, width: int, lines: int, style: str = "") -> list[Text]:
    """A text, wrapped, with an ellipsis where it had to be cut."""
    shown = "\n".join(printable(line) for line in text[:MAX_CHARS].splitlines())
    wrapped = list(Text(shown, style).wrap(_MEASURE, max(width, 1), overflow="fold"))
    if len(wrapped) <= lines and len(text) <= MAX_CHARS:
        return wrapped
    kept = wrapped[:lines]
    mark = f" … ({len(text)} characters)"
    kept[-1] = Text(set_cell_size(kept[-1].plain, max(width - len(mark), 1)).rstrip() + mark, style)
    return kept


def _fit(line: Text, width: int) -> Text:
    line.truncate(width, overflow="crop")
    return line

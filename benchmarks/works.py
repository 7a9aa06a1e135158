"""What is asked: texts of three sizes, each text once, and labels.

Real texts lie beside the repository; where they do not, plain sentences stand in for them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edge.tokens import TextTokenizer

__all__ = ["FOUR", "TWENTY", "WARM_UP", "WORKS", "Question", "questions"]

DATA = Path(__file__).parents[2] / "shared" / "data"
SHORT_TOKENS = 27
MOST_TOKENS = 64
NOVEL_START = 30_000  # behind the table of contents
STEP = 101  # so that no two long texts begin or end alike
SENTENCES = (
    "find the invoice that the plumber sent in May",
    "what did the committee decide about the new heating, and why",
    "please sum up the attached minutes in two or three sentences",
    "list every name and date in this contract",
    "my parcel has not arrived although it was sent a week ago",
    "show me the pictures of the boat that we took last summer",
)

TWENTY = (
    "a question about a bill that was paid twice",
    "a parcel that has not arrived on time",
    "a request to summarize a long document",
    "a request to find an old photograph",
    "a complaint about the opening hours",
    "an order that has to be cancelled",
    "a password that no longer works",
    "a question about the weather tomorrow",
    "a flight that has to be booked",
    "a table to be reserved for dinner",
    "a song that should be played now",
    "a reminder to be set for later",
    "a change of the postal address",
    "a lost or stolen credit card",
    "a question about insurance benefits",
    "a recipe for a vegetarian meal",
    "a translation into another language",
    "a light that should be turned off",
    "a transfer to another account",
    "a joke or other small talk",
)
FOUR = TWENTY[:4]


@dataclass(frozen=True, slots=True)
class Question:
    """One text, and the labels it is judged by where the model takes any."""

    text: str
    labels: tuple[str, ...] = ()


WARM_UP = "is anybody there?"


def questions(work: str, tokenizer: Path, labels: tuple[str, ...] = ()) -> Iterator[Question]:
    """Texts of this work without end, none of them twice.

    Args:
        work: One of `WORKS`.
        tokenizer: The `tokenizer.json` that short texts are counted with.
        labels: The same for all.
    """
    return (Question(text, labels) for text in WORKS[work](tokenizer))


def _short(tokenizer: Path) -> Iterator[str]:
    """Requests of exactly `SHORT_TOKENS` tokens, special ones included."""
    counter = TextTokenizer(tokenizer.read_bytes())
    held: list[str] = []
    for word in itertools.cycle(_words()):
        held.append(word)
        text = " ".join(held)
        count = len(counter.encode(text, MOST_TOKENS).ids) + counter.n_special_single
        if count == SHORT_TOKENS:
            yield text
        if count >= SHORT_TOKENS:
            held.clear()


def _article(_: Path) -> Iterator[str]:
    return _slices(20_000)


def _novel(_: Path) -> Iterator[str]:
    return _slices(900_000)


WORKS: Mapping[str, Callable[[Path], Iterator[str]]] = {
    "short": _short,
    "article": _article,
    "novel": _novel,
}


def _slices(size: int) -> Iterator[str]:
    """Parts of the novel: that many characters, nearly all of them one byte."""
    novel = _read_novel()
    room = len(novel) - NOVEL_START - size
    for number in itertools.count():
        start = NOVEL_START + number * STEP % room
        yield f"{number}: {novel[start : start + size]}"


@cache
def _read_novel() -> str:
    path = DATA / "longtext" / "moby_dick.txt"
    if path.is_file():
        return path.read_text("utf-8")
    return " ".join(f"{number}. {SENTENCES[number % 6].capitalize()}." for number in range(20_000))


def _words() -> list[str]:
    path = DATA / "clinc150" / "data_full.json"
    if not path.is_file():
        rows = [f"{sentence} number {number}" for number in range(999) for sentence in SENTENCES]
        return " ".join(rows).split()
    data = json.loads(path.read_text("utf-8"))
    return " ".join(row[0] for part in ("test", "train") for row in data[part]).split()

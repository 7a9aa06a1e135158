"""Replaces words by others that mean the same; never one that carries an intent. Pure but for `wn`.

Curated groups first. From WordNet only nouns that are nothing else, by their first sense: other
words' synonyms move the meaning ("extract" → "infer").
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from training.errors import InvalidConfig

__all__ = ["SYNONYMS", "Synonyms", "open_wordnet", "read_synonyms", "reword"]

SYNONYMS = Path(__file__).with_name("synonyms.toml")
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
MAX_EDITS = 2
"""Source: research; more edits and the meaning drifts."""
MIN_CHARS = 4
"""Of a word that WordNet is asked about: short ones have too many meanings."""

Synonyms = Callable[[str], tuple[str, ...]]
"""Lower-case word → others; empty where there are none."""


def read_synonyms(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Word → words, from the groups of a synonyms.toml.

    Raises:
        InvalidConfig: It is no such file.
    """
    try:
        groups = tomllib.loads(path.read_text("utf-8"))["groups"]
        table = {
            word.lower(): tuple(other for other in group if other != word)
            for group in groups
            for word in group
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidConfig(f"{path}: expected groups = [[word, word], …], but {error}") from None
    return table


def open_wordnet() -> Synonyms | None:
    """WordNet through `wn`; None where it, or an English lexicon, is not installed."""
    try:
        import wn
    except ModuleNotFoundError:
        return None
    try:
        words = wn.Wordnet(lang="en")
    except wn.Error:
        return None

    def find(word: str) -> tuple[str, ...]:
        senses = words.synsets(word) if len(word) >= MIN_CHARS else []
        if not senses or any(sense.pos != "n" for sense in senses):
            return ()
        return tuple(
            lemma for lemma in senses[0].lemmas() if lemma.lower() != word and lemma.islower()
        )

    return find


def reword(
    text: str, synonyms: Synonyms, protected: Collection[str], chance: random.Random
) -> Iterator[str]:
    """The text with one or two words replaced, without end unless nothing can be replaced.

    Args:
        text: A request.
        synonyms: What may stand for a word.
        protected: Lower-case words that are never replaced, and never put in.
        chance: Draws words and synonyms.
    """
    places = [
        (match.span(), others)
        for match in WORD.finditer(text)
        if (others := _allowed(match[0], synonyms, protected))
    ]
    while places:
        n_edits = chance.randint(1, min(MAX_EDITS, len(places)))
        yield _replace(text, sorted(chance.sample(places, n_edits), reverse=True), chance)


def _allowed(word: str, synonyms: Synonyms, protected: Collection[str]) -> tuple[str, ...]:
    if word.lower() in protected:
        return ()
    return tuple(
        other for other in synonyms(word.lower()) if not set(other.lower().split()) & set(protected)
    )


def _replace(
    text: str, edits: list[tuple[tuple[int, int], tuple[str, ...]]], chance: random.Random
) -> str:
    """From the end on, so that earlier places stay where they are."""
    for (start, end), others in edits:
        new = chance.choice(others)
        if text[start].isupper():
            new = new[0].upper() + new[1:]
        text = text[:start] + new + text[end:]
    return text

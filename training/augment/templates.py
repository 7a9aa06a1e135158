"""Requests from templates with slots, per intent. Pure: the same seed gives the same rows.

A template is written by a person for one intent; its slots hold things, never verbs that carry the
intent.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from training.errors import InvalidConfig

__all__ = ["TEMPLATES", "Templates", "fill", "read_templates"]

TEMPLATES = Path(__file__).with_name("templates.toml")
"""The shipped ones, for the default label set."""
SLOT = re.compile(r"\{(\w+)\}")
TRIES_PER_ROW = 8


@dataclass(frozen=True, slots=True)
class Templates:
    """Templates of every intent, and what their slots may hold."""

    slots: Mapping[str, tuple[str, ...]]
    intents: Mapping[str, tuple[str, ...]]
    """Label → templates."""
    protected: Mapping[str, tuple[str, ...]]
    """Label → words that carry the intent."""
    passages: tuple[str, ...] = ()
    """What a request may be about."""
    with_passage: frozenset[str] = frozenset()
    """Labels whose requests may come with one."""


def read_templates(path: Path) -> Templates:
    """Read a templates.toml.

    Raises:
        InvalidConfig: It is no such file, or a template names a slot that is not there.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        slots = {name: _texts(values) for name, values in data.get("slots", {}).items()}
        intents = {name: _texts(table["templates"]) for name, table in data["intents"].items()}
        protected = {
            name: _texts(table.get("protected", ())) for name, table in data["intents"].items()
        }
        passages = _texts(data.get("passages", ()))
        with_passage = frozenset(_texts(data.get("with_passage", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidConfig(
            f"{path}: expected [slots] and [intents.NAME] with templates, but {error}"
        ) from None
    for label, texts in intents.items():
        for text in texts:
            for slot in SLOT.findall(text):
                if not slots.get(slot):
                    raise InvalidConfig(
                        f"{path}: {label}: template {text!r} names the slot {slot!r}, which "
                        "[slots] does not hold"
                    )
    return Templates(slots, intents, protected, passages, with_passage)


def fill(
    templates: Templates, label: str, most_each: int, chance: random.Random
) -> Iterator[tuple[str, str]]:
    """(Text, template) in turns over the label's templates, so that any prefix is balanced.

    Args:
        templates: All of them.
        label: Whose.
        most_each: Rows of one template.
        chance: Draws the slots.
    """
    texts = templates.intents.get(label, ())
    turns = [_fill_one(text, templates.slots, most_each, chance) for text in texts]
    names = list(texts)
    while turns:
        alive = []
        for turn, name in zip(turns, names, strict=True):
            made = next(turn, None)
            if made is not None:
                yield made, name
                alive.append((turn, name))
        turns, names = [turn for turn, _ in alive], [name for _, name in alive]


def _fill_one(
    text: str, slots: Mapping[str, tuple[str, ...]], most: int, chance: random.Random
) -> Iterator[str]:
    """Distinct fillings of one template."""
    names = SLOT.findall(text)
    wanted = min(most, prod(len(slots[name]) for name in names))
    made: set[str] = set()
    for _ in range(wanted * TRIES_PER_ROW):
        if len(made) == wanted:
            return
        filled = SLOT.sub(lambda slot: chance.choice(slots[slot[1]]), text)
        if filled not in made:
            made.add(filled)
            yield filled


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise TypeError("a list of strings is missing")
    return tuple(values)

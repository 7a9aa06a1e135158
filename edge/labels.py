"""Label sets: the named, versioned intents of `intents.toml`, and a request's ad-hoc labels.

A label set is data. It knows nothing of models; how a label is scored is the predictor's business.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge.embedded import DEFAULT_INTENTS
from edge.errors import InvalidLabelSet, InvalidValue

__all__ = ["DEFAULT_INTENTS", "TARGET_PER_LABEL", "Intent", "LabelSet", "read_label_set"]

SCHEMA_VERSION = 1
MAX_LABELS = 64  # one forward row per label in Phase A: this bounds a request's work and memory
MAX_LABEL_CHARS = 512
TARGET_PER_LABEL = 500  # examples with which a model of Phase B can be trained


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing a text can ask for."""

    name: str
    """The label that answers carry; unique in its set."""
    description: str = ""
    """What it means, in plain English."""
    hypothesis: str | None = None
    """The full sentence put to an NLI model; None means the bundle's template with the name."""
    examples: tuple[str, ...] = ()
    """Requests that mean this intent; read by embedding bundles."""
    threshold: float | None = None
    """Score in [0, 1] below which this label is not given; None means the bundle's own."""


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of intents. Hashable by content through `digest`."""

    name: str
    version: str
    intents: tuple[Intent, ...]
    background: tuple[str, ...] = ()
    """Requests that mean none of the intents; read by embedding bundles, to abstain."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order in which scores are computed."""
        return tuple(intent.name for intent in self.intents)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the content, without name and version: what a correction is joined to."""
        content = {"intents": [asdict(i) for i in self.intents], "background": self.background}
        canonical = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def from_names(cls, names: Iterable[str]) -> LabelSet:
        """The label set of a request that brings plain labels.

        Raises:
            InvalidValue: No label, a blank or overlong one, a duplicate, or more than 64.
        """
        intents = tuple(Intent(name) for name in names)
        problem = _find_problem(intents)
        if problem:
            raise InvalidValue(f"labels: {problem}")
        return cls(name="request", version="", intents=intents)


def read_label_set(path: Path) -> LabelSet:
    """Read an `intents.toml`.

    Raises:
        InvalidLabelSet: The file is missing, is not TOML, or holds something else than a label set.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))  # some editors write a byte-order mark
    except (OSError, ValueError, RecursionError) as error:  # not TOML, not UTF-8: ValueErrors
        raise InvalidLabelSet(f"{path}: cannot read the label set: {error}") from error
    try:
        return _label_set_from(data)
    except (TypeError, ValueError) as error:
        raise InvalidLabelSet(f"{path}: {error}") from error


def _label_set_from(data: dict[str, Any]) -> LabelSet:
    _reject_unknown(
        data, {"schema_version", "name", "version", "background", "intents"}, "the file"
    )
    if data.get("schema_version") != SCHEMA_VERSION:
        found = data.get("schema_version")
        raise ValueError(f"expected schema_version = {SCHEMA_VERSION}, found {found!r}")
    intents = tuple(_intent_from(table) for table in _list_of(data, "intents", dict))
    problem = _find_problem(intents)
    if problem:
        raise ValueError(problem)
    return LabelSet(
        name=_text_of(data, "name"),
        version=_text_of(data, "version"),
        intents=intents,
        background=tuple(_list_of(data, "background", str)),
    )


def _intent_from(table: dict[str, Any]) -> Intent:
    where = f"intent {table.get('name')!r}"
    _reject_unknown(table, set(Intent.__slots__), where)
    return Intent(
        name=_text_of(table, "name"),
        description=_text_of(table, "description", default=""),
        hypothesis=_text_of(table, "hypothesis", default="") or None,
        examples=tuple(_list_of(table, "examples", str)),
        threshold=_threshold_of(table, where),
    )


def _threshold_of(table: dict[str, Any], where: str) -> float | None:
    value = table.get("threshold")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{where}: expected a threshold from 0 to 1, found {value!r}")
    return float(value)


def _find_problem(intents: tuple[Intent, ...]) -> str | None:
    """What makes these intents unusable as a label set, in words; None if nothing does."""
    names = [intent.name for intent in intents]
    if not names:
        return "expected at least one label, found none; name what a text may ask for"
    if len(names) > MAX_LABELS:
        return f"expected at most {MAX_LABELS} labels, found {len(names)}; split them in groups"
    for position, name in enumerate(names):
        if not name.strip():
            return f"label {position} is empty; give every label a name"
        if len(name) > MAX_LABEL_CHARS:
            return f"label {position} has {len(name)} characters; at most {MAX_LABEL_CHARS} fit"
    if len(set(names)) < len(names):
        position = next(i for i, name in enumerate(names) if name in names[:i])
        return f"label {position} is a duplicate of an earlier one; every label may stand once"
    return None


def _reject_unknown(table: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise ValueError(
            f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}"
        )


def _text_of(table: dict[str, Any], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise TypeError(f"{key}: expected a string, found {type(value).__name__}")
    return value


def _list_of(table: dict[str, Any], key: str, kind: type) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise TypeError(f"{key}: expected a list, each item a {kind.__name__}")
    return value

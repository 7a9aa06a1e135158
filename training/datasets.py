"""Reads public sets, given by path, as rows. It downloads nothing and copies no text anywhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.errors import InvalidRows
from training.rows import Origin, Row

__all__ = ["read_banking77", "read_clinc150", "read_intent4"]

OOS_SPLITS = {"train": "oos_train", "val": "oos_val", "test": "oos_test"}


def read_clinc150(path: Path, split: str, *, oos: bool = True) -> Iterator[Row]:
    """CLINC150's `data_full.json`.

    Args:
        path: The file.
        split: train, val or test.
        oos: Whether the out-of-scope rows come too, with no label.

    Raises:
        InvalidRows: It is another file.
    """
    found = _read_json(path)
    names = [split, OOS_SPLITS[split]] if oos else [split]
    for name in names:
        if not isinstance(found, dict) or name not in found:
            raise InvalidRows(
                f"{path}: expected CLINC150's data_full.json, found no {name!r} in it"
            )
        for number, (text, label) in enumerate(found[name]):
            yield _public(f"clinc150-{name}-{number}", text, None if label == "oos" else label)


def read_banking77(path: Path) -> Iterator[Row]:
    """BANKING77's `train.csv` or `test.csv`.

    Raises:
        InvalidRows: It is another file.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        for number, line in enumerate(csv.DictReader(stream)):
            if not {"text", "category"} <= line.keys():
                raise InvalidRows(f"{path}: expected the columns text and category")
            yield _public(f"banking77-{path.stem}-{number}", line["text"].strip(), line["category"])


def read_intent4(path: Path, *, request: bool = False) -> Iterator[Row]:
    """JSON lines with `id`, `text`, `label` and optionally `request`; OOS means no label.

    Args:
        path: dev.jsonl, oos.jsonl or seed_examples.jsonl.
        request: The request without its passage, where the two can be told apart.

    Raises:
        InvalidRows: A line is no such row.
    """
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            text = (request and row.get("request")) or row["text"]
            label = None if row["label"] == "OOS" else row["label"]
            yield _public(row["id"], text, label)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRows(
                f"{path}:{number}: expected id, text and label ({type(error).__name__}: {error})"
            ) from None


def _public(id: str, text: str, label: str | None) -> Row:
    return Row(id=id, text=text, label=label, origin=Origin.PUBLIC, source="public")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InvalidRows(f"{path}: expected JSON, found {error}") from None

"""Two models answer the same texts: tables in, tables out, whoever does it and wherever.

Both engines call `answer_table`, so that what they find is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edge.errors import InvalidRequest
from edge.labels import LabelSet
from export.report import Reporter
from training.errors import InvalidRows
from training.logged import Asked
from training.predict import Answer, Model, open_model

__all__ = [
    "SIDES",
    "Contest",
    "Pair",
    "answer_locally",
    "answer_table",
    "find_texts",
    "join_answers",
    "read_answers",
    "write_parts",
]

PART_ROWS = 256
"""Texts a file: what one worker answers at a time."""
SIDES = ("champion", "candidate")


@dataclass(frozen=True, slots=True)
class Contest:
    """Who is compared, on which labels."""

    champion: Path
    candidate: Path
    labels: tuple[str, ...]
    label_set: LabelSet | None

    def open(self) -> Pair:
        """Load both.

        Raises:
            EdgeError: One is no bundle, or does not run here.
            DataRefused: One is of other labels.
        """
        return Pair(
            open_model(self.champion, self.labels, self.label_set, option="--champion"),
            open_model(self.candidate, self.labels, self.label_set),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Both models, loaded."""

    champion: Model
    candidate: Model


def write_parts(folder: Path, texts: Iterable[Asked]) -> int:
    """Write texts as numbered Parquet files; returns how many texts.

    Raises:
        OSError: The disk is full, say.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    waiting, count = iter(texts), 0
    for number in range(1 << 40):
        part = list(islice(waiting, PART_ROWS))
        if not part:
            break
        table = pa.table(
            {
                "position": pa.array(range(count, count + len(part)), pa.int64()),
                "id": pa.array([asked.id for asked in part], pa.string()),
                "text": pa.array([asked.text for asked in part], pa.string()),
                "content": pa.array([asked.content for asked in part], pa.string()),
            }
        )
        pq.write_table(table, folder / f"part-{number:06}.parquet")
        count += len(part)
    return count


def answer_table(pair: Pair, texts: Any) -> Any:
    """Both models' answers to a table of texts, as a table.

    Args:
        pair: The models.
        texts: pyarrow.Table with position, text and content.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {"position": texts["position"].combine_chunks()}
    asked = list(zip(texts["text"].to_pylist(), texts["content"].to_pylist(), strict=True))
    for side in SIDES:
        model = getattr(pair, side)
        answers = [_ask(model, text, content) for text, content in asked]
        columns |= {
            f"{side}_label": pa.array([a and a.label for a in answers], pa.string()),
            f"{side}_raw_label": pa.array([a and a.raw_label for a in answers], pa.string()),
            f"{side}_score": pa.array([a and a.score for a in answers], pa.float64()),
            f"{side}_truncated": pa.array([a and a.truncated for a in answers], pa.bool_()),
        }
    return pa.table(columns)


def answer_locally(pair: Pair, parts: Path, reporter: Reporter) -> list[Any]:
    """The engine of this machine: one part after the other."""
    import pyarrow.parquet as pq

    files = sorted(parts.glob("*.parquet"))
    return [
        answer_table(pair, pq.read_table(file))
        for file in reporter.track(f"texts, {PART_ROWS} at a time", files)
    ]


def join_answers(tables: Sequence[Any], count: int) -> Any:
    """One table of all answers, in the order of the texts; None where there are no texts.

    Raises:
        InvalidRows: An engine lost texts, or answered some twice.
    """
    import pyarrow as pa

    whole = pa.concat_tables(tables).sort_by("position") if tables else None
    positions = [] if whole is None else whole["position"].to_pylist()
    if positions != list(range(count)):
        raise InvalidRows(
            f"shadow: expected an answer to each of {count} texts, found {len(positions)}; a "
            "worker was lost: run it again"
        )
    return whole


def read_answers(answers: Any) -> Iterator[tuple[Answer | None, Answer | None]]:
    """Both models' answers, row by row; None where a model cannot take the text."""
    for row in answers.to_pylist():
        yield _answer(row, SIDES[0]), _answer(row, SIDES[1])


def find_texts(parts: Path, positions: Collection[int]) -> dict[int, Asked]:
    """The texts at these positions."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted, found = pa.array(sorted(positions), pa.int64()), {}
    for file in sorted(parts.glob("*.parquet")) if positions else ():
        table = pq.read_table(file)
        for row in table.filter(pc.is_in(table["position"], wanted)).to_pylist():
            found[row["position"]] = Asked(row["id"], row["text"], row["content"])
    return found


def _ask(model: Model, text: str, content: str | None) -> Answer | None:
    try:
        return model.ask(text, content)
    except InvalidRequest:
        return None


def _answer(row: dict[str, Any], side: str) -> Answer | None:
    if row[f"{side}_raw_label"] is None:
        return None
    return Answer(
        label=row[f"{side}_label"],
        raw_label=row[f"{side}_raw_label"],
        score=row[f"{side}_score"],
        scores=(),
        truncated=row[f"{side}_truncated"],
        ms=0.0,
    )

"""Texts go out in parts and come back whole, in their order, whoever answers them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from edge.bundle import STARTER
from tests.models import INTENTS, TinyModel
from tests.training.samples import QUIET
from training.contest import (
    PART_ROWS,
    Contest,
    Pair,
    answer_locally,
    answer_table,
    find_texts,
    join_answers,
    read_answers,
    write_parts,
)
from training.errors import InvalidRows
from training.logged import Asked

TEXTS = [Asked("1", "sum this up"), Asked("2", "why is that?", "a letter"), Asked("3", "x" * 9)]


@pytest.fixture
def pair(tiny: Callable[[str], TinyModel]) -> Pair:
    """The starter, and a tiny model of the same labels."""
    return Contest(STARTER, tiny("intents").int8, INTENTS, None).open()


def test_texts_come_back_in_their_order(tmp_path: Path, pair: Pair) -> None:
    """Each with both answers, as the models give them one by one; whatever order parts come in."""
    count = write_parts(tmp_path / "parts", TEXTS)
    table = answer_table(pair, pq.read_table(next((tmp_path / "parts").iterdir())))
    assert find_texts(tmp_path / "parts", {0, 1}) == dict(enumerate(TEXTS[:2]))
    found = list(read_answers(join_answers([table.slice(2), table.slice(0, 2)], count)))

    for asked, (champion, candidate) in zip(TEXTS, found, strict=True):
        for model, answer in ((pair.champion, champion), (pair.candidate, candidate)):
            expected = model.ask(asked.text, asked.content)
            assert answer is not None
            assert (answer.label, answer.raw_label) == (expected.label, expected.raw_label)
            assert answer.score == expected.score


def test_many_texts_make_several_parts(tmp_path: Path) -> None:
    """So that several workers have something to do; none make none."""
    texts = (Asked(str(n), f"text {n}") for n in range(PART_ROWS + 1))

    assert write_parts(tmp_path / "some", texts) == PART_ROWS + 1
    assert len(list((tmp_path / "some").iterdir())) == 2
    assert write_parts(tmp_path / "none", []) == 0
    assert join_answers([], 0) is None


def test_a_text_that_a_model_cannot_take_has_no_answer(tmp_path: Path, pair: Pair) -> None:
    """It fails alone."""
    write_parts(tmp_path / "parts", [Asked("1", " "), TEXTS[0]])
    found = list(read_answers(join_answers(answer_locally(pair, tmp_path / "parts", QUIET), 2)))

    assert found[0] == (None, None)
    assert None not in found[1]


def test_lost_and_doubled_answers_are_noticed(tmp_path: Path, pair: Pair) -> None:
    """A worker that died must not make a smaller comparison look whole."""
    count = write_parts(tmp_path / "parts", TEXTS)
    (table,) = answer_locally(pair, tmp_path / "parts", QUIET)

    for tables in ([table.slice(1)], [table, table.slice(2)], []):
        with pytest.raises(InvalidRows, match="expected an answer to each of 3 texts"):
            join_answers(tables, count)

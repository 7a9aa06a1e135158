"""The texts: of the size that a row says, and each of them once."""

from __future__ import annotations

import itertools
import json

import pytest

from benchmarks.works import FOUR, TWENTY, WORKS, questions
from edge.bundle import STARTER, TOKENIZER
from edge.settings import Settings
from edge.tokens import TextTokenizer

FILE = STARTER / TOKENIZER


def test_short_texts_have_27_tokens() -> None:
    """Special ones included, by the model's own tokenizer."""
    counter = TextTokenizer(FILE.read_bytes())

    for question in itertools.islice(questions("short", FILE), 50):
        assert len(counter.encode(question.text, 99).ids) + counter.n_special_single == 27


@pytest.mark.parametrize("work", WORKS)
def test_no_text_comes_twice(work: str) -> None:
    """An answer from memory would be no measurement."""
    count = 500 if work == "short" else 20
    texts = [question.text for question in itertools.islice(questions(work, FILE), count)]

    assert len(set(texts)) == count


@pytest.mark.parametrize(("work", "size"), [("article", 20_000), ("novel", 900_000)])
def test_long_texts_have_their_size_and_pass_the_body_limit(work: str, size: int) -> None:
    """As UTF-8 within JSON, as the daemon gets them."""
    (question,) = itertools.islice(questions(work, FILE, FOUR), 1)
    body = json.dumps({"text": question.text, "labels": FOUR}, ensure_ascii=False).encode()

    assert size <= len(question.text) < size + 20
    assert len(body) <= Settings().max_body_bytes
    assert question.labels == FOUR


def test_labels_are_distinct() -> None:
    """The daemon refuses a label that comes twice."""
    assert len(set(TWENTY)) == 20
    assert set(FOUR) < set(TWENTY)

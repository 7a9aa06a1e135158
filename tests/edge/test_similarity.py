"""Scores by likeness: which parts of a text are read, and how vectors become scores."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import BundleIncompatible
from edge.labels import Intent, LabelSet
from edge.similarity import READ_CHARS, LabelBank, SimilarityParams, segments

DIM = 16
PASSAGE = "The mill stood by the river. It burned down in 1911, and nobody built it up again. " * 9
TEXTS = st.text(st.characters(), min_size=1, max_size=700).filter(str.strip)


def embed(text: str) -> np.ndarray:
    """A vector of length 1 drawn from the text's own bytes: unlike texts, unlike vectors."""
    vector = np.random.default_rng(list(text.encode("utf-8", "surrogatepass"))).normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def bank_of(label_set: LabelSet, params: SimilarityParams | None = None) -> LabelBank:
    """The bank of a label set under the made-up encoder."""
    return LabelBank.build(label_set, embed, params or SimilarityParams())


def rows(*texts: str) -> np.ndarray:
    """Segment vectors for some texts."""
    return np.stack([embed(text) for text in texts])


COLOURS = LabelSet(
    name="test",
    version="1",
    intents=(
        Intent("WARM", "a warm colour", examples=("red", "orange", "yellow")),
        Intent("COLD", "a cold colour", examples=("blue", "green", "violet")),
    ),
    background=("a triangle", "a square", "a circle"),
)


@pytest.mark.parametrize(
    "text", [f"Please sum this up.\n\n{PASSAGE}", f"{PASSAGE}\n\nPlease sum this up."]
)
def test_request_is_read_apart_from_its_passage(text: str) -> None:
    """A request before or after a passage is a segment of its own."""
    assert "Please sum this up." in segments(text)


def test_request_inside_one_long_line_is_read_apart() -> None:
    """Without line breaks, the first and the last sentence stand for head and tail."""
    assert segments(f"Why did it burn? {PASSAGE} What does that cost?") == (
        "Why did it burn?",
        "What does that cost?",
    )


def test_short_text_is_read_whole_as_well() -> None:
    """A request between a greeting and a name is not lost."""
    text = "Dear colleagues,\nplease send me the key points.\nWith kind regards, Ada"

    assert text in segments(text)


def test_line_too_short_to_be_a_request_comes_with_its_neighbour() -> None:
    """A bare greeting before a request does not stand for the head."""
    assert segments(f"Hi,\nwhat is this about?\n{PASSAGE}")[0] == "Hi, what is this about?"


def test_content_is_not_read() -> None:
    """Which passage a request is about does not tell what is asked of it."""
    assert segments("Sum it up, please.", PASSAGE) == segments("Sum it up, please.")


@given(TEXTS)
def test_segments_are_few_short_and_never_blank(text: str) -> None:
    """Any Unicode gives one to three segments of at most 300 characters, each with words in it."""
    parts = segments(text)

    assert 1 <= len(parts) <= 3
    assert all(part.strip() and len(part) <= 300 for part in parts)
    assert len(set(parts)) == len(parts)


class WatchedText(str):
    """A text that gives prefixes and suffixes, and fails whoever reads all of it."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError("the whole text was read")

    __iter__ = splitlines = split = strip = lstrip = rstrip = _refuse  # type: ignore[assignment]


@given(TEXTS)
def test_only_both_ends_of_a_long_text_are_read(text: str) -> None:
    """The cost has a bound, whatever lies between."""
    head, tail = (text * READ_CHARS)[:READ_CHARS], (text[::-1] * READ_CHARS)[-READ_CHARS:]
    middle = WatchedText(head + "x" * READ_CHARS + tail)

    assert segments(middle) == segments(head + "?\n" * 3 * READ_CHARS + tail)


@pytest.mark.parametrize("unit", ["a", "word ", "\n", ". ", "。", "\u202e\0", '."'])
def test_huge_text_gives_the_segments_of_a_small_one(unit: str) -> None:
    """50 MB of anything, unbroken or not, is read no further than 20 KB of it."""
    small, huge = ("Find it.\n" + unit * (size // len(unit)) for size in (20_000, 50_000_000))

    assert segments(huge) == segments(small)
    assert max(map(len, segments(huge))) <= 300


def test_words_after_thousands_of_blanks_are_found() -> None:
    """A text that is blank on both ends still gives a segment."""
    assert segments(" " * 5000 + "find it" + " " * 5000) == ("find it",)


def test_scores_and_background_share_the_mass() -> None:
    """With a background the labels' scores sum to less than 1; the rest is "none of these"."""
    scores = bank_of(COLOURS).score(rows("red"))

    assert scores.dtype == np.float64
    assert scores.argmax() == 0
    assert 0 < scores.sum() < 1


def test_text_like_the_background_scores_low_on_every_label() -> None:
    """A stranger is turned away by the score itself: no second rule is needed."""
    assert bank_of(COLOURS).score(rows("a triangle")).max() < 0.2


def test_scores_sum_to_one_without_a_background() -> None:
    """Plain labels share all of the mass, as in the zero-shot pipelines."""
    scores = bank_of(LabelSet.from_names(("billing", "refund", "other"))).score(rows("refund"))

    assert scores.sum() == pytest.approx(1.0)
    assert scores.argmax() == 1


def test_name_stands_for_a_label_without_description_and_examples() -> None:
    """Underscores and capitals are not words an encoder knows."""
    bank = bank_of(LabelSet.from_names(("SEARCH_ONLY", "other thing")))

    assert bank.score(rows("search only")).argmax() == 0


def test_label_counts_where_its_segment_is_strongest() -> None:
    """A passage beside the request does not weaken the request's label."""
    bank = bank_of(COLOURS)

    assert bank.score(rows("red", "nothing of the kind")).argmax() == 0
    assert bank.score(rows("nothing of the kind", "red")).argmax() == 0


def test_multi_label_scores_do_not_depend_on_the_other_labels() -> None:
    """Raising one label's likeness leaves another label's score as it was."""
    bank = bank_of(COLOURS)
    swapped = replace(bank, labels=(bank.labels[0], bank.labels[0]))
    segment = rows("red", "green")

    assert bank.score(segment, multi_label=True)[0] == swapped.score(segment, multi_label=True)[0]


def test_multi_label_lets_two_labels_hold() -> None:
    """A text that names both kinds of colour scores above one half on both."""
    assert (bank_of(COLOURS).score(rows("red", "blue"), multi_label=True) > 0.5).all()


def test_one_label_alone_is_judged_against_the_midpoint() -> None:
    """A softmax over one label would say 1.0 to everything."""
    bank = bank_of(LabelSet.from_names(("refund",)))

    assert bank.score(rows("refund"))[0] > 0.9
    assert bank.score(rows("an unrelated text"))[0] < 0.5


def test_few_texts_make_milder_scores() -> None:
    """One name is weaker evidence than many examples, so it is trusted less."""
    likeness = [np.eye(DIM)[:1], np.eye(DIM)[1:2]]
    one = LabelBank(SimilarityParams(), np.zeros(DIM), tuple(likeness), None)
    many = replace(one, labels=tuple(np.repeat(texts, 50, axis=0) for texts in likeness))
    segment = np.array([[0.6, 0.5, *[0.0] * (DIM - 2)]], dtype=np.float32)

    assert 0.5 < one.score(segment)[0] < many.score(segment)[0]


@given(st.lists(st.sampled_from(["red", "blue", "a square", "x"]), min_size=1, max_size=3))
def test_scores_are_finite_and_in_range(texts: list[str]) -> None:
    """No input gives a NaN or leaves [0, 1]; two equal calls give equal bits."""
    bank = bank_of(COLOURS)
    for multi_label in (False, True):
        scores = bank.score(rows(*texts), multi_label=multi_label)

        assert ((scores >= 0) & (scores <= 1)).all()
        assert (scores == bank.score(rows(*texts), multi_label=multi_label)).all()


def test_vector_that_is_all_centre_gives_scores_and_no_nan() -> None:
    """A text with nothing of its own is like no label; it does not divide by zero."""
    bank = replace(bank_of(COLOURS), centre=np.zeros(DIM))

    assert np.isfinite(bank.score(np.zeros((1, DIM), dtype=np.float32))).all()


def test_label_set_is_embedded_one_text_at_a_time_in_order() -> None:
    """An int8 graph's vector depends on its batch-mates, so the bank has none."""
    asked: list[str] = []

    def listen(text: str) -> np.ndarray:
        asked.append(text)
        return embed(text)

    LabelBank.build(COLOURS, listen, SimilarityParams())

    assert asked == [
        "a warm colour", "red", "orange", "yellow",
        "a cold colour", "blue", "green", "violet",
        "a triangle", "a square", "a circle",
    ]  # fmt: skip


def test_params_come_from_the_manifest() -> None:
    """A scalar the manifest leaves out has the default; the others are the manifest's."""
    params = SimilarityParams.from_manifest({"temperature": 0.5})

    assert params == replace(SimilarityParams(), temperature=0.5)


@pytest.mark.parametrize(
    "values",
    [{"warmth": 1.0}, {"temperature": 0.0}, {"nearest_weight": 1.5}, {"centre_prior": -1.0}],
)
def test_params_that_cannot_be_used_are_refused(values: dict[str, float]) -> None:
    """An unknown or impossible scalar names itself rather than giving odd scores."""
    with pytest.raises(BundleIncompatible, match=next(iter(values))):
        SimilarityParams.from_manifest(values)

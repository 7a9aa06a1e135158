"""`edge.text`: what counts as a text, and when two texts are the same."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidText
from edge.text import BLANK_SCAN_CHARS, check_text, normalize


@pytest.mark.parametrize("text", ["", " ", "\n\t\r ", "\u00a0\u2003\u3000", " " * BLANK_SCAN_CHARS])
def test_empty_and_blank_texts_are_refused(text: str) -> None:
    """A text without a visible character asks for nothing."""
    with pytest.raises(InvalidText, match="expected a text to classify"):
        check_text(text)


def test_the_error_names_the_field_and_what_was_found() -> None:
    """In a batch, the client must learn which text is at fault, and how."""
    with pytest.raises(InvalidText, match=r"^texts\.3: .*empty string"):
        check_text("", "texts.3")
    with pytest.raises(InvalidText, match=r"^text: .*white space"):
        check_text(" ")


@given(st.text())
def test_any_other_text_comes_back_unchanged(text: str) -> None:
    """Nothing is trimmed or normalised: the model sees the text as it came."""
    if text.strip():
        assert check_text(text) is text
    else:
        with pytest.raises(InvalidText):
            check_text(text)


def test_a_word_behind_many_blanks_is_found_up_to_the_bound() -> None:
    """The scan is bounded; a text that opens with more blanks than that counts as blank."""
    assert check_text(" " * (BLANK_SCAN_CHARS - 1) + "x")
    with pytest.raises(InvalidText):
        check_text(" " * BLANK_SCAN_CHARS + "x")


def test_the_check_costs_the_same_for_a_huge_text() -> None:
    """A text a thousand times the bound must not cost a thousand times as much."""
    small, huge = " " * (BLANK_SCAN_CHARS - 1) + "x", (" " * (BLANK_SCAN_CHARS - 1) + "x") * 1000

    assert fastest(huge) < 50 * fastest(small)


def fastest(text: str) -> float:
    """Seconds of the fastest of several checks: what is left when nothing else interferes."""
    seconds = []
    for _ in range(15):
        started = time.perf_counter()
        check_text(text)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@given(st.text())
def test_normalizing_is_idempotent_and_leaves_no_loose_white_space(text: str) -> None:
    """The key of a key is the key; it is NFC, trimmed, with single blanks."""
    key = normalize(text)

    assert normalize(key) == key
    assert unicodedata.is_normalized("NFC", key)
    assert key.split(" ") == key.split() or not key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("  Sum  this\tup\n", "Sum this up"),
        ("Sum\u00a0this\u2003up", "Sum this up"),
    ],
)
def test_texts_that_look_the_same_share_a_key(one: str, other: str) -> None:
    """Composition and white space make no other text."""
    assert normalize(one) == normalize(other)


MARKS = st.sampled_from("\u0301\u0316\u0327\u0344\u093c\u20dd\u3099")


@given(text=st.lists(st.text(max_size=3) | st.text(MARKS, min_size=25, max_size=40)).map("".join))
def test_letters_with_piles_of_marks_are_normalised_as_others_are_or_not_at_all(text: str) -> None:
    """The key of the key is the key; with fewer marks it is NFC."""
    key = normalize(text)
    assert normalize(key) == key
    if re.search(r"[^\w\s\x00-\u02ff]{31}", text) is None:
        assert key == " ".join(unicodedata.normalize("NFC", text).split())


def test_piles_of_marks_do_not_hold_up_the_others() -> None:
    """Time grows no faster than the text."""
    ratios = []
    for _ in range(5):
        took = []
        for length in (8_000, 64_000):
            started = time.perf_counter()
            normalize("e" + "\u0301\u0316" * length)
            took.append(time.perf_counter() - started)
        ratios.append(took[1] / took[0])
    assert min(ratios) < 24  # eight times the text; 64 times the time where it is quadratic


@pytest.mark.parametrize(("one", "other"), [("sum up", "Sum up"), ("sum up", "sumup"), ("a", "b")])
def test_texts_that_differ_keep_their_keys_apart(one: str, other: str) -> None:
    """Case and word boundaries carry meaning."""
    assert normalize(one) != normalize(other)

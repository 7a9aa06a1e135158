"""`edge.query`: how much of the window a text gets, and what is read first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import WindowTooSmall
from edge.labels import LabelSet
from edge.query import MIN_TEXT_TOKENS, Query, join, read_window

LABELS = LabelSet.from_names(["a"])


@given(
    window=st.integers(8, 4096),
    asked=st.none() | st.integers(1, 10**9),
    overhead=st.integers(0, 4096),
)
def test_the_text_gets_what_the_smaller_window_leaves(
    window: int, asked: int | None, overhead: int
) -> None:
    """A request lowers the window and never raises it; what is left is at least one token."""
    query = Query("text", LABELS, max_tokens=asked)
    room = min(window, asked or window) - overhead
    if room >= MIN_TEXT_TOKENS:
        assert read_window(window, query, overhead, "specials") == room
    else:
        with pytest.raises(WindowTooSmall, match=f"at least {overhead + MIN_TEXT_TOKENS}"):
            read_window(window, query, overhead, "specials")


def test_a_window_too_small_is_told_in_numbers() -> None:
    """The message holds what was asked, what is taken, what would do, and the model's window."""
    query = Query("text", LABELS, max_tokens=12)

    with pytest.raises(WindowTooSmall) as caught:
        read_window(512, query, 14, "the longest hypothesis and the special tokens")
    assert str(caught.value) == (
        "max_tokens: a window of 12 tokens leaves -2 for the text, since the longest hypothesis "
        "and the special tokens take 14; ask for at least 15 (the model's window is 512)"
    )


def test_a_window_of_nothing_is_not_the_default_window() -> None:
    """Zero tokens are refused, instead of being taken for a field left out."""
    with pytest.raises(WindowTooSmall, match="a window of 0 tokens"):
        read_window(512, Query("text", LABELS, max_tokens=0), 2, "the special tokens")


@given(text=st.text(), content=st.text())
def test_content_follows_the_text(text: str, content: str) -> None:
    """The request stands first, so that it is cut last; without content nothing is added."""
    assert join(text, None) is text
    assert join(text, content) == text + "\n\n" + content

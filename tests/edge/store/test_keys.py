"""The key of a text: the same for the same text, and only for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.store.keys import KEY_BYTES, override_key
from edge.text import normalize


@given(st.text(), st.text() | st.none(), st.text(), st.text() | st.none())
def test_keys_are_the_same_exactly_when_the_texts_are(
    text: str, content: str | None, other: str, other_content: str | None
) -> None:
    """After normalising; and a text with a content is not the two run together."""
    left = (normalize(text), None if content is None else normalize(content))
    right = (normalize(other), None if other_content is None else normalize(other_content))
    is_same = override_key(text, content) == override_key(other, other_content)
    assert is_same == (left == right)


def test_white_space_and_composition_do_not_matter() -> None:
    """The same words typed another way have the same key; an empty content is a content."""
    assert override_key(" caf\u00e9  au\nlait ", None) == override_key("cafe\u0301 au lait", None)
    assert override_key("a", None) != override_key("a", "")
    assert len(override_key("\ud800", None)) == KEY_BYTES

"""The review's screen: it fits every window, and no text can command the terminal."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from edge.commands.screen import Card, Progress, progress_lines, render, render_end
from edge.labels import TARGET_PER_LABEL

INTENTS = ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
any_text = st.text(st.characters(), max_size=400)  # lone surrogates too


def a_card(text: str = "find it", **changes: object) -> Card:
    """A prediction, told apart from others by what matters to a test."""
    facts = {
        "text": text,
        "content": None,
        "label": "REASON",
        "nearest": "REASON",
        "score": 0.5,
        "why": "audit",
        "labels": INTENTS,
    }
    return Card(**{**facts, **changes})  # type: ignore[arg-type]


def shown(card: Card, counts: dict[str | None, int] | None = None, size: int = 80) -> str:
    """The whole screen as one string."""
    return "\n".join(line.plain for line in render(card, Progress(0, 0, counts), "", size, 24))


@given(
    any_text,
    any_text,
    st.lists(any_text, max_size=30, unique=True),
    any_text,
    st.integers(1, 120),
    st.integers(1, 50),
)
@example("\x1b]0;title\x07\x9b2J\u202e" + "x" * 300, "\x1b[2J", ["\x1b[A"], "\x1b", 80, 24)
@example("e" + "\u0301" * 9000 + "\n" * 100, "字" * 500, [], "", 20, 10)
def test_it_fits_and_holds_plain_characters_only(
    text: str, content: str, labels: list[str], note: str, width: int, height: int
) -> None:
    """Whatever users wrote: no line too long, none too many, nothing a terminal would obey."""
    card = a_card(text, content=content, labels=tuple(labels), label=note, why=note, nearest=text)

    for lines in (
        render(card, Progress(1, 2, {}), note, width, height),
        render_end(note, width),
    ):
        assert len(lines) <= max(height, 4)
        for line in lines:
            assert cell_len(line.plain) <= width
            assert all(char.isprintable() for char in line.plain)


def test_everything_a_person_must_know_is_there() -> None:
    """The text, the guess and its score, why it is asked, the keys, and what Enter does."""
    screen = shown(a_card("who owes me?", content="a letter"))

    for words in (
        "who owes me?",
        "about: a letter",
        "guess  REASON, 0.500",
        "drawn at random",
        "2 e   EXTRACT",
        "right: REASON",
        "0 n none of these",
        "u undo",
    ):
        assert words in screen


def test_no_answer_is_shown_as_none_of_these_with_the_nearest_label() -> None:
    """Enter then confirms that none is right, and says so."""
    screen = shown(a_card(label=None, nearest="EXTRACT", score=0.25))

    assert "guess  none of these (nearest: EXTRACT, 0.250)" in screen
    assert "right: none of these" in screen


def test_lines_of_a_text_stay_lines() -> None:
    """A list is read as a list."""
    assert "\n- eggs\n- milk\n" in shown(a_card("buy\n- eggs\n- milk"))


def test_a_long_text_says_how_much_is_not_shown() -> None:
    """A megabyte takes no longer than a page, and ends in its length."""
    assert "… (1000000 characters)" in shown(a_card("a" * 1_000_000))


def test_labels_beyond_the_window_are_crowded_onto_few_lines() -> None:
    """Thirty labels, and still a text to judge and keys to press."""
    screen = shown(a_card(labels=tuple(f"label {n}" for n in range(30))))

    assert "1 label 0 · 2 label 1" in screen
    assert "find it" in screen
    assert "q quit" in screen


def test_bars_grow_towards_the_target() -> None:
    """Nothing, a trace, half, all, and more than all."""
    labels = ["a", "b", "c", "d", "e"]
    counts: dict[str | None, int] = {
        "b": 1,
        "c": TARGET_PER_LABEL // 2,
        "d": TARGET_PER_LABEL,
        "e": 9999,
    }

    none, trace, half, full, more = progress_lines(counts, labels, 80)

    assert none == f"a     0 of {TARGET_PER_LABEL}"
    assert trace.endswith("  ▏")
    assert half.count("█") * 2 == full.count("█") == more.count("█") == 24


def test_counts_are_left_out_where_they_are_not_told() -> None:
    """Without admin.sock there is no number, rather than a wrong one."""
    assert f"of {TARGET_PER_LABEL}" not in shown(a_card(), None)
    assert f"7 of {TARGET_PER_LABEL}" in shown(a_card(), {"REASON": 7})

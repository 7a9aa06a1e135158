"""Keys of the review: which key stands for which label."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.commands.keys import COMMANDS, CONFIRM_KEYS, Act, Step, assign_keys, keys_of, read_step

INTENTS = ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
labels_of_any_kind = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=60)


def test_a_label_has_its_digit_and_its_first_letter_where_that_is_its_own() -> None:
    """S begins two labels and means skip: neither gets it."""
    keys = assign_keys(INTENTS)

    assert [keys_of(label, keys) for label in INTENTS] == ["1", "2 e", "3 r", "4"]


def test_commands_keep_their_keys() -> None:
    """A label cannot take away undo."""
    keys = assign_keys(["undo", "quit", "next", "skip"])

    assert set("usqn0") & set(keys) == set()


def test_labels_beyond_the_ninth_get_letters() -> None:
    """Of their own name, if one is free."""
    keys = assign_keys([f"label {n}" for n in range(9)] + ["zebra", "zoo"])

    assert keys_of("zebra", keys) == "z"
    assert keys_of("zoo", keys) == "o"


@given(labels_of_any_kind)
def test_no_key_has_two_meanings(labels: list[str]) -> None:
    """Every key is one character, and belongs to one label or to one command."""
    keys = assign_keys(labels)

    assert set(keys) & (COMMANDS.keys() | set(CONFIRM_KEYS)) == set()
    assert set(keys.values()) <= set(labels)
    assert all(read_step(key, keys) == Step(Act.LABEL, keys[key]) for key in keys)
    reachable = min(len(labels), 9 + 26 - 4)
    assert len(set(keys.values())) >= min(len(labels), 9)
    assert len(set(keys.values())) >= reachable or any(not label.isascii() for label in labels)


@given(st.text(max_size=3))
def test_an_unknown_key_asks_for_nothing(key: str) -> None:
    """Only what is on the screen does something."""
    step = read_step(key, {})

    assert (step is None) == (key not in CONFIRM_KEYS and key.lower() not in COMMANDS)


def test_capitals_mean_the_same() -> None:
    """Caps lock is no reason to be ignored."""
    keys = assign_keys(INTENTS)

    assert read_step("E", keys) == Step(Act.LABEL, "EXTRACT")
    assert read_step("N", keys) == read_step("0", keys) == Step(Act.NONE)
    assert read_step("\n", keys) == Step(Act.CONFIRM)

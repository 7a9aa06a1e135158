"""`edge.labels`: what an intents file may say, and what a request may bring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidLabelSet, InvalidValue
from edge.labels import (
    DEFAULT_INTENTS,
    MAX_LABEL_CHARS,
    MAX_LABELS,
    Intent,
    LabelSet,
    read_label_set,
)

HEAD = 'schema_version = 1\nname = "mine"\nversion = "3"\n'
ONE = '[[intents]]\nname = "BUY"\n'

names = st.text(min_size=1, max_size=20).filter(str.strip)
optional = st.none() | st.text(min_size=1, max_size=20)
intents = st.builds(
    Intent,
    name=names,
    description=st.text(max_size=20),
    hypothesis=optional,
    examples=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    threshold=st.none() | st.floats(0, 1),
)
label_sets = st.builds(
    LabelSet,
    name=st.text(max_size=10),
    version=st.text(max_size=10),
    intents=st.lists(intents, min_size=1, max_size=4, unique_by=lambda i: i.name).map(tuple),
    background=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)


def write(folder: Path, text: str) -> Path:
    """An intents file with this content."""
    path = folder / "intents.toml"
    path.write_text(text, encoding="utf-8")
    return path


def to_toml(label_set: LabelSet) -> str:
    """The label set as an intents file."""
    lines = [
        "schema_version = 1",
        f"name = {quote(label_set.name)}",
        f"version = {quote(label_set.version)}",
        f"background = [{', '.join(map(quote, label_set.background))}]",
    ]
    for intent in label_set.intents:
        lines += ["[[intents]]", f"name = {quote(intent.name)}"]
        lines += [f"description = {quote(intent.description)}"]
        lines += [f"examples = [{', '.join(map(quote, intent.examples))}]"]
        lines += [f"hypothesis = {quote(intent.hypothesis)}"] if intent.hypothesis else []
        lines += [f"threshold = {intent.threshold!r}"] if intent.threshold is not None else []
    return "\n".join(lines)


def quote(text: str) -> str:
    """A TOML string that holds any Unicode text."""
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


@given(label_set=label_sets)
def test_every_field_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, label_set: LabelSet
) -> None:
    """What is written in an intents file is what the label set holds, field for field."""
    path = write(tmp_path_factory.mktemp("labels"), to_toml(label_set))

    assert read_label_set(path) == label_set


def test_the_default_label_set_is_the_documented_one() -> None:
    """The four intents of the first day, each with a description and examples."""
    label_set = read_label_set(DEFAULT_INTENTS)

    assert label_set.names == ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
    assert all(intent.description and intent.examples for intent in label_set.intents)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Some editors write one, and nobody sees it."""
    assert read_label_set(write(tmp_path, "\ufeff" + HEAD + ONE)).names == ("BUY",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "schema_version = 1, found None"),
        ("schema_version = 2", "schema_version = 1, found 2"),
        ("schema_version = 1\n" + ONE, "name: expected a string, found NoneType"),
        (HEAD, "at least one label"),
        (HEAD + "intents = 3", "intents: expected a list, each item a dict"),
        (HEAD + 'intents = ["BUY"]', "intents: expected a list, each item a dict"),
        (HEAD + 'labels = ["BUY"]\n' + ONE, "the file: unknown key 'labels'; known are"),
        (HEAD + "background = [1]\n" + ONE, "background: expected a list, each item a str"),
        (HEAD + ONE + "treshold = 0.5", "intent 'BUY': unknown key 'treshold'; known are"),
        (HEAD + ONE + "description = 1", "description: expected a string, found int"),
        (HEAD + ONE + "hypothesis = []", "hypothesis: expected a string, found list"),
        (HEAD + ONE + 'examples = "one"', "examples: expected a list, each item a str"),
        (HEAD + "[[intents]]\nname = 1", "name: expected a string, found int"),
        (HEAD + "[[intents]]\ndescription = 'x'", "name: expected a string, found NoneType"),
        (HEAD + '[[intents]]\nname = " "', "label 0 is empty"),
        (HEAD + ONE + ONE, "label 1 is a duplicate"),
        (HEAD + f'[[intents]]\nname = "{"x" * 513}"', "label 0 has 513 characters"),
        (
            HEAD + "".join(f'[[intents]]\nname = "{i}"\n' for i in range(65)),
            "at most 64 labels, found 65",
        ),
        ("name = ", "cannot read the label set"),
        ("a = " + "[" * 50_000, "cannot read the label set"),
    ],
)
def test_unusable_files_say_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    """The file's path, what was expected, what was found."""
    path = write(tmp_path, content)

    with pytest.raises(InvalidLabelSet) as caught:
        read_label_set(path)

    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "value", ["-0.01", "1.01", "nan", "inf", "-inf", "true", "false", '"0.5"', "[0.5]", "{}"]
)
def test_thresholds_out_of_range_are_refused(tmp_path: Path, value: str) -> None:
    """A threshold is a number from 0 to 1; a truth value or a string is none."""
    path = write(tmp_path, f"{HEAD}{ONE}threshold = {value}")

    with pytest.raises(InvalidLabelSet, match="'BUY': expected a threshold from 0 to 1"):
        read_label_set(path)


@pytest.mark.parametrize(("value", "expected"), [("0", 0.0), ("1", 1.0), ("0.25", 0.25)])
def test_thresholds_within_range_are_read(tmp_path: Path, value: str, expected: float) -> None:
    """Both ends belong to the range, and whole numbers are numbers."""
    label_set = read_label_set(write(tmp_path, f"{HEAD}{ONE}threshold = {value}"))

    assert label_set.intents[0].threshold == expected


def test_a_missing_file_and_a_file_that_is_not_utf8_are_refused(tmp_path: Path) -> None:
    """Both end as the same error, which names the path."""
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')

    for name in ("none.toml", "latin.toml"):
        with pytest.raises(InvalidLabelSet, match=f"{name}: cannot read the label set"):
            read_label_set(tmp_path / name)


CHANGES: tuple[dict[str, Any], ...] = (
    {"name": "SELL"},
    {"description": "to sell"},
    {"hypothesis": "This sells."},
    {"examples": ("sell it",)},
    {"threshold": 0.5},
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_the_digest_changes_with_every_wording(change: dict[str, Any]) -> None:
    """Corrections are joined to the wording that they were made under."""
    intent = Intent("BUY", "to buy", "This buys.", ("buy it",), 0.4)
    one = LabelSet("mine", "1", (intent,))

    assert replace(one, intents=(replace(intent, **change),)).digest != one.digest


def test_the_digest_changes_with_order_and_background() -> None:
    """Both are part of how a text is scored."""
    a, b = Intent("A"), Intent("B")
    one = LabelSet("mine", "1", (a, b))

    assert replace(one, intents=(b, a)).digest != one.digest
    assert replace(one, background=("hello",)).digest != one.digest


@given(label_sets, st.text(), st.text())
def test_the_digest_ignores_name_and_version(label_set: LabelSet, name: str, version: str) -> None:
    """A new version number over the same wording keeps the corrections together."""
    assert replace(label_set, name=name, version=version).digest == label_set.digest


@given(label_sets, label_sets)
def test_equal_digests_mean_equal_content(one: LabelSet, other: LabelSet) -> None:
    """No two wordings share a digest, whatever characters they hold."""
    same = (one.intents, one.background) == (other.intents, other.background)

    assert (one.digest == other.digest) == same


def test_plain_labels_become_a_label_set() -> None:
    """A request's labels keep their order and their spelling, white space included."""
    label_set = LabelSet.from_names([" b ", "a"])

    assert label_set.names == (" b ", "a")
    assert label_set.intents[1] == Intent("a")


def test_as_many_and_as_long_labels_as_allowed_are_accepted() -> None:
    """The limits themselves are within the limits."""
    longest = [f"{i:0{MAX_LABEL_CHARS}d}" for i in range(MAX_LABELS)]

    assert LabelSet.from_names(longest).names == tuple(longest)


SECRET = "zeppelin"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least one label"),
        ([SECRET, ""], "label 1 is empty"),
        ([SECRET, " \n"], "label 1 is empty"),
        ([SECRET, "x", SECRET], "label 2 is a duplicate"),
        ([SECRET * 100], "label 0 has 800 characters"),
        ([f"{SECRET}{i}" for i in range(65)], "at most 64 labels, found 65"),
        ([SECRET] * 10_000, "at most 64 labels, found 10000"),
    ],
)
def test_unusable_labels_are_refused_without_quoting_them(labels: list[str], message: str) -> None:
    """A request's labels are the user's words: the error tells their position alone."""
    with pytest.raises(InvalidValue) as caught:
        LabelSet.from_names(labels)

    assert message in str(caught.value)
    assert str(caught.value).startswith("labels: ")
    assert SECRET not in str(caught.value)

"""Augmentation: what is made, from what, what is never touched, and where it stops."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.samples import (
    LABELS,
    QUIET,
    collected,
    frozen,
    lines_of,
    real_rows,
    row,
    run_train,
    settings_for,
)
from training.augment.fill import augment
from training.augment.noise import KINDS, distort
from training.augment.synonyms import SYNONYMS, open_wordnet, read_synonyms, reword
from training.augment.templates import TEMPLATES, fill, read_templates
from training.build import build
from training.errors import InvalidConfig, StageMissing
from training.rows import Row

WORDS = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.1.dtd">
<LexicalResource>
  <Lexicon id="few" label="Few words" language="en" email="a@b" license="CC0" version="1">
    <LexicalEntry id="few-bicycle"><Lemma writtenForm="bicycle" partOfSpeech="n"/>
      <Sense id="few-1" synset="few-1-n"/></LexicalEntry>
    <LexicalEntry id="few-bike"><Lemma writtenForm="bike" partOfSpeech="n"/>
      <Sense id="few-2" synset="few-1-n"/></LexicalEntry>
    <LexicalEntry id="few-extract"><Lemma writtenForm="extract" partOfSpeech="v"/>
      <Sense id="few-3" synset="few-2-v"/></LexicalEntry>
    <LexicalEntry id="few-infer"><Lemma writtenForm="infer" partOfSpeech="v"/>
      <Sense id="few-4" synset="few-2-v"/></LexicalEntry>
    <Synset id="few-1-n" ili="" partOfSpeech="n"/>
    <Synset id="few-2-v" ili="" partOfSpeech="v"/>
  </Lexicon>
</LexicalResource>
"""
PROTECTED = {"extract", "why", "summarize", "photos"}


def augmented(work_dir: Path, rows: list[Row], *overrides: str) -> dict[str, Any]:
    """The counts, after a build of these rows."""
    collected(work_dir, rows)
    settings = settings_for(work_dir, "build.suspects=false", "augment.wordnet=false", *overrides)
    build(settings, QUIET)
    counts: dict[str, Any] = augment(settings, QUIET).manifest["counts"]
    return counts


def rows_in(work_dir: Path) -> list[dict[str, Any]]:
    """The augmented training set."""
    return lines_of(work_dir / "augment" / "train.jsonl")


def test_classes_are_filled_to_the_target_and_real_rows_stay(work_dir: Path) -> None:
    """500 rows a class; every made row names what made it and the root that it is from."""
    augmented(work_dir, real_rows(), "build.dev=0", "build.calibration=0")
    rows = rows_in(work_dir)
    real = {r["id"] for r in rows if r["origin"] == "correction"}

    assert Counter(r["label"] for r in rows) == dict.fromkeys(LABELS, 500)
    assert real == {r.id for r in real_rows()}
    made = [r for r in rows if r["id"] not in real]
    assert all(r["template"] for r in made)
    assert all(r["root"] in real or r["root"].startswith("template:") for r in made)
    assert len({r["id"] for r in rows}) == len(rows)


def test_held_back_rows_have_no_children(work_dir: Path) -> None:
    """Dev and calibration stay strange to the training."""
    augmented(work_dir, real_rows())
    held = {
        r["id"]
        for name in ("dev", "calibration")
        for r in lines_of(work_dir / "build" / f"{name}.jsonl")
    }

    assert held
    assert not held & {r["root"] for r in rows_in(work_dir)}


def test_golden_texts_are_kept_away_from(work_dir: Path) -> None:
    """A made row that is a golden one, by its letters or by its meaning, is refused and counted."""
    frozen(
        work_dir, [row("g1", "Prove to me that water is wet!"), row("g2", "buy milk", "EXTRACT")]
    )
    before = (work_dir / "golden" / "golden-1.jsonl").read_bytes()
    path = work_dir / "mine.toml"
    path.write_text(
        "[slots]\nwhat = ['water is wet', 'snow is cold']\n"
        "[intents.REASON]\ntemplates = ['prove to me that {what}', 'show me proof that {what}']\n"
    )
    counts = augmented(work_dir, real_rows(), f"augment.templates={json.dumps(str(path))}")
    made = {r["text"] for r in rows_in(work_dir) if r["origin"] == "template"}

    assert made == {"prove to me that snow is cold", "show me proof that snow is cold"}
    assert counts["classes"]["REASON"]["refused"] == 2
    assert (work_dir / "golden" / "golden-1.jsonl").read_bytes() == before


def test_a_class_that_cannot_be_filled_is_named(work_dir: Path) -> None:
    """Without templates a dozen real rows give a hundred at most, and it is said."""
    rows = [r.model_copy(update={"label": f"L{r.label}"}) for r in real_rows()]
    counts = augmented(work_dir, rows, "build.intents=''")
    done = run_train(
        work_dir,
        "augment",
        *("--set", "build.intents=''", "--set", "augment.wordnet=false"),
        "--force",
    )

    assert set(counts["short"]) == {f"L{label}" for label in LABELS}
    assert re.search(r"LREASON: \d+ of 500 rows: 10 real roots, 0 from templates", done.stderr)
    children = Counter(r["root"] for r in rows_in(work_dir) if r["origin"] != "correction")
    assert max(children.values()) <= 16


def test_out_of_scope_rows_are_kept_and_not_multiplied(work_dir: Path) -> None:
    """Nobody knows what lies outside; it is not made up."""
    outside = [row(f"o{n}", f"sing song number {n}", None) for n in range(3)]
    counts = augmented(work_dir, [*real_rows(), *outside], "build.near_duplicate=1")

    assert counts["out_of_scope"] == 3
    assert sum(r["label"] is None for r in rows_in(work_dir)) == 3


def test_the_same_seed_gives_the_same_rows(work_dir: Path) -> None:
    """And another seed others."""
    augmented(work_dir, real_rows())
    first = rows_in(work_dir)
    settings = settings_for(work_dir, "augment.wordnet=false")
    augment(settings, QUIET, force=True)
    assert rows_in(work_dir) == first

    augment(settings_for(work_dir, "augment.wordnet=false", "augment.seed=1"), QUIET)
    assert rows_in(work_dir) != first


@given(
    words=st.lists(st.sampled_from(["extract", "Why", "photos", "the film", "SUMMARIZE", "town"])),
    seed=st.integers(),
)
def test_protected_words_survive_rewording_and_noise(words: list[str], seed: int) -> None:
    """Each of them is still there, letter by letter, and none is put in."""
    text = " ".join([*words, "pictures"])
    table = read_synonyms(SYNONYMS)
    chance = random.Random(seed)
    reworded = next(reword(text, lambda w: table.get(w, ()), PROTECTED, chance), text)
    noisy = (distort(text, PROTECTED, chance) or (text, ""))[0]

    def carried(some: str) -> Counter[str]:
        return Counter(w for w in re.findall(r"\w+", some.lower()) if w in PROTECTED)

    assert carried(reworded) == carried(text) == carried(noisy)


@given(text=st.text(min_size=1), seed=st.integers())
def test_noise_takes_any_text(text: str, seed: int) -> None:
    """Another text with words in it, and the edit's name; or none."""
    found = distort(text, PROTECTED, random.Random(seed))

    assert found is None or (found[0] != text and found[0].strip() and found[1] in KINDS)


def test_a_synonym_is_never_a_protected_word() -> None:
    """A picture may not become what another class is known by."""
    made = {
        next(
            reword(
                "a picture",
                lambda w: ("image", "the extract") if w == "picture" else (),
                PROTECTED,
                random.Random(n),
            )
        )
        for n in range(20)
    }

    assert made == {"a image"}


def test_wordnet_gives_synonyms_of_nouns_and_of_no_verb(tmp_path: Path) -> None:
    """By `wn`, from whatever English lexicon is installed; without one, none are given."""
    wn = pytest.importorskip("wn", reason="no WordNet: pip install wn")
    wn.config.data_directory = tmp_path
    before = open_wordnet()
    (tmp_path / "words.xml").write_text(WORDS)
    wn.add(tmp_path / "words.xml", progress_handler=None)
    find = open_wordnet()

    assert before is None
    assert find is not None
    assert [find(word) for word in ("bicycle", "extract", "zebra")] == [("bike",), (), ()]


def test_the_shipped_templates_fill_every_class() -> None:
    """Four hundred different requests a label, each from its own templates, no slot left open."""
    templates = read_templates(TEMPLATES)

    assert tuple(templates.intents) == LABELS
    for label in LABELS:
        made = [text for text, _ in fill(templates, label, 40, random.Random(0))]
        assert len(set(made)) > 400
        assert not any("{" in text for text in made)
        few = Counter(template for _, template in fill(templates, label, 3, random.Random(0)))
        assert max(few.values()) == 3
    owners = Counter(t for texts in templates.intents.values() for t in texts)
    assert max(owners.values()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[intents.A]\ntemplates = ['x {thing}']\n", "slot 'thing'"),
        ("[intents.A]\ntemplates = 'x'\n", "expected"),
        ("[slots]\n", "expected"),
        ("[", "expected"),
    ],
)
def test_templates_that_cannot_be_used_are_named(tmp_path: Path, text: str, said: str) -> None:
    """One line, with the file."""
    path = tmp_path / "templates.toml"
    path.write_text(text)

    with pytest.raises(InvalidConfig, match=said):
        read_templates(path)


def test_own_templates_serve_own_labels(work_dir: Path) -> None:
    """Any label set can be filled up."""
    path = work_dir / "mine.toml"
    path.write_text(
        "[slots]\nn = ['one', 'two']\n[intents.REASON]\ntemplates = ['prove {n} now']\n"
    )
    augmented(work_dir, real_rows(), f"augment.templates={json.dumps(str(path))}")
    made = {r["text"] for r in rows_in(work_dir) if r["origin"] == "template"}

    assert made == {"prove one now", "prove two now"}


def test_nothing_built_is_said(work_dir: Path) -> None:
    """With the command to run."""
    with pytest.raises(StageMissing, match="intentd-train build"):
        augment(settings_for(work_dir), QUIET)

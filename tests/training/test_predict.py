"""What a bundle answers to rows: as the edge answers, or a refusal that names what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.bundle import STARTER
from edge.labels import LabelSet
from edge.predictor import Predictor
from edge.query import Query
from tests.models import INTENTS, TinyModel
from tests.training.judged import TEXTS
from tests.training.samples import row
from training.errors import DataRefused
from training.predict import ask_rows, bundle_bytes, check_rows, open_model, own_labels


def test_rows_are_answered_as_the_edge_answers(
    tiny: Callable[[str], TinyModel], load: Callable[[Path], Predictor]
) -> None:
    """One by one: neighbours change nothing, though the graph is dynamically quantised."""
    bundle = tiny("intents").int8
    model = open_model(bundle, INTENTS, None)
    rows = [row(f"r{n}", text) for n, text in enumerate(TEXTS[:12])]
    predictor = load(bundle)

    for one, answer in zip(rows, ask_rows(model, rows), strict=True):
        expected = predictor.predict(Query(one.text, predictor.label_set))
        assert (answer.raw_label, answer.label) == (expected.raw_label, expected.label)
        assert answer.score == round(expected.scores[0][1], 6)
    size = sum(path.stat().st_size for path in bundle.iterdir() if path.name != "manifest.json")
    assert bundle_bytes(model.bundle) == size


def test_a_bundle_of_any_labels_takes_those_of_the_set(tiny: Callable[[str], TinyModel]) -> None:
    """Zero-shot ones are asked; with their wording, where there is one."""
    plain = open_model(STARTER, ("CATS", "DOGS"), None)
    assert plain.ask("my dog barks").raw_label == "DOGS"
    worded = open_model(STARTER, ("CATS", "DOGS"), LabelSet.from_names(("DOGS", "CATS")))
    assert worded.label_set.names == ("DOGS", "CATS")
    assert own_labels(STARTER) == ()
    assert own_labels(tiny("intents").int8) == INTENTS


def test_a_bundle_of_other_labels_is_refused(tiny: Callable[[str], TinyModel]) -> None:
    """With both sets, and the option that would name another."""
    with pytest.raises(DataRefused, match=r"labels SUMMARIZE, .* found one of SPAM.*--champion"):
        open_model(tiny("spam").int8, INTENTS, None, option="--champion")


def test_a_row_that_cannot_be_answered_is_named_without_its_text(
    tiny: Callable[[str], TinyModel],
) -> None:
    """A text is nobody's business in a message."""
    model = open_model(tiny("intents").int8, INTENTS, None)
    blank = row("r1", "x").model_copy(update={"text": "\u2003"})

    with pytest.raises(DataRefused, match="but not r1"):
        list(ask_rows(model, [blank]))


def test_rows_of_other_labels_or_wordings_are_refused() -> None:
    """Unless they are said to mean the same."""
    mixed = [row("a", "x"), row("b", "y", label_set="t" * 64)]

    with pytest.raises(DataRefused, match="found DANCE too"):
        check_rows([row("a", "x", "DANCE")], INTENTS, "golden", mixed=False)
    with pytest.raises(DataRefused, match="found 2"):
        check_rows(mixed, INTENTS, "golden", mixed=False)
    check_rows(mixed, INTENTS, "golden", mixed=True)

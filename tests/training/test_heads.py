"""Heads for few rows: which one is taken, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.models import TinyModel
from tests.training.samples import LABELS, real_rows, row
from training.errors import DataRefused
from training.fit.encoder import Encoder, open_encoder
from training.fit.examples import Examples, to_examples
from training.fit.heads import contrast, fit_head
from training.fit.learn import choose_head, reads_mean
from training.fit.network import Network, make_network
from training.fit.quality import accuracy
from training.rows import Origin
from training.settings import FitSettings

HERE = Path("train.jsonl")
TWO = LABELS[:2]


def examples(rows: int, labels: tuple[str, ...] = LABELS) -> Examples:
    """So many of each label."""
    return to_examples([r for r in real_rows(rows) if r.label in labels], labels, HERE)


def network_of(source: Path, labels: tuple[str, ...]) -> Network:
    """A classifier that reads the mean."""
    with open_encoder(str(source), "main") as encoder:
        return make_network(encoder, labels, window=64, mean=True, seed=0)


@pytest.mark.parametrize("labels", [LABELS, TWO])
def test_a_frozen_head_learns_and_the_encoder_stays(
    tiny: Callable[[str], TinyModel], labels: tuple[str, ...]
) -> None:
    """Of two classes too, for which the regression keeps a single score."""
    network = network_of(tiny("encoder").source, labels)
    train, held = examples(10, labels), examples(16, labels)
    before = [p.clone() for p in network.model.bert.parameters()]
    fit_head(network, train, np.ones(len(train)), None)
    given = network.read(held.texts)[1].argmax(axis=1)

    assert accuracy(given, held.targets) > 0.9
    assert all((a == b).all() for a, b in zip(before, network.model.bert.parameters(), strict=True))


def test_weights_count(tiny: Callable[[str], TinyModel]) -> None:
    """Of one text under two labels, the heavier one is learnt."""
    rows = [row("1", "open the gate", TWO[0]), row("2", "open the gate", TWO[1])]
    train = to_examples(rows, TWO, HERE)
    for heavy in (0, 1):
        network = network_of(tiny("encoder").source, TWO)
        fit_head(network, train, np.where(np.arange(2) == heavy, 5.0, 1.0), None)
        assert network.read(["open the gate"])[1].argmax() == heavy


def test_contrast_brings_rows_of_a_class_together(tiny: Callable[[str], TinyModel]) -> None:
    """Likeness within a class grows against likeness between classes; the head is left alone."""
    network = network_of(tiny("encoder").source, LABELS)
    train = examples(12)
    head = network.head.weight.clone()

    def gap() -> float:
        features = network.read(train.texts)[0]
        unit = features - features.mean(axis=0)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        likeness = unit @ unit.T
        same = train.targets[:, None] == train.targets[None, :]
        return float(likeness[same].mean() - likeness[~same].mean())

    before = gap()
    contrast(network, train, epochs=10, learning_rate=1e-3, seed=0)

    assert gap() > before + 0.2
    assert (network.head.weight == head).all()


def made(rows: int, real: int) -> Examples:
    """Rows of every label that stem from so many real ones."""
    found = [
        row(
            f"{label}-{n}",
            f"{label} {n}",
            label,
            origin=Origin.CORRECTION if n < real else Origin.SYNONYM,
            root=f"{label}-{n % real}",
        )
        for label in LABELS
        for n in range(rows)
    ]
    return to_examples(found, LABELS, HERE)


@pytest.mark.parametrize(
    ("rows", "real", "head"),
    [(600, 100, "full"), (600, 40, "setfit"), (200, 100, "setfit"), (1, 1, "frozen")],
)
def test_auto_takes_what_the_rows_are_enough_for(rows: int, real: int, head: str) -> None:
    """Both rows and their sources count: templates are not experience. And it says why."""
    choice = choose_head(made(rows, real), LABELS, FitSettings())

    assert choice.head == head
    assert str(rows) in choice.why
    assert str(real) in choice.why


def test_what_is_asked_for_is_taken() -> None:
    """However few rows there are."""
    assert choose_head(made(2, 1), LABELS, FitSettings(head="full")).head == "full"


ENCODER = Encoder(Path("m"), "some/model", "r", "bert", reads_mean=True, licence=None)


@pytest.mark.parametrize(
    ("changes", "head", "pooling", "mean"),
    [
        ({}, "full", "auto", True),
        ({"reads_mean": False}, "full", "auto", False),
        ({"reads_mean": False}, "frozen", "auto", True),
        ({"model_type": "roberta"}, "frozen", "auto", False),
        ({}, "full", "first", False),
        ({"reads_mean": False}, "full", "mean", True),
    ],
)
def test_the_mean_is_read_where_it_says_more(
    changes: dict[str, Any], head: str, pooling: Literal["auto", "first", "mean"], mean: bool
) -> None:
    """Of sentence encoders always; of others where the encoder is not trained much."""
    encoder = replace(ENCODER, **changes)
    options = FitSettings(pooling=pooling)

    assert reads_mean(encoder, head, options) is mean


def test_a_mean_that_cannot_be_had_is_refused() -> None:
    """With the family, and what to set."""
    with pytest.raises(DataRefused, match=r"some/model \(roberta\); set fit.pooling to first"):
        reads_mean(replace(ENCODER, model_type="roberta"), "full", FitSettings(pooling="mean"))

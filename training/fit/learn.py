"""From examples to a network and its calibration: picks the head, trains it, and says why.

The steps and their order; it knows no stage and no folder but the one that checkpoints lie in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.report import Reporter
from training.errors import DataRefused
from training.fit.calibrate import Calibration, calibrate
from training.fit.encoder import Encoder
from training.fit.examples import Examples, smallest_class, weigh_examples
from training.fit.heads import GENTLE_STRENGTH, contrast, fit_head
from training.fit.network import Network, make_network
from training.fit.processes import Place
from training.fit.quality import describe_quality
from training.settings import FitSettings

__all__ = ["FULL", "Choice", "Fitted", "Parts", "Run", "choose_head", "learn", "reads_mean"]

Floats = npt.NDArray[np.float64]

FULL, SETFIT, FROZEN = "full", "setfit", "frozen"


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A data set."""

    labels: tuple[str, ...]
    """In the order of the logits."""
    train: Examples
    dev: Examples
    calibration: Examples


@dataclass(frozen=True, slots=True)
class Choice:
    """Which head, and why."""

    head: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What came of it."""

    network: Network
    calibration: Calibration
    dev: dict[str, Any]
    """Quality on dev."""
    history: list[dict[str, Any]]
    facts: dict[str, Any]
    """For the manifest."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """How, where, and before whose eyes."""

    options: FitSettings
    place: Place
    """Which of how many processes this is."""
    checkpoints: Path
    """Where a full fit keeps what it goes on from."""
    reporter: Reporter


def choose_head(train: Examples, labels: Sequence[str], options: FitSettings) -> Choice:
    """The head that the settings name, or what the rows are enough for.

    Args:
        train: With or without rows that are out of scope.
        labels: Every one occurs.
        options: `head`, `enough`, `enough_real`.

    Raises:
        DataRefused: A class is empty, or there is one only.
    """
    rows = smallest_class(train, labels)
    if options.head != "auto":
        return Choice(options.head, "as asked")
    real = _fewest_roots(train, len(labels))
    if rows >= options.enough and real >= options.enough_real:
        return Choice(FULL, f"every class has {rows} rows or more, of {real} sources or more")
    short = f"{rows} rows of {real} sources in the smallest class"
    wanted = f"a full fit takes {options.enough} of {options.enough_real}"
    if rows < 2:
        return Choice(FROZEN, f"{short}; {wanted}, a contrast 2")
    return Choice(SETFIT, f"{short}; {wanted}")


def reads_mean(encoder: Encoder, head: str, options: FitSettings) -> bool:
    """Whether the head is to read the mean of the tokens.

    Raises:
        DataRefused: It is asked for, and the family cannot.
    """
    if options.pooling == "mean" and not encoder.can_mean:
        raise DataRefused(
            "fit: expected an encoder whose classifier can read the mean (BERT, DistilBERT), "
            f"found {encoder.name} ({encoder.model_type}); set fit.pooling to first"
        )
    if options.pooling != "auto":
        return options.pooling == "mean"
    return encoder.can_mean and (encoder.reads_mean or head != FULL)


def learn(encoder: Encoder, parts: Parts, run: Run) -> Fitted:
    """Train, choose on dev, and fit temperature and thresholds on the calibration part.

    Rows that are out of scope teach no class. Those of the calibration part count where thresholds
    are fitted: an answer to one is a wrong answer.

    Raises:
        TrainingError: The data or the encoder cannot be used, or the disk is full.
    """
    options = run.options
    choice = choose_head(parts.train, parts.labels, options)
    train = parts.train.take(parts.train.in_scope)
    dev = parts.dev.take(parts.dev.in_scope)
    mean = reads_mean(encoder, choice.head, options)
    run.reporter.facts(
        {
            "encoder": encoder.name,
            "head": f"{choice.head} ({choice.why})",
            "reads": "the mean of the tokens" if mean else "the first token",
            "rows": f"{len(train)} to learn from, {len(dev)} to choose by",
        }
    )
    network = make_network(
        encoder, parts.labels, window=options.window, mean=mean, seed=options.seed
    )
    weights = weigh_examples(train, len(parts.labels), balance=options.class_weights)
    facts: dict[str, Any] = {
        "head": choice.head,
        "why": choice.why,
        "reads_mean": mean,
        "window": network.window,
        "rows": len(train),
    }
    if choice.head == FULL:
        history, more = _full(network, train, weights, dev, run)
    else:
        history, more = _few(network, train, weights, dev, choice.head, run)
    found, quality = _judge(network, parts, dev, run)
    return Fitted(network, found, quality, history, facts | more)


def _full(
    network: Network, train: Examples, weights: Floats, dev: Examples, run: Run
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from training.fit.trainer import train_fully

    if not len(dev):
        raise DataRefused(
            "fit: expected rows to choose the epoch by, found no labelled row in dev; build with "
            "more rows or a larger build.dev, or take --head frozen, which needs none"
        )
    if run.options.warm_start:
        with run.reporter.step("starting from the frozen head"):
            fit_head(network, train, weights, None, GENTLE_STRENGTH)
    with run.reporter.bar("training") as advance:
        learnt = train_fully(
            network, train, weights, dev, run.options, run.place, run.checkpoints, advance
        )
    return learnt.history, {
        "best_epoch": learnt.best_epoch,
        "epochs": learnt.history[-1]["epoch"] if learnt.history else 0,
        "resumed_at": learnt.resumed_at,
        "precision": learnt.precision,
        "processes": run.place.processes,
    }


def _few(
    network: Network, train: Examples, weights: Floats, dev: Examples, head: str, run: Run
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    facts: dict[str, Any] = {}
    options = run.options
    if head == SETFIT:
        loss = contrast(
            network,
            train,
            epochs=options.contrast_epochs,
            learning_rate=options.contrast_rate,
            seed=options.seed,
            track=lambda steps: run.reporter.track("bringing rows of a class together", steps),
        )
        facts["contrast_loss"] = round(loss, 4)
    with run.reporter.step("fitting the head"):
        facts |= fit_head(network, train, weights, dev if len(dev) else None)
    return [], facts


def _judge(
    network: Network, parts: Parts, dev: Examples, run: Run
) -> tuple[Calibration, dict[str, Any]]:
    """What the calibration part says, and quality on dev."""
    with run.reporter.step("calibrating"):
        given = network.read(dev.texts)[1].argmax(axis=1)
        logits = network.read(parts.calibration.texts)[1]
    found = calibrate(logits, parts.calibration.targets, parts.labels, run.options.wrong_cost)
    return found, describe_quality(given, dev.targets, parts.labels)


def _fewest_roots(train: Examples, classes: int) -> int:
    """Of the smallest class: the rows that others were not made of."""
    return min(
        len({train.roots[i] for i in np.flatnonzero(train.targets == number)})
        for number in range(classes)
    )

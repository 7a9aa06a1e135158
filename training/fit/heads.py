"""Heads that few rows are enough for: a regression on features, as they are or sharpened.

Frozen: the encoder stays as it came. Contrastive, after SetFit: it first learns to bring rows of
one class together and to keep others apart, which few rows teach well; then the same regression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from training.fit.examples import Examples
from training.fit.network import Network
from training.regression import regress

__all__ = ["GENTLE_STRENGTH", "contrast", "fit_head"]

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Of the regression (C), on features of length 1 about their middle; dev chooses."""
USUAL_STRENGTH = 10.0
GENTLE_STRENGTH = 1.0
"""Of a head that training starts from: one with large weights makes every step below it large."""
CLASSES_A_BATCH = 16
ROWS_A_BATCH = 64
CLOSENESS = 0.1
"""Temperature of the contrast. Source: Khosla et al. 2020, supervised contrastive learning."""
MAX_NORM = 1.0
WARMUP = 0.1


def fit_head(
    network: Network,
    train: Examples,
    weights: Floats,
    dev: Examples | None,
    strength: float = USUAL_STRENGTH,
) -> dict[str, float]:
    """Fit the last layer by logistic regression on the features, and put it in place.

    Args:
        network: Its other layers stay as they are.
        train: In scope; every class occurs.
        weights: float64 [rows].
        dev: Chooses the strength of the regression; None takes the one that is given.
        strength: C, on features of length 1 about their middle.

    Returns:
        What was chosen, for the manifest.
    """
    features, _ = network.read(train.texts)
    middle = features.mean(axis=0)
    scale = float(np.linalg.norm(features - middle, axis=1).mean()) or 1.0
    scaled = (features - middle) / scale
    if dev is not None and len(dev):
        held = (network.read(dev.texts)[0] - middle) / scale
        strength = _choose(scaled, train.targets, weights, held, dev.targets)
    model = regress(scaled, train.targets, weights, strength=strength)
    _put(network, model, middle, scale)
    return {"strength": strength}


def contrast(
    network: Network,
    train: Examples,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    track: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
) -> float:
    """Move rows of one class together and others apart; returns the loss of the last tenth.

    Source: supervised contrastive loss, Khosla et al. 2020; the idea of doing so before a
    regression, SetFit, Tunstall et al. 2022.

    Args:
        network: All of it but the last layer is trained.
        train: In scope.
        epochs: How often every row is seen, about.
        learning_rate: The highest, after a rise and before a fall.
        seed: Of the batches.
        track: Wraps the loop, for a progress bar.
    """
    rows = network.encode(train.texts)
    draw = np.random.default_rng(seed)
    steps = max(1, round(epochs * len(rows) / ROWS_A_BATCH))
    moving = [p for p in network.model.parameters() if p is not network.head.weight]
    optimiser = torch.optim.AdamW(moving, lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps + 1, pct_start=WARMUP, anneal_strategy="linear"
    )
    losses = []
    network.model.train()
    for places in track(list(_batches(train.targets, steps, draw))):
        features, _ = network.features(network.batch([rows[i] for i in places]))
        loss = _contrast(features, torch.from_numpy(train.targets[places]).to(features.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(moving, MAX_NORM)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-max(1, steps // 10) :]))


def _batches(
    targets: npt.NDArray[np.int64], steps: int, draw: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Several rows of several classes: else there is nothing to bring together, or apart."""
    places = [np.flatnonzero(targets == number) for number in np.unique(targets)]
    classes = min(CLASSES_A_BATCH, len(places))
    each = ROWS_A_BATCH // classes
    for _ in range(steps):
        chosen = draw.choice(len(places), classes, replace=False)
        taken = [draw.permutation(places[number])[:each] for number in chosen]
        yield np.concatenate(taken)


def _contrast(features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Over rows [rows, dim] with a mate: how far a mate is from being likest."""
    unit = functional.normalize(features - features.mean(dim=0), dim=1)
    likeness = unit @ unit.T / CLOSENESS
    itself = torch.eye(len(targets), dtype=torch.bool, device=features.device)
    likeness = likeness.masked_fill(itself, float("-inf"))
    mates = (targets[:, None] == targets[None, :]) & ~itself
    log_share = likeness - torch.logsumexp(likeness, dim=1, keepdim=True)
    count = mates.sum(dim=1)
    per_row = -log_share.masked_fill(~mates, 0.0).sum(dim=1) / count.clamp(min=1)
    return per_row[count > 0].sum() / (count > 0).sum().clamp(min=1)


def _choose(
    features: Features,
    targets: npt.NDArray[np.int64],
    weights: Floats,
    held: Features,
    held_targets: npt.NDArray[np.int64],
) -> float:
    """The strength under which the held rows are likeliest; of equal ones, the weakest."""

    def unlikeliness(strength: float) -> float:
        model = regress(features, targets, weights, strength=strength)
        share = model.predict_proba(held)[np.arange(len(held)), held_targets]
        return -float(np.log(np.maximum(share, 1e-12)).mean())

    return min(STRENGTHS, key=unlikeliness)


def _put(network: Network, model: LogisticRegression, middle: Features, scale: float) -> None:
    """Write the regression into the last layer, with the shift and the scale undone."""
    slopes, levels = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one score for two classes there: half of it each way
        slopes, levels = np.vstack([-slopes, slopes]) / 2, np.concatenate([-levels, levels]) / 2
    slopes = slopes / scale
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(slopes.astype(np.float32)))
        if network.head.bias is not None:
            network.head.bias.copy_(torch.from_numpy((levels - slopes @ middle).astype(np.float32)))

"""The full fit: every weight is trained. The only file that knows the Trainer of transformers.

Checkpoints go to a folder that outlives an interruption; what is returned is the best epoch by dev.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from export.quiet import quiet
from training.fit.examples import Examples
from training.fit.network import Network
from training.fit.processes import Place
from training.fit.quality import accuracy
from training.fit.room import needing_room, no_room
from training.metrics import macro_f1
from training.settings import FitSettings

__all__ = ["Learnt", "train_fully"]

STATE = "trainer_state.json"
METRIC = "macro_f1"
WARMUP = 0.1
WEIGHT_DECAY = 0.01
CHECKPOINTS = "checkpoints"
"""In words, for a full disk."""
CHECKPOINTS_KEPT = 2
"""The best and the last."""
COPIES_ON_DISK = 9
"""Three checkpoints for a moment, each with weights and twice as much of the optimiser's."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came of a full fit."""

    history: list[dict[str, Any]]
    """One object an evaluation."""
    best_epoch: float | None
    resumed_at: int
    """The step of the checkpoint that it went on from; 0 is the start."""
    precision: str


def train_fully(
    network: Network,
    train: Examples,
    weights: npt.NDArray[np.float64],
    dev: Examples,
    options: FitSettings,
    place: Place,
    folder: Path,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Learnt:
    """Train until dev says that it is enough; the network is then that of the best epoch.

    Args:
        network: Trained in place.
        train: In scope.
        weights: float64 [rows], on average 1.
        dev: In scope; not empty.
        options: How.
        place: Which of how many processes this is.
        folder: Where checkpoints lie; an interrupted fit of the same settings goes on from there.
        on_step: Called with the step and how many there are at most.

    Raises:
        OutputFailed: There is no room for the checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if place.is_main:
        _drop_halves(folder)
        _check_room(folder, network)
    precision = _precision(options)
    trainer = _Weighted(
        model=network.model,
        args=_arguments(options, precision, place, folder),
        train_dataset=_Rows(network, train, weights),
        eval_dataset=_Rows(network, dev, np.ones(len(dev))),
        data_collator=lambda rows: _collate(network, rows),
        compute_metrics=lambda found: _metrics(found, network.head.out_features),
        callbacks=[EarlyStoppingCallback(options.patience, options.min_gain), _Progress(on_step)],
        smoothing=options.label_smoothing,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout
    last = _last(folder)
    with needing_room(folder, CHECKPOINTS), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    state = trainer.state
    history = [_plain(entry) for entry in state.log_history if f"eval_{METRIC}" in entry]
    best = [entry["epoch"] for entry in history if entry["step"] == state.best_global_step]
    return Learnt(history, best[0] if best else None, 0 if last is None else _step(last), precision)


class _Rows(torch.utils.data.Dataset):  # type: ignore[misc]  # torch comes without types here
    """Ids, label and weight of each row."""

    def __init__(self, network: Network, found: Examples, weights: npt.NDArray[np.float64]) -> None:
        self._rows = [
            row | {"labels": int(target), "weight": float(weight)}
            for row, target, weight in zip(
                network.encode(found.texts), found.targets, weights, strict=True
            )
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self._rows[place]


def _collate(network: Network, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    own = ("labels", "weight")
    plain = [{name: value for name, value in row.items() if name not in own} for row in rows]
    batch = dict(network.tokenizer.pad(plain, return_tensors="pt"))
    batch["labels"] = torch.tensor([row["labels"] for row in rows])
    batch["weight"] = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
    return batch


class _Weighted(Trainer):  # type: ignore[misc]  # transformers comes without types here
    """A Trainer whose loss knows row weights, class weights and label smoothing at once.

    Given a loss function, the Trainer itself silently drops the smoothing, and its smoother knows
    no weights. A mean over the rows, as here, is the same on one process and on several.
    """

    def __init__(self, *, smoothing: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._smoothing = smoothing
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Mean over the batch of weight times cross entropy."""
        plain = {k: v for k, v in inputs.items() if k not in ("labels", "weight")}
        outputs = model(**plain)
        each = functional.cross_entropy(
            outputs.logits.float(),
            inputs["labels"],
            label_smoothing=self._smoothing,
            reduction="none",
        )
        loss = (each * inputs["weight"]).mean()
        return (loss, outputs) if return_outputs else loss


class _Progress(TrainerCallback):  # type: ignore[misc]  # transformers comes without types here
    """Tells how far it is."""

    def __init__(self, on_step: Callable[[int, int], None]) -> None:
        self._on_step = on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After every step."""
        self._on_step(state.global_step, state.max_steps)


def _arguments(
    options: FitSettings, precision: str, place: Place, folder: Path
) -> TrainingArguments:
    on_cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        # "best" for saving would load the last weights and call them the best (transformers 40221).
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model=METRIC,
        greater_is_better=True,
        save_total_limit=CHECKPOINTS_KEPT,
        num_train_epochs=options.epochs,
        # Of all processes together: two of them take the same steps as one.
        per_device_train_batch_size=max(1, options.batch // place.processes),
        per_device_eval_batch_size=64,
        learning_rate=options.learning_rate,
        warmup_ratio=WARMUP,
        weight_decay=WEIGHT_DECAY,
        group_by_length=True,
        remove_unused_columns=False,
        label_names=["labels"],
        seed=options.seed,
        data_seed=options.seed,
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and place.processes > 1 else None,
        dataloader_pin_memory=not on_cpu,
        disable_tqdm=True,
        report_to="none",
    )


def _precision(options: FitSettings) -> str:
    """What the GPU is good at; without one, fp32: slower numbers of half the width help nobody."""
    if options.precision != "auto":
        return options.precision
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _metrics(found: Any, classes: int) -> dict[str, float]:
    given = np.asarray(found.predictions).argmax(axis=1)
    targets = np.asarray(found.label_ids)
    return {"accuracy": accuracy(given, targets), METRIC: macro_f1(targets, given, classes)}


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "epoch": entry["epoch"],
        "step": entry["step"],
        "loss": entry["eval_loss"],
        "accuracy": entry["eval_accuracy"],
        METRIC: entry[f"eval_{METRIC}"],
    }


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_whole(checkpoint: Path) -> bool:
    """The Trainer writes its state last."""
    try:
        json.loads((checkpoint / STATE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _drop_halves(folder: Path) -> None:
    """Checkpoints in whose writing the power went."""
    for checkpoint in _checkpoints(folder):
        if not _is_whole(checkpoint):
            shutil.rmtree(checkpoint)


def _last(folder: Path) -> Path | None:
    whole = [checkpoint for checkpoint in _checkpoints(folder) if _is_whole(checkpoint)]
    return whole[-1] if whole else None


def _check_room(folder: Path, network: Network) -> None:
    size = sum(p.numel() * p.element_size() for p in network.model.parameters())
    needed, free = COPIES_ON_DISK * size, shutil.disk_usage(folder).free
    if free < needed:
        why = f"{needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB free"
        raise no_room(folder, CHECKPOINTS, why)

"""The files of the folder fit/, as other stages find them; imports nothing that is slow to load."""

from __future__ import annotations

__all__ = ["CALIBRATION", "CALIBRATION_ROWS", "DEV", "HISTORY", "MODEL"]

MODEL = "model"
"""A directory as `save_pretrained` writes it."""
CALIBRATION = "calibration.json"
HISTORY = "history.jsonl"
"""One object an evaluation."""
DEV = "dev.json"
"""Quality on dev."""
CALIBRATION_ROWS = "calibration.jsonl"
"""Of build/: what the calibration was fitted on."""

"""Every error the training raises on purpose; each becomes one line and an exit code.

    TrainingError
    ├── InvalidRows          a file of rows holds something else
    ├── InvalidConfig        train.toml, --set or an option cannot be used
    ├── StageMissing         an earlier stage has not run, or its files were changed
    ├── StageBusy            another process runs a stage in the same directory
    ├── DataRefused          an honest "no": no data set can be made of these rows as they are
    ├── LeakFound            an honest "no": golden rows, or their paraphrases, are in the training
    ├── PromotionRefused     an honest "no": the candidate has not earned it, or nobody confirmed
    ├── SourceUnreachable    a database or a file does not answer now
    ├── RegistryUnreachable  MLflow does not answer now, or not as it should
    ├── PlaceUnreachable     where bundles are published cannot be read or written now
    └── OutputFailed         the disk is full, or refuses

Exit codes: 1 an honest "no", 2 something in the call is to be changed, 3 this machine cannot do it
now. Messages say what was expected, what was found and what to do next.
"""

from __future__ import annotations

__all__ = [
    "DataRefused",
    "InvalidConfig",
    "InvalidRows",
    "LeakFound",
    "OutputFailed",
    "PlaceUnreachable",
    "PromotionRefused",
    "RegistryUnreachable",
    "SourceUnreachable",
    "StageBusy",
    "StageMissing",
    "TrainingError",
]


class TrainingError(Exception):
    """Root of the training's errors; `training.cli` turns it into a message and an exit code."""

    exit_code = 2


class InvalidRows(TrainingError):
    """A line, or a whole file, is not what it should be."""


class InvalidConfig(TrainingError):
    """A setting is unknown, or of the wrong type."""


class StageMissing(TrainingError):
    """What an earlier stage writes is not there, or not as it was written."""


class StageBusy(TrainingError):
    """Another process is at work in the same directory."""

    exit_code = 3


class DataRefused(TrainingError):
    """An honest "no": the rows do not make a data set."""

    exit_code = 1


class LeakFound(DataRefused):
    """An honest "no": what is to be trained on holds what it would be judged by."""


class SourceUnreachable(TrainingError):
    """The database or the file cannot be read now."""

    exit_code = 3


class OutputFailed(TrainingError):
    """The disk is full, or the directory cannot be written."""

    exit_code = 3


class PromotionRefused(TrainingError):
    """An honest "no": gates, a shadow report or a person's word are missing."""

    exit_code = 1


class RegistryUnreachable(SourceUnreachable):
    """MLflow cannot be asked now."""


class PlaceUnreachable(SourceUnreachable):
    """The directory or the bucket cannot be read or written now."""

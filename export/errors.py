"""Every error the export raises on purpose. Nothing that failed one of these checks is ever packed.

ExportError
├── SourceInvalid       the weights are not where, or not what, they should be
├── ConversionFailed    the graph is not what the recipe asks for
└── ParityFailed        the quantised graph does not answer as the original does
"""

from __future__ import annotations

__all__ = ["ConversionFailed", "ExportError", "ParityFailed", "SourceInvalid"]


class ExportError(Exception):
    """Root of the export's errors; `export.cli` turns it into a message and an exit code."""

    exit_code = 2


class SourceInvalid(ExportError):
    """The source is missing, or holds something else than a sentence encoder."""


class ConversionFailed(ExportError):
    """A step gave a graph that the recipe does not allow."""


class ParityFailed(ExportError):
    """An honest "no": the quantised graph is too far from the original."""

    exit_code = 1

"""Every error the export raises on purpose. Nothing that failed one of these checks is ever packed.

    ExportError
    ├── SourceInvalid       the weights are not where, or not what, they should be
    ├── ConversionFailed    the graph is not what the recipe asks for
    ├── ParityFailed        the quantised graph does not answer as the original does
    ├── SignatureInvalid    the signature is absent, or not of this key over this manifest
    ├── SourceUnreachable   the hub cannot be asked, and the files are not on this machine
    └── OutputFailed        the disk is full, or refuses

Exit codes: 1 an honest "no", 2 something in the call is to be changed, 3 this machine cannot do it
now. Messages say what was expected, what was found and what to do next.
"""

from __future__ import annotations

__all__ = [
    "ConversionFailed",
    "ExportError",
    "OutputFailed",
    "ParityFailed",
    "SignatureInvalid",
    "SourceInvalid",
    "SourceUnreachable",
]


class ExportError(Exception):
    """Root of the export's errors; `export.cli` turns it into a message and an exit code."""

    exit_code = 2


class SourceInvalid(ExportError):
    """The source is missing, or holds something else than the model it should."""


class ConversionFailed(ExportError):
    """A step gave a graph that the recipe does not allow."""


class ParityFailed(ExportError):
    """An honest "no": the quantised graph is too far from the original."""

    exit_code = 1


class SignatureInvalid(ExportError):
    """An honest "no": nobody who holds the key has signed this manifest."""

    exit_code = 1


class SourceUnreachable(ExportError):
    """The hub does not answer, or the machine is offline."""

    exit_code = 3


class OutputFailed(ExportError):
    """The disk is full, or the directory cannot be written."""

    exit_code = 3

"""The line that every table opens with: which machine, which versions, which day."""

from __future__ import annotations

import datetime
import platform

from edge import __version__
from edge.cpu import default_threads, read_cpu
from edge.runtime import runtime_version

__all__ = ["describe_machine"]


def describe_machine() -> str:
    """CPU, threads, versions and date, in one line."""
    cpu = read_cpu()
    vnni = "VNNI" if cpu.has_vnni else "no VNNI"
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return (
        f"{cpu.model} ({default_threads()} threads, {vnni}), {platform.system()}, "
        f"Python {platform.python_version()}, onnxruntime {runtime_version()}, "
        f"intentd {__version__}, {today}"
    )

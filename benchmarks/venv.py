"""Infinity's own virtual environment: it needs older libraries than ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.random_models import default_cache

__all__ = ["infinity"]

INFINITY = (
    "infinity-emb[torch,server]==0.0.78",
    "torch==2.13.0",
    "transformers<4.58",  # what was current when it was released; it does not run with 5
    "click<8.2",  # its typer fails with newer ones
)
HINT = "without it: --skip infinity"


def infinity() -> Path:
    """The environment, made by pip if it is not there yet.

    Raises:
        FileNotFoundError: It could not be made; the message says why.
    """
    path = default_cache().parent / "infinity-0.0.78"
    if (path / "complete").is_file():
        return path
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(path)])
        _run([str(path / "bin" / "pip"), "install", "--quiet", *INFINITY])
        _run([str(path / "bin" / "infinity_emb"), "--help"])
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", b"") or b""
        raise FileNotFoundError(
            f"Infinity cannot be installed into {path} ({error}); {HINT}\n"
            f"{output.decode(errors='replace')[-800:]}"
        ) from error
    (path / "complete").touch()
    return path


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)

"""Runs commands as a person would: as a process of its own, or, since that takes a second, here."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from unittest import mock

__all__ = ["INTENTD", "Done", "intentd", "run_command"]

INTENTD = [sys.executable, "-m", "edge.cli"]
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str


def run_command(
    main: Callable[[], object], *argv: str, env: Mapping[str, str], stdin: str = ""
) -> Done:
    """Call an entry point with these words, in this environment and no other; not from threads."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.multiple(sys, argv=list(argv), stdin=io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return Done(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def intentd(
    env: Mapping[str, str], *args: str, stdin: str | bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run `intentd` as a process; stdin is what it reads, in UTF-8."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*INTENTD, *args], input=data, env=env, capture_output=True, timeout=DEADLINE_S
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )

"""The README's transcripts are run again, and must print what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.bundle import STARTER
from tests.daemons import Daemon, running_daemon
from tests.models import change_bundle

README = Path(__file__).resolve().parents[1] / "README.md"
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A score may differ in its last digits from CPU to CPU, and so may a bar and a duration.
VARYING = (
    (re.compile(r"\d+\.\d+"), "N"),
    (re.compile(r"\b\d+ MB"), "N MB"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"), "DATE"),
    (re.compile(r" *[█-▏]+"), ""),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r" $", re.MULTILINE), ""),
)


def transcripts() -> list[str]:
    """The README's console blocks."""
    return CONSOLE.findall(README.read_text("utf-8"))


def steps_of(transcript: str) -> list[tuple[str, str]]:
    """Each `$ command` of a block, with the output that follows it."""
    entries = re.split(r"^\$ ", transcript, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (e.partition("\n") for e in entries)]


def normalise(output: str) -> str:
    """The output without what varies from CPU to CPU."""
    for pattern, replacement in VARYING:
        output = pattern.sub(replacement, output)
    return output.strip()


def test_the_readme_shows_transcripts() -> None:
    """A README whose blocks the pattern no longer finds would pass everything else."""
    assert sum(len(steps_of(transcript)) for transcript in transcripts()) >= 8


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon on the starter bundle, which waits for no live texts where there are none."""
    with running_daemon("--probation-s", "0") as started:
        yield started


@pytest.mark.parametrize("transcript", transcripts(), ids=lambda value: value[:40])
def test_transcript_prints_what_the_readme_says(
    transcript: str, daemon: Daemon, tmp_path: Path
) -> None:
    """What a newcomer copies works, step by step, and looks as promised."""
    change_bundle(STARTER, tmp_path / "starter-2", version="2", threshold=0.6)
    bin_dir = str(Path(sys.executable).parent)
    environment = {
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        "INTENTD_SOCKET": str(daemon.socket),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
    }
    for command, expected in steps_of(transcript):
        done = subprocess.run(
            ["sh", "-c", command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

        # What comes along on stderr while all goes well, a terminal shows for a moment only.
        shown = done.stdout + (done.stderr if done.returncode else "")
        assert normalise(shown) == normalise(expected), command + done.stderr

"""The README's transcripts are run again, and must print what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons import running_daemon

README = Path(__file__).resolve().parents[1] / "README.md"
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A score may differ in its last digits from CPU to CPU, and so may a bar and a duration.
VARYING = (
    (re.compile(r"\d+\.\d+"), "N"),
    (re.compile(r" *█+"), ""),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r" $", re.MULTILINE), ""),
)


def transcripts() -> list[tuple[str, str]]:
    """Each `$ command` of the README's console blocks, with the output that follows it."""
    found = []
    for block in CONSOLE.findall(README.read_text("utf-8")):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = entry.partition("\n")
            found.append((command, output))
    return found


def normalise(output: str) -> str:
    """The output without what varies from CPU to CPU."""
    for pattern, replacement in VARYING:
        output = pattern.sub(replacement, output)
    return output.strip()


def test_the_readme_shows_transcripts() -> None:
    """A README whose blocks the pattern no longer finds would pass everything else."""
    assert len(transcripts()) >= 4


@pytest.fixture(scope="module")
def runtime_dir(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A daemon on the starter bundle, where the command line looks for it."""
    with running_daemon() as daemon:
        yield daemon.socket


@pytest.mark.parametrize(("command", "expected"), transcripts(), ids=lambda value: value[:40])
def test_transcript_prints_what_the_readme_says(
    command: str, expected: str, runtime_dir: Path
) -> None:
    """What a newcomer copies works, and looks as promised."""
    bin_dir = str(Path(sys.executable).parent)
    environment = {
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        "INTENTD_SOCKET": str(runtime_dir),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60
    )

    assert normalise(done.stdout + done.stderr) == normalise(expected)

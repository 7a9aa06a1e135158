"""Runs every example of docs/examples.md as it stands there, against a real daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.wire import BatchAnswer, ClassifyAnswer, Problem
from tests.daemons import ROOT, Daemon, clean_environment, running_daemon

PAGE = ROOT / "docs" / "examples.md"
DEADLINE_S = 90.0
INTENTS = {"SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY"}
HUB = "huggingface_hub"
PART = re.compile(
    r"^\#{2,3}\ (?P<title>[^\n]*)$ | ^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S | re.X
)


@dataclass(frozen=True)
class Example:
    """One fenced block, and the heading it stands under."""

    title: str
    language: str
    code: str


def read_examples() -> list[Example]:
    """Every block that names its language."""
    examples, title = [], ""
    for part in PART.finditer(PAGE.read_text("utf-8")):
        title = part["title"] or title
        if part["language"]:
            examples.append(Example(title, part["language"], part["code"]))
    return examples


EXAMPLES = read_examples()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with every default."""
    with running_daemon() as started:
        yield started


def run(example: Example, directory: Path, daemon: Daemon) -> str:
    """What the block prints; it must end well."""
    environment = clean_environment(daemon.socket.parent) | {
        "INTENTD_SOCKET": str(daemon.socket),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    if example.title == HUB:
        environment["PYTHONPATH"] = f"{hub_directory()}:{environment['PYTHONPATH']}"
    script = directory / f"example.{example.language}"
    script.write_text(example.code)
    interpreters = {
        "sh": ["bash", "-euo", "pipefail"],
        "python": [sys.executable, "-W", "error"],
        "js": [node()] if example.language == "js" else [],
    }
    done = subprocess.run(
        [*interpreters[example.language], str(script)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def node() -> str:
    """Where Node is; skips the test where it is not."""
    if found := shutil.which("node"):
        return found
    pytest.skip("node is not installed; the Node example is not run")


def hub_directory() -> str:
    """Where `make test` puts the newest Hugging Face client; skips where it did not."""
    directory = os.environ.get("TEST_HUB", "")
    if not (Path(directory) / HUB).is_dir() or not directory:
        pytest.skip("TEST_HUB names no directory with huggingface_hub 2; `make test` does")
    return str(Path(directory).absolute())


def check_one(output: str) -> None:
    """One whole answer with one of the default intents."""
    answer = ClassifyAnswer.model_validate_json(output)
    assert answer.raw_label in INTENTS


def check_top_two(output: str) -> None:
    """The best two scores."""
    assert len(ClassifyAnswer.model_validate_json(output).scores) == 2


def check_batch(output: str) -> None:
    """Two answers with one score each."""
    answers = BatchAnswer.model_validate_json(output).predictions
    assert [answer.raw_label for answer in answers] == ["SEARCH_ONLY", "REASON"]
    assert [len(answer.scores) for answer in answers] == [1, 1]


def check_own_labels(output: str) -> None:
    """A score for each label that was asked for."""
    scores = ClassifyAnswer.model_validate_json(output).scores
    assert {score.label for score in scores} == {"lights", "climate", "music"}


def check_problem(output: str) -> None:
    """The problem, with its code."""
    assert Problem.model_validate_json(output).code == "invalid_text"


def check_lines(*patterns: str) -> Callable[[str], None]:
    """A line for each pattern, and nothing else."""

    def check(output: str) -> None:
        lines = output.splitlines()
        for line, pattern in zip(lines, patterns, strict=True):
            assert re.fullmatch(pattern, line)

    return check


def check_three_times_the_same(output: str) -> None:
    """One answer, however the text came."""
    scores = [ClassifyAnswer.model_validate_json(line).scores for line in output.splitlines()]
    assert len(scores) == 3
    assert scores[0] == scores[1] == scores[2]


def check_rows(output: str) -> None:
    """The second row failed, the others did not, and each kept its number."""
    code, *lines = output.splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert code == "exit code 1"
    assert [sorted(row) for row in rows] == [["answer", "id"], ["error", "id"], ["answer", "id"]]
    assert [row["id"] for row in rows] == [1, 2, 3]


def check_house(output: str) -> None:
    """The file's own intents were scored."""
    answer = ClassifyAnswer.model_validate_json(output)
    assert answer.label_set.name == "house"
    assert answer.raw_label == "LIGHTS"


def check_hub_elements(output: str) -> None:
    """The list shape of the Hugging Face format."""
    elements = json.loads(output)
    assert {element["label"] for element in elements} == {"lights", "climate"}


def check_tei(output: str) -> None:
    """A list of scores for each text of the batch."""
    first, second = json.loads(output)
    assert {element["label"] for element in first} == INTENTS
    assert {element["label"] for element in second} == INTENTS


def check_metrics(output: str) -> None:
    """Samples of ours in the Prometheus format."""
    assert re.search(r"^intentd_requests_total\{.*\} \d", output, re.MULTILINE)


def check_health(output: str) -> None:
    """Facts of the daemon, then the checks, none of which failed."""
    assert re.search(r"^ready +True$", output, re.MULTILINE)
    assert re.search(r"^ok +self-test ", output, re.MULTILINE)
    assert re.search(r"^ok +daemon ", output, re.MULTILINE)


NUMBER = r"\d\.\d+(e-\d+)?"
CHECKS: dict[str, Callable[[str], None]] = {
    "One text": check_one,
    "A request and what it is about": check_top_two,
    "Several texts": check_batch,
    "Your own labels": check_own_labels,
    "When something is wrong": check_problem,
    "Act on the answer": check_lines("the text asks to: SEARCH_ONLY"),
    "Wait until the daemon answers": check_lines("ready"),
    "A text from anywhere": check_three_times_the_same,
    "A file of rows": check_rows,
    "Your own intents": check_house,
    "The typed client": check_lines(f"SEARCH_ONLY {NUMBER}", "SUMMARIZE", "REASON"),
    "The typed client, with asyncio": check_lines("SEARCH_ONLY: .*", "SUMMARIZE: .*", "REASON: .*"),
    "Errors worth catching": check_lines("SEARCH_ONLY", r"refused \(invalid_text\): text: .*"),
    "Without installing anything": check_lines("SEARCH_ONLY"),
    HUB: check_lines(f"climate {NUMBER}", f"lights {NUMBER}", "SEARCH_ONLY"),
    "http over socketPath": check_lines("SEARCH_ONLY"),
    "Hugging Face inference": check_hub_elements,
    "text-embeddings-inference": check_tei,
    "Prometheus": check_metrics,
    "Status and health": check_health,
}


def test_every_example_is_checked() -> None:
    """A block that nobody looks at rots; so does a check without a block."""
    assert sorted(example.title for example in EXAMPLES) == sorted(CHECKS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_example_works_as_it_stands(example: Example, tmp_path: Path, daemon: Daemon) -> None:
    """It ends well, prints what the page promises, and nothing on stderr."""
    CHECKS[example.title](run(example, tmp_path, daemon))

"""The command `intentd`, as it is used: as a process, with its streams and exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import cli
from edge.commands.input import Item, read_text
from edge.commands.stream import DAEMON_WORKERS, WAITING_ROWS, answer_all
from edge.errors import DaemonUnreachable, EdgeError, InvalidText, Overloaded
from edge.settings import Settings
from edge.wire import (
    ClassifyAnswer,
    IntentsAnswer,
    LabelSetInfo,
    ModelAnswer,
    ModelInfo,
    Reason,
    Score,
    Timings,
    TokenInfo,
)
from tests.commands import INTENTD, intentd
from tests.daemons import Daemon, clean_environment, running_daemon, short_directory
from tests.reference import commands

TEXT = "find the invoice from May"
SECRET = "a sentence that no log may ever hold"
HEAVY = {"onnxruntime", "tokenizers", "fastapi", "numpy", "torch", "pydantic", "httpx2", "uvicorn"}
DEADLINE_S = 60.0
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with every default."""
    with running_daemon() as started:
        yield started


@pytest.fixture
def environment(daemon: Daemon) -> dict[str, str]:
    """What a shell has in which the daemon's socket is known."""
    return clean_environment(daemon.socket.parent) | {"INTENTD_SOCKET": str(daemon.socket)}


@pytest.fixture
def no_daemon() -> Iterator[dict[str, str]]:
    """What a shell has where no daemon runs."""
    with short_directory() as directory:
        yield clean_environment(directory) | {"INTENTD_SOCKET": str(directory / "none.sock")}


def rows_of(output: str) -> list[Any]:
    """The lines of JSON Lines."""
    return [json.loads(line) for line in output.splitlines()]


def an_answer(label: str = "A") -> ClassifyAnswer:
    """An answer that no model gave."""
    return ClassifyAnswer(
        id="0",
        label=label,
        labels=[label],
        raw_label=label,
        reason=Reason.ABOVE_THRESHOLD,
        scores=[Score(label=label, score=1.0)],
        model=ModelInfo(name="m", version="1", phase="A", digest="d"),
        label_set=LabelSetInfo(name="s", version="1", digest="d"),
        tokens=TokenInfo(used=1, truncated=False),
        timings=Timings(queue_ms=0, tokenize_ms=0, infer_ms=0),
    )


def test_help_imports_nothing_heavy() -> None:
    """`intentd --help` is instant because the model's libraries load in the commands alone."""
    code = "import sys, edge.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert HEAVY & set(found.stdout.split()) == set()


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_help_has_an_example_and_explains_each_option(name: str, command: Any) -> None:
    """A person learns a command from its help alone."""
    assert re.match(r"Example: (sudo (/\S+/)?)?intentd ", command.epilog)
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{name}: {parameter.name} has no help"


def test_every_setting_is_an_option_of_serve_with_its_default() -> None:
    """What a file can say, the command line can say."""
    serve = dict(commands())["intentd serve"]
    helps = {parameter.name: parameter.help for parameter in serve.params}

    assert set(Settings.__slots__) < {name for name, text in helps.items() if "[default: " in text}
    assert "[default: 64]" in helps["queue_size"]


def test_version_is_printed(no_daemon: dict[str, str]) -> None:
    """Nothing else goes to stdout."""
    assert re.fullmatch(r"intentd \d+\.\d+\.\d+\n", intentd(no_daemon, "--version").stdout)


def test_the_line_to_try_works_when_pasted(daemon: Daemon) -> None:
    """`serve` prints a socket and a curl line; a shell runs that line as it stands."""
    ready, line = daemon.stdout.splitlines()

    done = subprocess.run(
        ["sh", "-c", line.removeprefix("try: ")], capture_output=True, text=True, check=True
    )

    assert str(daemon.socket) in ready
    assert json.loads(done.stdout)["raw_label"] == "SEARCH_ONLY"


def test_people_get_bars_and_programs_get_json(environment: dict[str, str]) -> None:
    """The same answer, twice."""
    shown = intentd(environment, "classify", TEXT)
    answer = ClassifyAnswer.model_validate_json(
        intentd(environment, "classify", "--json", TEXT).stdout
    )

    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].endswith(str(answer.label or answer.raw_label))
    for score in answer.scores:
        assert re.search(
            rf"{score.label} +{score.score:.3f} *([█-▏]|$)", shown.stdout, re.MULTILINE
        )
    assert ESCAPE not in shown.stdout


def test_local_gives_the_daemons_scores_without_a_daemon(
    environment: dict[str, str], no_daemon: dict[str, str]
) -> None:
    """To the last bit: it is the same code."""
    ours = intentd(no_daemon, "classify", "--local", "--json", TEXT)
    theirs = intentd(environment, "classify", "--json", TEXT)

    assert json.loads(ours.stdout)["scores"] == json.loads(theirs.stdout)["scores"]


def test_a_text_may_come_from_anywhere(environment: dict[str, str], tmp_path: Path) -> None:
    """Argument, stdin, a dash, and a file that starts as some editors start it: one answer."""
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert read_text(tmp_path / "t.txt") == TEXT
    expected = json.loads(intentd(environment, "classify", "--json", TEXT).stdout)["scores"]

    for args, stdin in (
        ((), TEXT),
        (("-",), TEXT),
        (("--file", str(tmp_path / "t.txt")), ""),
        (("--file", "-"), TEXT),
    ):
        done = intentd(environment, "classify", "--json", *args, stdin=stdin)
        assert json.loads(done.stdout)["scores"] == expected


def test_options_shape_the_answer(environment: dict[str, str], tmp_path: Path) -> None:
    """Labels by both ways, independent scores, a cut list, a lowered window, and a content."""
    (tmp_path / "c.txt").write_text("They met on Tuesday.")
    args = ["--label", "a, b", "--labels", "cats, dogs", "--multi-label", "--top-k", "2"]
    args += ["--max-tokens", "16", "--content", str(tmp_path / "c.txt"), "--deadline-ms", "60000"]

    done = intentd(environment, "classify", "--json", *args, "please " * 50 + TEXT)

    answer = json.loads(done.stdout)
    assert len(answer["scores"]) == 2
    assert {score["label"] for score in answer["scores"]} < {"a, b", "cats", "dogs"}
    assert answer["tokens"]["truncated"]


def test_several_texts_give_a_line_each(environment: dict[str, str]) -> None:
    """In their order, with the text beside the label; one that fails does not stop the others."""
    done = intentd(environment, "classify", TEXT, "", "sum this article up")

    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert [line.endswith(end) for line, end in zip(lines, (TEXT, "up"), strict=True)] == [True] * 2
    assert done.stderr.startswith("error: text: expected a text")


def test_lines_are_texts_and_blank_ones_are_skipped(environment: dict[str, str]) -> None:
    """A file of requests, one a line; the line that is not UTF-8 is named by its number."""
    done = intentd(
        environment,
        "classify",
        "--lines",
        "-",
        "--json",
        stdin=TEXT.encode() + b"\r\n\n\xff\xfe\nwhy did the backup fail?",
    )

    first, second, third = rows_of(done.stdout)
    assert done.returncode == 1
    assert second["error"]["code"] == "invalid_text"
    assert second["error"]["detail"].startswith("line 3: ")
    assert (first["raw_label"], third["raw_label"]) == ("SEARCH_ONLY", "REASON")


def test_a_bad_row_does_not_stop_a_run(environment: dict[str, str], tmp_path: Path) -> None:
    """Each bad row becomes an error in its place; other fields come back; the exit code tells."""
    source = tmp_path / "in.jsonl"
    good = {"id": 7, "text": TEXT, "content": "an archive", "tags": ["ü"]}
    bad = ["{", "[1]", '{"id": 8}', '{"text": 3}', '{"text": "x", "content": 1}', '{"text": ""}']
    bad += ['{"text": "x", "n": NaN}', "[" * 100_000, "\ufffd"]
    source.write_text("\n".join([*bad, "", json.dumps(good)]), "utf-8")

    done = intentd(environment, "classify", "--jsonl", str(source))

    rows = rows_of(done.stdout)
    assert done.returncode == 1
    assert [row["error"]["code"] for row in rows[:-1]] == (
        ["malformed_body"] * 2 + ["invalid_value"] * 3 + ["invalid_text"] + ["malformed_body"] * 3
    )
    assert rows[2] == {"id": 8} | {"error": rows[2]["error"]}
    assert ClassifyAnswer.model_validate(rows[-1]["answer"]).raw_label == "SEARCH_ONLY"
    assert rows[-1] | {"answer": None} == {"id": 7, "tags": ["ü"], "answer": None}
    assert done.stderr == ""


def test_a_long_run_keeps_the_order(environment: dict[str, str]) -> None:
    """Several requests are under way at once; answers stand where their rows stood."""
    stdin = "\n".join(json.dumps({"text": f"{TEXT} {n}", "n": n}) for n in range(100))

    done = intentd(environment, "classify", "--jsonl", "-", "--top-k", "1", stdin=stdin)

    assert done.returncode == 0
    assert [row["n"] for row in rows_of(done.stdout)] == list(range(100))


def test_a_row_is_answered_before_the_next_is_sent(environment: dict[str, str]) -> None:
    """A program at the other end of the pipe may wait for each answer."""
    with subprocess.Popen(
        [*INTENTD, "classify", "--jsonl", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(json.dumps({"text": TEXT, "n": number}).encode() + b"\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], DEADLINE_S)[0]
            assert json.loads(process.stdout.readline())["n"] == number
        process.stdin.close()
    assert process.returncode == 0


def test_rows_are_not_read_far_ahead() -> None:
    """A file larger than memory is fine: few rows are held at any moment."""
    read, held, lock = 0, [], threading.Lock()
    done = 0

    def items() -> Iterator[Item]:
        nonlocal read
        for _ in range(200):
            read += 1
            yield Item("x")

    def write(_item: Item, _outcome: ClassifyAnswer | EdgeError) -> None:
        nonlocal done
        with lock:
            done += 1
            held.append(read - done)

    assert answer_all(items(), lambda item: an_answer(), write, DAEMON_WORKERS) == 0
    assert done == 200
    assert max(held) <= WAITING_ROWS + 3


def test_an_overloaded_daemon_is_asked_again() -> None:
    """A long run does not lose a row because another client was busy."""
    busy = Overloaded("full")
    busy.retry_after_s = 0
    outcomes: list[ClassifyAnswer | EdgeError] = [busy, busy, an_answer()]

    def classify(_item: Item) -> ClassifyAnswer:
        outcome = outcomes.pop(0)
        if isinstance(outcome, EdgeError):
            raise outcome
        return outcome

    written: list[ClassifyAnswer | EdgeError] = []
    failures = answer_all([Item("x")], classify, lambda _, outcome: written.append(outcome), 1)

    assert (failures, len(written)) == (0, 1)


@pytest.mark.parametrize("error", [DaemonUnreachable("gone"), BrokenPipeError()])
def test_a_run_ends_when_nobody_answers_or_reads(error: Exception) -> None:
    """It neither hangs nor goes through the rest of an endless file."""
    read = 0

    def items() -> Iterator[Item]:
        nonlocal read
        while True:
            read += 1
            yield Item("x")

    def classify(_item: Item) -> ClassifyAnswer:
        if isinstance(error, DaemonUnreachable):
            raise error
        return an_answer()

    def write(_item: Item, _outcome: ClassifyAnswer | EdgeError) -> None:
        raise error

    with pytest.raises(type(error)):
        answer_all(items(), classify, write, 2)

    assert read < 1000


def test_a_closed_pipe_is_quiet(environment: dict[str, str]) -> None:
    """`| head -1` is no reason for a traceback."""
    command = f"yes '{TEXT}' | {' '.join(INTENTD)} classify --lines - | head -1"

    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )

    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_full_disk_is_told_and_is_no_bug(environment: dict[str, str]) -> None:
    """The error names what the operating system said."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*INTENTD, "config", "show"], env=environment, stdout=full, stderr=subprocess.PIPE
        )

    assert done.returncode == 1
    assert b"No space left" in done.stderr


def on_terminal(command: str, env: dict[str, str]) -> tuple[str, int]:
    """Run a shell command with a terminal for all that it does not redirect."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", command], env=env, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    shown = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # Linux says so when the last writer has closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(parent)
    return shown.decode("utf-8", "replace"), process.wait(DEADLINE_S)


def test_a_person_sees_progress_while_the_rows_go_to_a_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The bar is on stderr, and counts to the last row; the file holds rows only."""
    (tmp_path / "in").write_text("find it\n" * 30)
    command = f"{' '.join(INTENTD)} classify --lines in > out"

    shown, status = on_terminal(f"cd {tmp_path} && {command}", environment | {"TERM": "xterm"})

    assert status == 0
    assert "30 texts" in shown
    assert (tmp_path / "out").read_text().count("\n") == 30


def test_no_color_is_respected(environment: dict[str, str]) -> None:
    """See https://no-color.org: no colour codes, on a terminal too."""
    command = f"{' '.join(INTENTD)} classify '{TEXT}'"

    shown, status = on_terminal(command, environment | {"NO_COLOR": "1", "TERM": "xterm-256color"})

    assert status == 0
    assert "SEARCH_ONLY" in shown
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9])[0-9;]*m", shown)


def test_what_users_wrote_cannot_command_the_terminal(environment: dict[str, str]) -> None:
    """Neither escape sequences nor markup in labels and texts are obeyed."""
    label, text = f"{ESCAPE}[31mred{ESCAPE}]0;title\x07", f"[bold]find{ESCAPE}[2J it[/bold]"

    one = intentd(environment, "classify", "--label", label, "--label", "[b]x[/b]", text)
    many = intentd(environment, "classify", "--label", label, "--label", "[b]x[/b]", text, text)

    for shown in (one.stdout, many.stdout):
        assert ESCAPE not in shown
    assert re.search(r"^\[b\]x\[/b\] +\d", one.stdout, re.MULTILINE)
    assert "[bold]find [2J it[/bold]" in many.stdout


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("--nonsense",), 2, "No such option"),
        (("classify", "a", "--lines", "b"), 2, "expected one of"),
        (("classify", "--file", "/nowhere/x"), 2, "/nowhere/x: expected a file"),
        (("classify", "--local", ""), 2, "empty string"),
        (("serve", "--bundle", "/nowhere"), 3, "no manifest.json"),
        (("serve", "--threads", "many"), 2, "--threads"),
        (("serve", "--queue-size", "0"), 3, "queue_size: expected 1 to 65536"),
        (("config", "show", "--config", "/nowhere"), 3, "expected a config file"),
        (("classify", "x"), 4, "--local answers without a daemon"),
        (("status",), 4, "intentd serve --socket"),
    ],
)
def test_exit_codes_tell_what_kind_of_failure_it_was(
    no_daemon: dict[str, str], args: tuple[str, ...], status: int, words: str
) -> None:
    """Each failure: its code, one message on stderr, nothing on stdout."""
    done = intentd(no_daemon, *args)

    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bug_is_told_without_the_users_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 70, kind and place; the whole traceback only for who asks for it."""

    def crash(**_: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(cli, "app", crash)
    with pytest.raises(SystemExit) as quiet:
        cli.main()
    told = capsys.readouterr().err
    monkeypatch.setenv("INTENTD_DEBUG", "1")
    with pytest.raises(SystemExit) as loud:
        cli.main()

    assert (quiet.value.code, loud.value.code) == (70, 70)
    assert SECRET not in told
    assert re.search(r"RuntimeError at test_cli\.py:\d+", told)
    assert "Traceback" in capsys.readouterr().err


def test_debug_is_no_unknown_setting(no_daemon: dict[str, str]) -> None:
    """The variable for tracebacks does not keep a command from starting."""
    assert intentd(no_daemon | {"INTENTD_DEBUG": "1"}, "config", "show").returncode == 0


def test_ctrl_c_exits_130(environment: dict[str, str]) -> None:
    """While it waits for a text, and without a word."""
    with subprocess.Popen(
        [*INTENTD, "classify", "--lines", "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"find it\n")
        process.stdin.flush()
        assert process.stdout.readline()  # it is in the loop
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130
    assert errors == b""


def test_status_counts_what_happened(no_daemon: dict[str, str]) -> None:
    """Requests, refusals and texts since the start; JSON and lines say the same."""
    with running_daemon() as daemon:
        env = no_daemon | {"INTENTD_SOCKET": str(daemon.socket)}
        intentd(env, "classify", TEXT, "", TEXT)
        done = intentd(env, "status", "--json")
        shown = intentd(env, "status")

    status = json.loads(done.stdout)
    assert (done.returncode, shown.returncode) == (0, 0)
    assert status["ready"]
    assert (status["requests"], status["failed_requests"], status["texts"]) == (3, 1, 2)
    assert status["rss_mib"] > 10
    assert 0 <= status["uptime_s"] < 600
    assert [line.split()[0] for line in shown.stdout.splitlines()] == list(status)


def test_intents_and_model_show_what_is_loaded(environment: dict[str, str]) -> None:
    """For people a table; for programs the daemon's own JSON."""
    intents = IntentsAnswer.model_validate_json(intentd(environment, "intents", "--json").stdout)
    model = ModelAnswer.model_validate_json(intentd(environment, "model", "--json").stdout)

    table = intentd(environment, "intents").stdout
    facts = intentd(environment, "model").stdout

    assert all(intent.name in table and intent.description in table for intent in intents.intents)
    assert model.model.digest in facts
    assert model.runtime in facts


def test_config_show_names_the_origin_of_each_value(
    no_daemon: dict[str, str], tmp_path: Path
) -> None:
    """Default, file and environment."""
    (tmp_path / "c.toml").write_text("max_texts = 12\nqueue_size = 3\n")
    env = no_daemon | {"INTENTD_QUEUE_SIZE": "5"}

    done = intentd(env, "config", "show", "--json", "--config", str(tmp_path / "c.toml"))

    found = json.loads(done.stdout)
    assert set(found) == set(Settings.__slots__)
    assert found["queue_size"] == {"value": 5, "origin": "environment"}
    assert found["max_texts"] == {"value": 12, "origin": str(tmp_path / "c.toml")}
    assert found["arena"] == {"value": False, "origin": "default"}


# Typer asks the process tree which shell it serves, and under make or cron there is none it knows.
NAMED_SHELL = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "true"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_offered(no_daemon: dict[str, str], shell: str) -> None:
    """To be sourced, or installed with --install-completion."""
    done = intentd(no_daemon | NAMED_SHELL, "--show-completion", shell)

    assert done.returncode == 0
    assert "_INTENTD_COMPLETE" in done.stdout


def test_completion_can_be_installed(no_daemon: dict[str, str], tmp_path: Path) -> None:
    """Into the home directory, for the shell that is named."""
    env = no_daemon | NAMED_SHELL | {"HOME": str(tmp_path)}
    done = intentd(env, "--install-completion", "bash")

    assert done.returncode == 0
    assert "intentd" in (tmp_path / ".bashrc").read_text()
    assert any("_INTENTD_COMPLETE" in file.read_text() for file in tmp_path.rglob("intentd.sh"))


def test_completion_completes(no_daemon: dict[str, str]) -> None:
    """What the shell's script calls answers with commands."""
    env = no_daemon | {
        "_INTENTD_COMPLETE": "complete_bash",
        "COMP_WORDS": "intentd inten",
        "COMP_CWORD": "1",
    }

    assert intentd(env).stdout.split() == ["intents"]


def test_the_daemons_log_never_holds_a_text(no_daemon: dict[str, str]) -> None:
    """Not even at the most talkative level, nor when the text is refused."""
    with running_daemon("--log-level", "debug") as daemon:
        env = no_daemon | {"INTENTD_SOCKET": str(daemon.socket)}
        intentd(env, "classify", SECRET, "--label", SECRET, "--label", "x")
        intentd(env, "classify", SECRET, "--label", SECRET, "--label", SECRET)
        intentd(env, "classify", SECRET, "--max-tokens", "0")
        daemon.stop()

        assert SECRET not in daemon.log
        assert "stopping" in daemon.log


def test_a_second_daemon_is_told_who_holds_the_socket(daemon: Daemon) -> None:
    """Exit 3: starting again would not help."""
    env = clean_environment(daemon.socket.parent)

    done = intentd(env, "serve", "--socket", str(daemon.socket))

    assert done.returncode == 3
    assert f"process {daemon.process.pid} already listens" in done.stderr


def test_a_text_read_from_the_terminal_is_asked_for(environment: dict[str, str]) -> None:
    """A person who forgot the text is not left before a silent cursor."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*INTENTD, "classify", "--json"],
        env=environment,
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(child)
        assert process.stderr is not None
        assert b"Ctrl-D" in process.stderr.readline()
        os.write(parent, TEXT.encode() + b"\n\x04")
        output, _ = process.communicate(timeout=DEADLINE_S)
    os.close(parent)

    assert json.loads(output)["raw_label"] == "SEARCH_ONLY"


def test_an_error_row_keeps_its_class() -> None:
    """Rows that could not be read count as failed without being sent."""
    problem = InvalidText("line 1: expected text in UTF-8")

    def classify(_item: Item) -> ClassifyAnswer:
        raise AssertionError("sent")

    written: list[ClassifyAnswer | EdgeError] = []
    item = Item("", problem=problem)

    assert answer_all([item], classify, lambda _, outcome: written.append(outcome), 1) == 1
    assert written == [problem]

"""`intentd correct`, as it is used: what it takes, what it says, and what it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.client import Client
from edge.wire import CorrectionAnswer
from tests.commands import intentd
from tests.daemons import Daemon, clean_environment, running_daemon, short_directory

TEXT = "who owes me money?"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with every default; tests use texts of their own."""
    with running_daemon() as started:
        yield started


@pytest.fixture
def environment(daemon: Daemon) -> dict[str, str]:
    """What a shell has in which the daemon's sockets are known."""
    return clean_environment(daemon.socket.parent) | {"INTENTD_SOCKET": str(daemon.socket)}


def corrected(env: dict[str, str], *args: str, stdin: str = "") -> dict[str, Any]:
    """What `correct --json` prints."""
    done = intentd(env, "correct", "--json", *args, stdin=stdin)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_correction_counts_at_once(environment: dict[str, str]) -> None:
    """The same text is answered with it, and told why; the model's word stays visible."""
    text = "is a correction of any use?"
    before = json.loads(intentd(environment, "classify", "--json", text).stdout)

    done = intentd(environment, "correct", text, "EXTRACT")
    after = json.loads(intentd(environment, "classify", "--json", f"  {text}\n").stdout)
    shown = intentd(environment, "classify", text).stdout

    verdict, identity, count = done.stdout.splitlines()
    assert verdict.startswith("corrected: EXTRACT")
    assert identity.startswith("id 0")
    assert count.split()[:1] + count.split()[2:4] == ["EXTRACT", "of", "500"]
    assert (after["label"], after["reason"]) == ("EXTRACT", "corrected")
    assert after["raw_label"] == before["raw_label"]
    assert shown.startswith(f"EXTRACT (corrected; the model: {before['raw_label']})\n")


def test_none_of_these_counts_at_once(environment: dict[str, str]) -> None:
    """A text that fits no label is answered with none."""
    text = "find the invoice from June"
    done = intentd(environment, "correct", "--none", text)
    shown = intentd(environment, "classify", text).stdout

    assert done.stdout.startswith("corrected: none of these")
    assert shown.startswith("none of these (corrected; the model: ")


def test_a_text_may_come_from_anywhere(environment: dict[str, str], tmp_path: Path) -> None:
    """Argument, stdin, a dash, a file; all are the same text with the same key."""
    (tmp_path / "t").write_text(TEXT)
    key = ("--key", "anywhere", "REASON")

    first = corrected(environment, "--key", "anywhere", TEXT, "REASON")

    assert corrected(environment, *key, stdin=TEXT) == first
    assert corrected(environment, "--key", "anywhere", "-", "REASON", stdin=TEXT) == first
    assert corrected(environment, "--file", str(tmp_path / "t"), *key) == first


def test_a_key_for_something_else_is_refused(environment: dict[str, str]) -> None:
    """A repetition is harmless, a mix-up is told."""
    corrected(environment, "--key", "once", "one text", "REASON")

    done = intentd(environment, "correct", "--key", "once", "another text", "REASON")

    assert done.returncode == 2
    assert "once" in done.stderr or "key" in done.stderr


def test_an_answer_is_corrected_and_confirmed_by_its_id(
    daemon: Daemon, environment: dict[str, str]
) -> None:
    """Without its text, which the daemon has."""
    with Client(daemon.socket) as client:
        wrong = client.classify("does the invoice match the offer?")
        right = client.classify("why did the price go up?")

    correction = corrected(environment, "--id", wrong.id, "EXTRACT")
    confirmation = corrected(environment, "--id", right.id, "--confirm")
    shown = intentd(environment, "correct", "--id", right.id, "--confirm").stdout

    assert (correction["kind"], correction["predicted_label"]) == ("correction", wrong.label)
    assert (confirmation["kind"], confirmation["label"]) == ("confirmation", right.label)
    assert shown.startswith(f"confirmed: {right.label or 'none of these'}\n")


def test_programs_get_the_daemons_answer_and_the_count(environment: dict[str, str]) -> None:
    """`examples` is how many the label has now; unknown without admin.sock, not zero."""
    first = corrected(environment, "a text to count", "SUMMARIZE")
    second = corrected(environment, "another text to count", "SUMMARIZE")
    blind = corrected(
        environment | {"INTENTD_ADMIN_SOCKET": "/nowhere/admin.sock"}, "a third", "SUMMARIZE"
    )

    assert CorrectionAnswer.model_validate(first).label == "SUMMARIZE"
    assert second["examples"] == first["examples"] + 1
    assert blind["examples"] is None


def test_without_admin_sock_it_says_who_knows_the_count(environment: dict[str, str]) -> None:
    """A note, and exit 0: the correction itself is stored."""
    env = environment | {"INTENTD_ADMIN_SOCKET": "/nowhere/admin.sock"}

    done = intentd(env, "correct", "a text of a plain user", "REASON")

    assert done.returncode == 0
    assert "/nowhere/admin.sock" in done.stderr
    assert "of 500" not in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "expected [TEXT] LABEL, found 0 words"),
        (("find", "the", "REASON"), "put quotes around the text"),
        (("--none", "--confirm"), "expected one of --none and --confirm"),
        (("--confirm", TEXT), "--confirm goes with --id"),
        (("--none", "a", "b"), "found 2 words"),
        (("--file", "x", TEXT, "REASON"), "expected one of TEXT and --file"),
        ((TEXT, "NO_SUCH_LABEL"), "SUMMARIZE"),
        (("", "REASON"), "empty string"),
        (("--id", "01970000-0000-7000-8000-000000000000", "REASON"), "text"),
    ],
)
def test_what_cannot_be_stored_is_explained(
    environment: dict[str, str], args: tuple[str, ...], words: str
) -> None:
    """Exit 2; nothing on stdout that could be taken for success."""
    done = intentd(environment, "correct", *args)

    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_nobody_there_exits_4() -> None:
    """As every command that asks the daemon."""
    with short_directory() as directory:
        env = clean_environment(directory) | {"INTENTD_SOCKET": str(directory / "none.sock")}

        assert intentd(env, "correct", TEXT, "REASON").returncode == 4

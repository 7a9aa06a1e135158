"""`intentd corrections` and `intentd stats`, as administrators use them."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.admin_client import AdminClient
from edge.client import Client
from edge.commands import admin as cli_admin
from edge.commands import corrections as cli_corrections
from edge.commands.corrections import _written_whole
from edge.errors import DaemonUnreachable
from edge.settings import Settings
from edge.wire import CorrectionDetail, StatsAnswer
from tests.commands import INTENTD, intentd
from tests.daemons import Daemon, clean_environment, running_daemon, short_directory
from tests.terminals import on_terminal

SECRET = "the alarm code is under the mat"
ROWS = (
    ("who owes me money?", "EXTRACT"),
    ("the gist, please", "SUMMARIZE"),
    ("\x1b[31mred\nalert", "REASON"),
    (SECRET, None),
)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon with four corrections."""
    with running_daemon() as started, Client(started.socket) as client:
        for text, label in ROWS:
            client.correct(label, text=text)
        yield started


@pytest.fixture
def environment(daemon: Daemon) -> dict[str, str]:
    """What a shell has in which the daemon's sockets are known."""
    return clean_environment(daemon.socket.parent) | {"INTENTD_SOCKET": str(daemon.socket)}


def listed(env: dict[str, str], *args: str) -> list[CorrectionDetail]:
    """What `corrections list --json` prints."""
    lines = intentd(env, "corrections", "list", "--json", *args).stdout.splitlines()
    return [CorrectionDetail.model_validate_json(line) for line in lines]


def test_the_list_shows_the_newest_in_the_order_they_were_made(
    environment: dict[str, str],
) -> None:
    """All for programs, or only some by label, kind and number; for people one line each."""
    assert [(row.text, row.label) for row in listed(environment, "--limit", "0")] == list(ROWS)
    assert [row.text for row in listed(environment, "--limit", "1")] == [SECRET]
    assert [row.label for row in listed(environment, "--label", "EXTRACT")] == ["EXTRACT"]
    assert listed(environment, "--kind", "confirmation") == []

    lines = intentd(environment, "corrections", "list").stdout.splitlines()
    assert len(lines) == len(ROWS)
    assert lines[2].endswith("[31mred alert")
    assert all(line.isprintable() for line in lines)
    assert "none of these" in lines[3]


def test_show_tells_all_of_one(environment: dict[str, str]) -> None:
    """For people without the fields that are empty."""
    first = listed(environment)[0]

    shown = intentd(environment, "corrections", "show", first.id)
    told = intentd(environment, "corrections", "show", "--json", first.id)

    assert CorrectionDetail.model_validate_json(told.stdout) == first
    assert "who owes me money?" in shown.stdout
    assert "sent_utc" not in shown.stdout


def test_export_writes_a_private_file_that_holds_everything(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mode 0600 whatever the umask, also over a file that was open to others."""
    target = tmp_path / "all.jsonl"
    target.write_text("old")
    target.chmod(0o666)

    done = intentd(environment, "corrections", "export", "--output", str(target))
    stdout = intentd(environment, "corrections", "export").stdout

    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(row["text"], row["label"]) for row in rows] == list(ROWS)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (done.stdout, done.returncode) == ("", 0)
    assert f"4 corrections in {target}" in done.stderr
    assert stdout == target.read_text()


def test_a_failed_export_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """No half of a file under its name, and no scrap beside it."""
    target = tmp_path / "all.jsonl"
    target.write_text("old")

    def fail() -> None:
        with _written_whole(target) as stream:
            stream.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_pages_are_read_one_after_the_other(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of any size is listed and exported in bounded memory."""
    monkeypatch.setattr(cli_admin, "PAGE", 1)

    with AdminClient(daemon.socket.with_name("admin.sock")) as client:
        rows = cli_admin.corrections(client)
        assert next(rows).text == ROWS[0][0]
        assert [row.text for row in rows] == [text for text, _ in ROWS[1:]]


def test_erase_by_id_is_final(environment: dict[str, str]) -> None:
    """The text is nowhere any more; its fate is still known; a second time there is nothing."""
    first = listed(environment)[0]

    done = intentd(environment, "corrections", "erase", "--yes", first.id)
    fate = intentd(environment, "corrections", "show", first.id)
    again = intentd(environment, "corrections", "erase", "--yes", first.id, "unknown")

    assert (done.returncode, done.stdout) == (0, "erased: 1 correction\n")
    assert first.id not in {row.id for row in listed(environment)}
    assert "erased" in fate.stdout
    assert "who owes" not in fate.stdout
    assert (again.returncode, again.stdout) == (1, "erased: 0 corrections\n")
    assert "no correction of this id" in again.stderr


def test_erase_by_text_takes_the_predictions_too(
    daemon: Daemon, environment: dict[str, str]
) -> None:
    """The text comes from stdin; what was asked with it is not offered for review any more."""
    with Client(daemon.socket) as client:
        client.classify(SECRET)

    done = intentd(environment, "corrections", "erase", "--text", "--yes", "--json", stdin=SECRET)
    after = intentd(environment, "classify", "--json", SECRET).stdout

    assert len(json.loads(done.stdout)["erased"]) == 1
    assert SECRET not in {row.text for row in listed(environment)}
    assert json.loads(after)["reason"] != "corrected"


def test_erase_asks_on_the_terminal(environment: dict[str, str]) -> None:
    """Anything but the word itself is a no; stdin may be the text."""
    command = f"printf '{SECRET}' | {' '.join(INTENTD)} corrections erase --text"
    for typed, status in (("y\n", 1), ("erase\n", 0)):
        with on_terminal(["sh", "-c", command], environment) as person:
            person.see("Type erase to go on: ")
            person.type(typed)
            assert person.wait() == status
        assert (SECRET in {row.text for row in listed(environment)}) == bool(status)


def test_erase_without_anybody_to_ask_needs_yes(environment: dict[str, str]) -> None:
    """A script must say that it means it."""
    one = listed(environment)[0].id

    done = subprocess.run(
        [*INTENTD, "corrections", "erase", one],
        env=environment,
        capture_output=True,
        start_new_session=True,  # no terminal of its own
        text=True,
    )

    assert done.returncode == 2
    assert "--yes erases without asking" in done.stderr
    assert one in {row.id for row in listed(environment)}


@pytest.mark.parametrize("args", [("x", "--text"), ()])
def test_erase_wants_ids_or_a_text(environment: dict[str, str], args: tuple[str, ...]) -> None:
    """Not both, and not neither."""
    done = intentd(environment, "corrections", "erase", "--yes", *args)

    assert done.returncode == 2
    assert "either IDs or --text" in done.stderr


def test_stats_are_bars_for_people_and_json_for_programs(
    daemon: Daemon, environment: dict[str, str]
) -> None:
    """Labels without an example count too; agreement is shown by day."""
    with Client(daemon.socket) as client:
        client.confirm(client.classify("why is the sky blue?").id)

    told = StatsAnswer.model_validate_json(intentd(environment, "stats", "--json").stdout)
    shown = intentd(environment, "stats").stdout

    counts = {row.label: row.corrections + row.confirmations for row in told.per_label}
    assert (counts["EXTRACT"], counts[None], told.total) == (1, 1, 5)
    assert re.search(r"^EXTRACT +1 of 500  ▏$", shown, re.MULTILINE)
    assert re.search(r"^SEARCH_ONLY +0 of 500$", shown, re.MULTILINE)
    assert re.search(r"^none of these +1 of 500", shown, re.MULTILINE)
    assert re.search(r"^20\d\d-\d\d-\d\d  100% of 1  █{24}$", shown, re.MULTILINE)
    assert re.search(r"^waiting for sync +\d", shown, re.MULTILINE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_is_told_the_group(daemon: Daemon, environment: dict[str, str]) -> None:
    """The message names the socket, the group, and what to do about it."""
    socket = daemon.socket.with_name("admin.sock")
    socket.parent.chmod(0o755)

    why = explained_as_nobody(socket)

    assert re.match(rf"{socket}: expected a member of group \w+, found your user \(\w+\)", why)
    assert "usermod -aG" in why


def explained_as_nobody(socket: Path) -> str:
    """What a user without rights is told, in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.environ.pop("LOGNAME", None)
        try:
            with cli_admin.admin_client(Settings(admin_socket=socket)) as client:
                client.stats()
        except DaemonUnreachable as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as stream:
        return stream.read()


def test_no_daemon_is_said_as_ever() -> None:
    """Where it is not a matter of permission, the daemon is not there."""
    with short_directory() as directory:
        env = clean_environment(directory) | {"INTENTD_SOCKET": str(directory / "none.sock")}
        done: Any = intentd(env, "corrections", "list")

    assert done.returncode == 4
    assert "nobody answers" in done.stderr


def test_a_text_to_erase_is_never_an_argument() -> None:
    """Other users see the arguments of every process."""
    parameters = {p.name: p for p in _command("erase").params}

    assert parameters["text"].is_flag
    assert parameters["ids"].metavar == "ID"


def _command(name: str) -> Any:
    import typer

    group: Any = typer.main.get_command(cli_corrections.corrections_app)
    return group.commands[name]

"""The review: its queue and its undo against a fake daemon, and all of it on a real terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from edge.client import Client
from edge.commands.keys import Act, Step
from edge.commands.review import BATCH, Review
from edge.errors import DaemonUnreachable, EdgeError, NotFound, StoreUnavailable, UnknownLabel
from edge.wire import CorrectionAnswer, CorrectionDetail, ReviewAnswer, ReviewItem, Score
from tests.commands import INTENTD, intentd
from tests.daemons import Daemon, clean_environment, running_daemon
from tests.terminals import ESCAPES, Person, on_terminal

INTENTS = ["SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY"]
CONFIRM, SKIP, UNDO, NONE = Step(Act.CONFIRM), Step(Act.SKIP), Step(Act.UNDO), Step(Act.NONE)
EXTRACT = Step(Act.LABEL, "EXTRACT")


def an_item(number: int, label: str | None = "REASON") -> ReviewItem:
    """A prediction that waits."""
    return ReviewItem(
        prediction_id=f"p{number}",
        text=f"text {number}",
        content=None,
        label=label,
        raw_label="REASON",
        scores=[Score(label="REASON", score=0.4)],
        labels=INTENTS,
        reason="low_confidence",
        created_utc="2026-11-22T00:00:00Z",
    )


class FakeDaemon:
    """Both sockets: a queue, and the corrections that were made."""

    def __init__(self, waiting: int) -> None:
        """So many predictions wait."""
        self.waiting = [an_item(number) for number in range(waiting)]
        self.stored: dict[str, tuple[str, str | None]] = {}
        self.offered: list[list[str] | None] = []
        self.refusal: EdgeError | None = None
        self.erase_refusal: EdgeError | None = None
        self._made = 0

    def review(self, limit: int) -> ReviewAnswer:
        """The first so many that wait."""
        return ReviewAnswer(items=self.waiting[:limit])

    def correct(self, label: str | None, **options: Any) -> CorrectionAnswer:
        """Store it, and take its prediction out of the queue."""
        if self.refusal is not None:
            raise self.refusal
        self._made += 1
        made = f"c{self._made}"
        self.stored[made] = (options["text"], label)
        self.offered.append(options["labels"])
        self.waiting = [
            item for item in self.waiting if item.prediction_id != options["prediction_id"]
        ]
        return CorrectionAnswer(
            id=made,
            seq=self._made,
            kind="correction",
            label=label,
            predicted_label=None,
            state="durable",
            created_utc="",
        )

    def erase(self, correction_id: str) -> list[str]:
        """Remove it, as if it had never been."""
        if self.erase_refusal is not None:
            raise self.erase_refusal
        del self.stored[correction_id]
        return [correction_id]


def a_review(daemon: FakeDaemon, counts: dict[str | None, int] | None = None) -> Review:
    """A session that has begun."""
    session = Review(daemon, daemon, counts)  # type: ignore[arg-type]
    assert session.current()
    return session


def judge(session: Review, *steps: Step) -> None:
    """Take these steps, each on what is shown then."""
    for step in steps:
        session.current()
        session.take(step)
    session.current()


def test_each_key_stores_what_it_says() -> None:
    """Enter the guess, a label the label, n null; skipping stores nothing."""
    daemon = FakeDaemon(5)

    judge(a_review(daemon), CONFIRM, EXTRACT, SKIP, NONE)

    assert list(daemon.stored.values()) == [
        ("text 0", "REASON"),
        ("text 1", "EXTRACT"),
        ("text 3", None),
    ]


def test_labels_are_named_only_where_they_are_not_the_daemons_own() -> None:
    """Named, the daemon's own would count as another set, and the text would not be corrected."""
    daemon = FakeDaemon(2)
    daemon.waiting[1] = daemon.waiting[1].model_copy(update={"labels": ["a", "b"]})
    session = Review(daemon, daemon, None, tuple(INTENTS))  # type: ignore[arg-type]

    judge(session, CONFIRM, NONE)

    assert daemon.offered == [None, ["a", "b"]]


def test_enter_on_no_answer_confirms_that_none_was_right() -> None:
    """Not the nearest label, which the daemon did not give."""
    daemon = FakeDaemon(0)
    daemon.waiting = [an_item(0, label=None)]
    session = a_review(daemon)

    judge(session, CONFIRM)

    assert daemon.stored == {"c1": ("text 0", None)}
    assert session.summary.startswith("1 confirmed, 0 corrected")


def test_what_was_skipped_is_not_shown_again() -> None:
    """The daemon offers it again; the session goes on behind it, to the end."""
    daemon = FakeDaemon(3 * BATCH)
    session = a_review(daemon)

    judge(session, *[SKIP] * BATCH, *[CONFIRM] * (2 * BATCH))

    assert session.current() is None
    assert len(daemon.stored) == 2 * BATCH


def test_undo_erases_and_shows_it_again() -> None:
    """Nothing remains of a slip of the finger; the next answer is the only one."""
    daemon = FakeDaemon(3)
    session = a_review(daemon, {"EXTRACT": 7})

    judge(session, CONFIRM, EXTRACT, UNDO)

    assert session.note == "taken back, and erased: EXTRACT"
    assert daemon.stored == {"c1": ("text 0", "REASON")}
    assert session.counts == {"EXTRACT": 7, "REASON": 1}
    judge(session, NONE)
    assert daemon.stored["c3"] == ("text 1", None)


@pytest.mark.parametrize("refusal", [DaemonUnreachable("no"), StoreUnavailable("full")])
def test_undo_without_the_right_to_erase_says_so(refusal: EdgeError) -> None:
    """The answer stays until a newer one replaces it; the count stays too."""
    daemon = FakeDaemon(2)
    daemon.erase_refusal = refusal
    session = a_review(daemon, {})

    judge(session, EXTRACT, UNDO)

    assert session.note == "EXTRACT stays stored until your next answer replaces it"
    assert session.counts == {"EXTRACT": 1}
    judge(session, CONFIRM)
    assert list(daemon.stored.values()) == [("text 0", "EXTRACT"), ("text 0", "REASON")]


def test_undo_goes_back_step_by_step() -> None:
    """Over what was skipped too, and not beyond the beginning."""
    daemon = FakeDaemon(4)
    session = a_review(daemon)

    judge(session, EXTRACT, SKIP, EXTRACT, UNDO, UNDO)
    assert session.note == "back to what was skipped"
    judge(session, UNDO)
    assert (daemon.stored, session.summary) == (
        {},
        "0 confirmed, 0 corrected, 0 skipped, 2 taken back",
    )
    judge(session, UNDO)
    assert session.note == "nothing to take back"


def test_undo_of_what_is_gone_already_is_done() -> None:
    """Somebody else erased it meanwhile."""
    daemon = FakeDaemon(2)
    daemon.erase_refusal = NotFound("c1")
    session = a_review(daemon)

    judge(session, EXTRACT, UNDO)

    assert session.note.startswith("taken back")


def test_an_answer_that_cannot_be_stored_now_stays_on_the_screen() -> None:
    """A full disk must not let a person believe that it was taken."""
    daemon = FakeDaemon(2)
    session = a_review(daemon)
    daemon.refusal = StoreUnavailable("disk full")

    judge(session, CONFIRM)

    current = session.current()
    assert session.note == "not stored, try again: disk full"
    assert current is not None
    assert current.prediction_id == "p0"


def test_an_answer_that_can_never_be_stored_is_skipped() -> None:
    """The rest of the queue is still judged."""
    daemon = FakeDaemon(2)
    session = a_review(daemon)
    daemon.refusal = UnknownLabel("no such label")

    judge(session, CONFIRM)

    assert session.note == "not stored, skipped: no such label"
    assert session.queue[0].prediction_id == "p1"


# On a real terminal, with a real daemon.

TEXTS = ["who owes me money?", "the gist, please", "photos of Lisbon", "fix the roof or move out?"]
HOSTILE = "\x1b]0;pwned\x07\x1b[2Jopen \x9b31m the \u202edoor"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon with some predictions, one of them made to harm a terminal."""
    with running_daemon() as started, Client(started.socket) as client:
        for text in [*TEXTS, HOSTILE]:
            client.classify(text)
        yield started


@pytest.fixture
def environment(daemon: Daemon) -> dict[str, str]:
    """What a shell has in which the daemon's sockets are known."""
    return clean_environment(daemon.socket.parent) | {"INTENTD_SOCKET": str(daemon.socket)}


def waiting(daemon: Daemon) -> list[ReviewItem]:
    """The daemon's queue."""
    with Client(daemon.socket) as client:
        return client.review().items


def quit_review(person: Person) -> str:
    """Leave; returns what stands on the user's own screen then."""
    person.type("q")
    assert person.wait() == 0
    return ESCAPES.sub("", person.raw.split(b"\x1b[?1049l")[-1].decode())


def test_a_person_reviews_and_takes_back(daemon: Daemon, environment: dict[str, str]) -> None:
    """Confirm, correct, undo, correct otherwise, quit: stored is what was meant."""
    first, second = waiting(daemon)[:2]
    with on_terminal([*INTENTD, "review"], environment) as person:
        person.see("q quit")
        person.type("\r")
        person.see("confirmed: ")
        person.type("2")
        assert "2 e   EXTRACT" in person.see("corrected: EXTRACT")
        person.type("u")
        person.see("taken back, and erased: EXTRACT")
        person.type("r")
        person.see(": REASON")
        summary = quit_review(person)

    lines = intentd(environment, "corrections", "list", "--json").stdout.splitlines()
    rows = [CorrectionDetail.model_validate_json(line) for line in lines]
    stored = {(row.text, row.label) for row in rows}
    assert (first.text, first.label) in stored
    assert (second.text, "REASON") in stored
    assert len(stored) == 2
    assert "1 taken back" in summary


def test_undo_says_what_it_cannot_do(daemon: Daemon, environment: dict[str, str]) -> None:
    """A user without admin.sock corrects by a newer answer."""
    env = environment | {"INTENTD_ADMIN_SOCKET": "/nowhere/admin.sock"}
    with on_terminal([*INTENTD, "review"], env) as person:
        assert "of 500" not in person.see("q quit")
        person.type("2")
        person.see("corrected: EXTRACT")
        person.type("u")
        person.see("EXTRACT stays stored until your next answer replaces it")
        quit_review(person)


def test_no_text_can_command_the_terminal(daemon: Daemon, environment: dict[str, str]) -> None:
    """Of all that was written, only our own control sequences are such."""
    with on_terminal([*INTENTD, "review"], environment, (100, 30)) as person:
        for _ in range(len(waiting(daemon))):
            person.see("q quit")
            person.type("s")
        assert "nothing left to review" in person.see("nothing left")
        quit_review(person)

    assert b"door" in person.raw
    output = person.raw.decode()
    plain = re.sub(r"\x1b\[(\?(1049|25|7|2004)[hl]|H|K|J|[0-9;]*m)", "", output)
    assert [char for char in plain if not char.isprintable() and char not in "\r\n"] == []


def test_keys_pressed_too_early_judge_nothing(daemon: Daemon, environment: dict[str, str]) -> None:
    """What was typed before the screen came up was not meant for it."""
    with on_terminal([*INTENTD, "review"], environment) as person:
        person.type("2222")
        person.see("q quit")
        quit_review(person)

    assert intentd(environment, "corrections", "list").stdout == ""


def test_keys_pressed_ahead_judge_nothing(daemon: Daemon, environment: dict[str, str]) -> None:
    """A held key judges what is on the screen, and not what comes after it unseen."""
    with on_terminal([*INTENTD, "review"], environment) as person:
        person.see("q quit")
        person.type("2222")
        person.see(": EXTRACT")
        quit_review(person)

    assert len(intentd(environment, "corrections", "list").stdout.splitlines()) == 1


def test_an_empty_queue_is_said(environment: dict[str, str]) -> None:
    """Without a blank screen."""
    with running_daemon() as fresh:
        env = environment | {"INTENTD_SOCKET": str(fresh.socket)}
        with on_terminal([*INTENTD, "review"], env) as person:
            assert person.wait() == 0

    assert "nothing to review" in person.shown


def test_a_daemon_that_goes_away_ends_the_review(
    daemon: Daemon, environment: dict[str, str]
) -> None:
    """Exit 4, with the terminal given back first."""
    with on_terminal([*INTENTD, "review"], environment) as person:
        person.see("q quit")
        daemon.stop()
        person.type("\r")
        assert person.wait() == 4

    assert person.raw.index(b"\x1b[?1049l") < person.raw.index(b"nobody answers")


def test_without_a_terminal_it_says_what_to_use(environment: dict[str, str]) -> None:
    """Exit 2, and no escape codes in a pipe."""
    done = intentd(environment, "review")

    assert done.returncode == 2
    assert done.stderr.startswith("error: expected a terminal")
    assert "intentd review --json" in done.stderr
    assert done.stdout == ""


def test_programs_get_the_queue_as_json(daemon: Daemon, environment: dict[str, str]) -> None:
    """One object a line, as the daemon has it."""
    lines = intentd(environment, "review", "--json", "--limit", "2").stdout.splitlines()

    assert [ReviewItem.model_validate_json(line) for line in lines] == waiting(daemon)[:2]

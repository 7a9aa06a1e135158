"""`intentd review`: a queue of predictions in the terminal, judged with one key each.

The answers go to the daemon at once; nothing is kept here that a crash could lose.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from edge.commands.options import with_settings
from edge.commands.output import label_name, write_json, write_line
from edge.errors import DaemonUnreachable, InvalidRequest, NotFound, Unavailable
from edge.settings import Settings

if TYPE_CHECKING:  # slow to import, and --help does not need them
    from edge.admin_client import AdminClient
    from edge.client import Client
    from edge.commands.keys import Step
    from edge.commands.screen import Card, Progress
    from edge.commands.terminal import Terminal
    from edge.wire import ReviewItem

__all__ = ["Review", "review"]

BATCH = 20
MAX_BATCH = 200  # what the daemon gives at most
SOURCE = "intentd review"


@dataclass(slots=True)
class Done:
    """One step that was taken, so that it can be taken back."""

    item: ReviewItem
    correction_id: str | None
    """None where it was skipped."""
    label: str | None = None
    agreed: bool = False


@dataclass(slots=True)
class Review:
    """The queue of one session: what is shown, what was answered, and how to take it back."""

    client: Client
    admin: AdminClient
    counts: dict[str | None, int] | None
    """Examples of each label on the box; None where admin.sock does not tell us."""
    intents: tuple[str, ...] = ()
    """The daemon's own labels, which a correction need not name."""
    queue: deque[ReviewItem] = field(default_factory=deque)
    history: list[Done] = field(default_factory=list)
    note: str = ""
    """What the last step did, for the last line of the screen."""
    taken_back: int = 0
    _seen: set[str] = field(default_factory=set)

    def current(self) -> ReviewItem | None:
        """What is to be judged now; None if nothing is left."""
        if not self.queue:
            limit = min(BATCH + self.skipped, MAX_BATCH)  # what was skipped comes again
            items = self.client.review(limit=limit).items
            self.queue.extend(item for item in items if item.prediction_id not in self._seen)
            self._seen.update(item.prediction_id for item in items)
        return self.queue[0] if self.queue else None

    def take(self, step: Step) -> None:
        """Do what a key asked for; `note` tells what came of it.

        Raises:
            DaemonUnreachable: Nobody answers any more.
        """
        from edge.commands.keys import Act

        item = self.queue[0] if self.queue else None
        if step.act is Act.UNDO:
            self._undo()
        elif item and step.act is Act.SKIP:
            self._finish(Done(item, None), "skipped")
        elif item:
            self._answer(item, item.label if step.act is Act.CONFIRM else step.label)

    def _answer(self, item: ReviewItem, label: str | None) -> None:
        # Always with its text: an answer that was taken back has taken the prediction with it. The
        # daemon's own labels are left out: named, they would count as another label set.
        offered = None if tuple(item.labels) == self.intents else item.labels
        try:
            answer = self.client.correct(
                label,
                prediction_id=item.prediction_id,
                text=item.text,
                content=item.content,
                labels=offered,
                source=SOURCE,
            )
        except Unavailable as error:
            self.note = f"not stored, try again: {error}"
            return
        except InvalidRequest as error:
            self._finish(Done(item, None), f"not stored, skipped: {error}")
            return
        self._count(label, 1)
        verb = "confirmed" if label == item.label else "corrected"
        done = Done(item, answer.id, label, agreed=label == item.label)
        self._finish(done, f"{verb}: {label_name(label)}")

    def _finish(self, done: Done, note: str) -> None:
        self.queue.popleft()
        self.history.append(done)
        self.note = note

    def _undo(self) -> None:
        if not self.history:
            self.note = "nothing to take back"
            return
        done = self.history.pop()
        self.queue.appendleft(done.item)
        if done.correction_id is None:
            self.note = "back to what was skipped"
            return
        self.taken_back += 1
        self.note = self._erase(done, done.correction_id)

    def _erase(self, done: Done, correction_id: str) -> str:
        """Erase where this user may; else the next answer, being newer, replaces this one."""
        try:
            with suppress(NotFound):  # somebody else was faster
                self.admin.erase(correction_id)
        except (DaemonUnreachable, Unavailable):
            return f"{label_name(done.label)} stays stored until your next answer replaces it"
        self._count(done.label, -1)
        return f"taken back, and erased: {label_name(done.label)}"

    def _count(self, label: str | None, by: int) -> None:
        if self.counts is not None:
            self.counts[label] = max(self.counts.get(label, 0) + by, 0)

    @property
    def skipped(self) -> int:
        """Predictions without an answer."""
        return sum(done.correction_id is None for done in self.history)

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        agreed = sum(done.agreed for done in self.history)
        corrected = len(self.history) - self.skipped - agreed
        parts = [f"{agreed} confirmed", f"{corrected} corrected", f"{self.skipped} skipped"]
        return ", ".join([*parts, f"{self.taken_back} taken back"])


@with_settings("socket", "admin_socket")
def review(
    settings: Settings,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print what waits, one JSON object a line, and ask nothing."),
    ] = False,
    limit: Annotated[
        int, typer.Option(help="With --json: at most so many.", metavar="NUMBER", min=1)
    ] = BATCH,
) -> None:
    """Judge predictions, one key each.

    It shows those in doubt, and a random few. Enter says that the guess was right; digits and
    letters name a label; u takes the last one back.
    """
    from edge.admin_client import AdminClient
    from edge.client import Client
    from edge.commands.admin import read_counts

    with ExitStack() as stack:
        client = stack.enter_context(Client(settings.socket))
        if as_json:
            for item in client.review(limit=limit).items:
                write_json(item.model_dump(mode="json"))
            return
        _need_terminal()
        admin = stack.enter_context(AdminClient(settings.admin_socket))
        intents = tuple(intent.name for intent in client.intents().intents)
        session = Review(client, admin, read_counts(settings), intents)
        if session.current() is None:
            write_line("nothing to review; classify something first (intentd classify TEXT)")
            return
        _converse(session)
    write_line(session.summary)


def _need_terminal() -> None:
    from edge.commands.terminal import why_no_terminal

    if reason := why_no_terminal():
        raise InvalidRequest(
            f"expected a terminal to show the queue on, found none: {reason}; run it in a "
            "terminal, or use intentd review --json and intentd correct --id"
        )


def _converse(session: Review) -> None:
    from edge.commands.keys import Act, assign_keys, read_step
    from edge.commands.terminal import END_OF_INPUT, open_terminal

    with open_terminal() as terminal:
        shown: ReviewItem | None = None
        while True:
            item = session.current()
            if item is not shown:
                terminal.forget_typed()  # it was meant for what is on the screen until now
                shown = item
            _draw(terminal, session, item)
            key = terminal.read_key()
            step = read_step(key, assign_keys(item.labels) if item else {})
            if key == END_OF_INPUT or (step and step.act is Act.QUIT):
                return
            if step:
                session.take(step)


def _draw(terminal: Terminal, session: Review, item: ReviewItem | None) -> None:
    from edge.commands.screen import render, render_end

    width, height = terminal.size
    if item is None:
        terminal.draw(render_end(session.note, width))
        return
    terminal.draw(render(_card(item), _progress(session), session.note, width, height))


def _card(item: ReviewItem) -> Card:
    from edge.commands.screen import Card

    return Card(
        text=item.text,
        content=item.content,
        label=item.label,
        nearest=item.raw_label,
        score=max((score.score for score in item.scores), default=None),
        why=item.reason,
        labels=tuple(item.labels),
    )


def _progress(session: Review) -> Progress:
    from edge.commands.screen import Progress

    return Progress(
        done=len(session.history) - session.skipped,
        left=len(session.queue) - 1,
        counts=session.counts,
    )

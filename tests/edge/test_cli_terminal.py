"""The terminal of the review, on real pseudo-terminals: single keys, and all given back."""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.commands.terminal import RESIZED, Terminal, _told_of_signals
from tests.daemons import clean_environment
from tests.terminals import Person, on_terminal

LEFT = b"\x1b[?1049l"
SCRIPT = """
from rich.text import Text
from edge.commands.terminal import open_terminal
with open_terminal() as terminal:
    terminal.draw([Text("ready")])
    while (key := terminal.read_key()) not in ("", "x"):
        if key == "c":
            raise RuntimeError("crash")
        width, height = terminal.size
        terminal.draw([Text(f"<{key!r} {width}x{height}>")])
print("done")
"""


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """Somebody at a program that shows each key; x leaves it, c crashes it."""
    # A shell, or readline, may have exported a size that was true once.
    env = clean_environment(tmp_path) | {"COLUMNS": "80", "LINES": "24"}
    with on_terminal([sys.executable, "-c", SCRIPT], env) as somebody:
        before = somebody.settings
        somebody.see("ready")
        yield somebody
        assert somebody.settings == before, "the terminal was not given back"


def test_a_key_is_read_without_enter_and_without_an_echo(person: Person) -> None:
    """One press, one answer; characters beyond ASCII are one key too."""
    person.type("7")
    assert person.see("<'7' 80x24>") == "<'7' 80x24>"
    person.type("ä")
    person.see("<'ä' 80x24>")
    person.type("\r")
    person.see("<'\\n' 80x24>")
    person.type("x")

    assert person.wait() == 0
    assert person.shown.endswith("done\n")
    assert LEFT in person.raw


@pytest.mark.parametrize(
    "keys",
    ["\x1b[A", "\x1bOP", "\x1b[[A", "\x1b[1;5C", "\x1b[15~", "\x1b[200~12ru\nx\x1b[201~", "\x1a"],
    ids=["arrow", "F1", "F1 of the console", "ctrl-arrow", "F5", "pasted text", "ctrl-z"],
)
def test_sequences_and_pasted_text_are_no_keys(person: Person, keys: str) -> None:
    """An arrow must not label anything, nor may what was pasted by mistake."""
    person.type(keys + "7")

    assert person.see("<'7'").count("<") == 1 + (keys == "\x1a")
    person.type("x")
    assert person.wait() == 0


def test_a_new_size_is_told(person: Person) -> None:
    """So that the screen can be drawn again."""
    person.resize(100, 30)

    person.see("<'resized' 100x30>")
    person.type("x")
    assert person.wait() == 0


def test_a_size_that_comes_after_its_signal_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux signals first and stores then: a quick program would draw for the old window."""
    sizes = itertools.chain([(80, 24)] * 5, itertools.repeat((100, 30)))
    monkeypatch.setattr(Terminal, "size", property(lambda _: next(sizes)))
    told, tell = os.pipe()
    terminal = Terminal(told, told)
    terminal.draw([])
    os.write(tell, b"\x1c")

    assert terminal.read_key() == RESIZED
    assert terminal._drawn_size == (80, 24)
    assert terminal.size == (100, 30)
    os.close(told)
    os.close(tell)


@pytest.mark.parametrize(
    ("ending", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -2)]
)
def test_signals_give_the_terminal_back(
    person: Person, ending: signal.Signals, status: int
) -> None:
    """Whoever ends it: no shell without an echo, no screen that is not the user's."""
    person.process.send_signal(ending)

    assert person.wait() == status
    assert LEFT in person.raw


def test_a_signal_just_before_a_wait_ends_it() -> None:
    """It is told by the interpreter itself: a handler would run only when the wait is over."""
    with _told_of_signals() as told:
        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
        assert select.select([told], [], [], 0)[0] == [told]
    assert signal.set_wakeup_fd(-1) == -1


def test_a_crash_gives_the_terminal_back(person: Person) -> None:
    """And its message stands on the user's own screen."""
    person.type("c")

    assert person.wait() == 1
    assert person.raw.index(LEFT) < person.raw.index(b"RuntimeError")


def test_a_closed_window_ends_it(tmp_path: Path) -> None:
    """It does not stay behind, nor turn in circles."""
    keyboard, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=clean_environment(tmp_path) | {"TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(keyboard, 1024)
    os.close(keyboard)

    process.communicate(timeout=60)
    assert process.returncode is not None


@pytest.mark.parametrize(
    ("streams", "term", "words"),
    [
        ((subprocess.DEVNULL, None), "xterm", "stdin is not a terminal"),
        ((None, subprocess.DEVNULL), "xterm", "stdout is not a terminal"),
        ((None, None), "dumb", "TERM=dumb"),
    ],
)
def test_without_a_terminal_it_says_what_is_missing(
    tmp_path: Path, streams: tuple[int | None, int | None], term: str, words: str
) -> None:
    """It neither waits nor writes escape codes into a file."""
    env = clean_environment(tmp_path)
    command = ["env", f"TERM={term}", sys.executable, "-c", SCRIPT]

    stdin, stdout = streams
    with on_terminal(command, env, stdin=stdin, stdout=stdout) as somebody:
        assert somebody.wait() == 1

    assert words in somebody.shown
    assert b"\x1b[?1049h" not in somebody.raw


def test_the_settings_differ_while_it_runs(person: Person) -> None:
    """Else the test that they are given back would pass without any change."""
    echo = person.settings[3] & termios.ECHO
    person.type("x")

    assert not echo
    assert person.wait() == 0

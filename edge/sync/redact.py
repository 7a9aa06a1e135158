"""Takes personal data out of a text before it leaves the box; it never sends, and never logs.

What it can find has a shape (addresses, numbers, secrets in links) or stands on the deny list.
Names, and what people tell of themselves in plain words, have none: those it cannot find.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from edge.errors import InvalidSettings
from edge.sync.fold import fold
from edge.sync.patterns import Find, Kind, find_in_runs, find_shapes, runs
from edge.sync.phones import PhoneFinder

__all__ = ["REDACTION_VERSION", "Redactor"]

REDACTION_VERSION = "1"
"""Sent with every record: it grows with every change of what is found."""

MAX_PASSES = 4  # two do, for what people write
_RANK = {kind: rank for rank, kind in enumerate(Kind)}


class Redactor:
    """Replaces what it finds by its kind in brackets, such as `[email]`. Not for several threads.

    Takes time proportional to the text, whatever the text (a /regex/ of the deny list excepted).
    """

    def __init__(self, deny: Sequence[str] = (), regions: Sequence[str] = ()) -> None:
        """Prepares the patterns.

        Args:
            deny: Words (whole words, in any case) and /regular expressions/ that must not leave.
            regions: ISO 3166 codes of where people write phone numbers without a country's prefix.

        Raises:
            InvalidSettings: A pattern that does not compile, or an unknown region.
        """
        self._denied = [_compile(entry) for entry in deny]
        self._phones = PhoneFinder(regions)

    def redact(self, text: str) -> str:
        """The text with everything that was found replaced; the rest is as it was.

        Looks again after each change: what stood beside a find may look different without it.
        """
        for _ in range(MAX_PASSES):
            before, text = text, self._replace(text)
            if text == before:
                break
        return text

    def _replace(self, text: str) -> str:
        folded = fold(text)
        parts: list[str] = []
        done = 0
        for find in _merged(self._find(folded.plain)):
            start, end = folded.span(find.start, find.end)
            parts += [text[done:start], f"[{find.kind}]"]
            done = end
        return "".join(parts) + text[done:]

    def _find(self, plain: str) -> Iterator[Find]:
        for denied in self._denied:
            spans = (match.span() for match in denied.finditer(plain))
            yield from (Find(*span, Kind.DENIED) for span in spans if span[0] < span[1])
        yield from find_shapes(plain)
        self._phones.restart()
        for run in runs(plain):
            yield from find_in_runs(run)
            at = run.start()
            phones = self._phones.find(run[0])
            yield from (Find(at + low, at + high, Kind.PHONE) for low, high in phones)


def _merged(finds: Iterable[Find]) -> Iterator[Find]:
    """In order, with those that overlap joined: all that anyone found is covered."""
    current: Find | None = None
    for find in sorted(finds):
        if current is None or find.start >= current.end:
            if current is not None:
                yield current
            current = find
        else:
            kind = min(current.kind, find.kind, key=_RANK.__getitem__)
            current = Find(current.start, max(current.end, find.end), kind)
    if current is not None:
        yield current


def _compile(entry: str) -> re.Pattern[str]:
    if len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
        return _compile_expression(entry[1:-1])
    words = [re.escape(word) for word in fold(entry).plain.split()]
    if not words:
        raise InvalidSettings("sync: deny: expected words or /regular expressions/, found a blank")
    phrase = r"\s{1,8}".join(words)
    return re.compile(rf"(?<!\w){phrase}(?!\w)", re.IGNORECASE)


def _compile_expression(source: str) -> re.Pattern[str]:
    try:
        return re.compile(source, re.IGNORECASE)
    except re.error as error:
        raise InvalidSettings(
            f"sync: deny: /{source}/: expected a regular expression of Python, found {error}"
        ) from None

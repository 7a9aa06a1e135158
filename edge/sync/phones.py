"""Finds phone numbers among digits and separators; the only file importing phonenumbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edge.errors import InvalidSettings

__all__ = ["PhoneFinder"]

MIN_DIGITS = 7
MAX_DIGITS = 15  # ITU-T E.164
MIN_INTERNATIONAL_DIGITS = 8
CHUNK_CHARS = 200
OVERLAP_CHARS = 40  # more than a number with its separators takes
MAX_EXAMINED_CHARS = 1 << 14
"""Per text. Examining costs some 4 µs a character and region (2026-11); what lies beyond goes
unexamined, and is taken for a number."""

_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d-[01]\d-[0-3]\d|[0-3]?\d[./][01]?\d[./](?:19|20)\d\d)(?!\d)"
)
_DIGITS = re.compile(r"\d+")

Span = tuple[int, int]


class PhoneFinder:
    """Phone numbers as people write them at home, in some regions, and abroad (+…, 00…)."""

    def __init__(self, regions: Sequence[str]) -> None:
        """Raises `InvalidSettings` on a region that there is not."""
        import phonenumbers

        unknown = [name for name in regions if name not in phonenumbers.SUPPORTED_REGIONS]
        if unknown:
            raise InvalidSettings(
                f"sync: regions: expected ISO 3166 codes such as DE or US, found {unknown[0]!r}"
            )
        self._regions = tuple(regions)
        self._left = MAX_EXAMINED_CHARS

    def restart(self) -> None:
        """Begin with another text."""
        self._left = MAX_EXAMINED_CHARS

    def find(self, run: str) -> Iterator[Span]:
        """Where the numbers lie in a run of digits and separators (`edge.sync.patterns.runs`)."""
        shown = _DATE.sub(lambda date: "x" * len(date[0]), run.replace("\n", " "))
        if sum(char.isdecimal() for char in shown) < MIN_DIGITS:
            return
        if self._left < len(shown):
            yield 0, len(run)
            return
        self._left -= len(shown)
        if (international := _international(shown)) is not None:
            yield international
        for start in range(0, len(shown), CHUNK_CHARS - OVERLAP_CHARS):
            chunk = shown[start : start + CHUNK_CHARS]
            yield from ((start + low, start + high) for low, high in self._valid(chunk))

    def _valid(self, chunk: str) -> Iterator[Span]:
        from phonenumbers import Leniency, PhoneNumberMatcher

        for region in self._regions:
            for match in PhoneNumberMatcher(chunk, region, leniency=Leniency.VALID):
                yield match.start, match.end
            if self._is_whole(chunk, region):
                yield 0, len(chunk)

    def _is_whole(self, chunk: str, region: str) -> bool:
        """Whether the digits, however they are parted, are one number that starts with a zero."""
        import phonenumbers

        digits = "".join(_DIGITS.findall(chunk))
        if not (digits.startswith("0") and len(digits) <= MAX_DIGITS) or "x" in chunk:
            return False
        try:
            return phonenumbers.is_valid_number(phonenumbers.parse(digits, region))
        except phonenumbers.NumberParseException:
            return False


def _international(run: str) -> Span | None:
    """A run that says itself that it is a phone number, valid or not: +… and 00…."""
    if not run.lstrip("(").startswith(("+", "00")):
        return None
    end, seen = 0, 0
    for group in _DIGITS.finditer(run):
        seen += len(group[0])
        if seen > MAX_DIGITS + 2:
            break
        end = group.end()
    counted = sum(char.isdecimal() for char in run[:end])
    return (0, end) if counted >= MIN_INTERNATIONAL_DIGITS else None

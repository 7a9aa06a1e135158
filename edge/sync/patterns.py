"""What personal data looks like in plain text (`edge.sync.fold`); says where, and changes nothing.

Every pattern takes time proportional to the text: runs are taken whole (possessive quantifiers) and
never tried again from within (lookbehind), and what can be tried again is bounded.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from edge.sync.checks import IBAN_LENGTHS, is_card, is_iban

__all__ = ["Find", "Kind", "find_in_runs", "find_shapes", "runs"]

LONG_DIGITS = 9
"""A date has eight, and an account number ten."""
MAX_CARD_DIGITS = 19
MAX_ADDRESS_CHARS = 45
MIN_ADDRESS_DIGITS = 5  # fe80::1; with fewer it is code, such as a::b


class Kind(StrEnum):
    """What was found; where two overlap, the first in this list names both."""

    DENIED = "denied"
    CREDENTIALS = "credentials"
    SECRET = "secret"  # noqa: S105 — a name, not a password
    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    MAC = "mac"
    IP = "ip"
    PHONE = "phone"
    NUMBER = "number"


class Find(NamedTuple):
    """A stretch of the text."""

    start: int
    end: int
    kind: Kind


_LOCAL = r"[^\s@\"(),:;<>\[\]\\/?=&%{}|]"
_HOST = r"[\w-]++(?:\.[\w-]++)*+"
_WRAP = r"[ ]?\n[ ]{0,4}"
_EMAIL = re.compile(
    rf"""
    (?: (?<!{_LOCAL})
        (?:{_LOCAL}++(?<=[._+-]){_WRAP})?+            # broken after a sign that does not end it
        {_LOCAL}++
      | "[^"\n]{{1,64}}" )
    (?: (?:@|%40)(?:{_WRAP})?                         # tight: any host will do
      | \s{{0,3}}@\s{{0,3}}(?=[\w-]++\.[\w-]) )       # with blanks: only what looks like a domain
    (?: \[[0-9A-Fa-f:.]{{3,45}}\]
      | (?![\d.]++(?!\w))                             # a price is no host
        (?: [\w-]++\.{_WRAP}{_HOST}                   # the host goes on in the next line
          | {_HOST}(?:\.?{_WRAP}[\w-]++(?:\.[\w-]++)++)?+ ) )
    """,
    re.VERBOSE,
)
_MAC = re.compile(
    r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4,6}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![0-9A-Fa-f])"
)
_IPV4 = re.compile(r"(?<!\d)(?<!\d\.)\d{1,3}(?:\.\d{1,3}){3}(?!\d)(?!\.\d)")
_IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f]*+:[0-9A-Fa-f:]++(?:(?:\.\d{1,3}){3})?(?!\w)")
_URL = re.compile(r"://([^\s/?#]++)(\S{0,256}@)?")
_QUERY_SECRET = re.compile(
    r"[?&;#][\w.-]{0,40}?(?:token|key|secret|passw|pwd|auth|sig|session|sid|jwt|code|credential|pin)"
    r"[\w.-]{0,20}=([^\s&#;\"'<>]++)",
    re.IGNORECASE,
)
_NAMED_SECRET = re.compile(
    r"(?<![\w?&;#])"
    r"(?:password|passwort|passwd|passphrase|pwd|api[ _-]?key|(?:secret|access)[ _-](?:key|token))"
    r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?([^\s\"',;]{3,})",
    re.IGNORECASE,
)
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])(?:IBAN)?(?=([A-Za-z]{2}[ -]?\d[ ]?\d(?:[ \n._:/-]{0,5}[A-Za-z0-9]){11,30}))"
)
_RUN = re.compile(r"(?<!\d)(?:\+|\(\+?)?\d++(?:[ \n()./·_-]{1,6}\d++)*+")
_DIGITS = re.compile(r"\d+")
_PRINTED_CARD = re.compile(r"(?<!\d)\d{4}([,:;|*])\d{4,6}\1\d{4,5}(?:\1\d{3,4})?(?!\d)")
"""In the groups that are printed on it, parted by what also parts the numbers of a list."""


def find_shapes(plain: str) -> Iterator[Find]:
    """Everything that its shape alone gives away."""
    yield from _credentials(plain)
    for secret in (_QUERY_SECRET, _NAMED_SECRET):
        yield from (Find(*match.span(1), Kind.SECRET) for match in secret.finditer(plain))
    yield from (Find(*match.span(), Kind.EMAIL) for match in _EMAIL.finditer(plain))
    yield from (Find(*match.span(), Kind.MAC) for match in _MAC.finditer(plain))
    yield from _addresses(plain)
    yield from _ibans(plain)
    for match in _PRINTED_CARD.finditer(plain):
        if is_card(match[0].replace(match[1], "")):
            yield Find(*match.span(), Kind.CARD)


def runs(plain: str) -> Iterator[re.Match[str]]:
    """Stretches of digits and what people put between them."""
    return _RUN.finditer(plain)


def find_in_runs(run: re.Match[str]) -> Iterator[Find]:
    """Cards and long numbers in one of `runs`."""
    groups = list(_DIGITS.finditer(run.string, *run.span()))
    for index, group in enumerate(groups):
        if len(group[0]) >= LONG_DIGITS:
            yield Find(*group.span(), Kind.NUMBER)
        digits = ""
        for last in groups[index : index + MAX_CARD_DIGITS]:
            digits += last[0]
            if len(digits) > MAX_CARD_DIGITS:
                break
            if is_card(digits):
                yield Find(group.start(), last.end(), Kind.CARD)


def _credentials(plain: str) -> Iterator[Find]:
    """`user:password` before the host of a URL."""
    for match in _URL.finditer(plain):
        authority, start = match[1], match.start(1)
        if "@" in authority:
            yield Find(start, start + authority.rindex("@"), Kind.CREDENTIALS)
        elif match[2] and ":" in authority and not authority.rpartition(":")[2].isdecimal():
            yield Find(start, match.end() - 1, Kind.CREDENTIALS)  # a slash in the password


def _addresses(plain: str) -> Iterator[Find]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(plain):
            found = match[0] if _is_address(match[0]) else match[0].rstrip(":")
            if _is_address(found):
                yield Find(match.start(), match.start() + len(found), Kind.IP)


def _is_address(text: str) -> bool:
    if len(text) > MAX_ADDRESS_CHARS or len(text) - text.count(":") < MIN_ADDRESS_DIGITS:
        return False
    if "." in text and ":" not in text:
        return all(int(part) <= 255 for part in text.split("."))
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _ibans(plain: str) -> Iterator[Find]:
    for match in _IBAN.finditer(plain):
        start = match.start(1)
        size = IBAN_LENGTHS.get(plain[start : start + 2].upper(), 0)
        kept = [index for index in range(*match.span(1)) if plain[index].isalnum()][:size]
        if size and is_iban("".join(plain[index] for index in kept).upper()):
            yield Find(start, kept[-1] + 1, Kind.IBAN)

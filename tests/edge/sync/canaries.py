"""Makes personal data that nobody owns, in many disguises and in sentences as people write them.

A canary's skeleton is what is left of it without case, blanks and signs: if a piece of a skeleton
is found in the skeleton of what leaves the box, the canary has left it.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["DENIED", "Canary", "make_canaries", "skeleton"]

DENIED = ("Projekt Falke", "/kd[a-z]{6}/")
PIECE = 6
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
FULL_WIDTH = {char: chr(ord(char) + 0xFEE0) for char in map(chr, range(0x21, 0x7F))}
OTHER_DIGITS = (0x0660, 0x06F0, 0x0966, 0xFF10, 0x1D7CE)
SENTENCES = (
    "Please summarise the mail from {} before noon.",
    "can you find everything about {}, thanks",
    "Bitte such die Rechnung: {}!",
    "Why did {} not answer?\nIt was urgent.",
    "({}) — extract the amounts",
    "Écrivez à {} s’il vous plaît",
    "notes:\n- {}\n- buy milk",
    "what is \u201c{}\u201d about?",
    "请总结 {} 的邮件",
)


@dataclass(frozen=True, slots=True)
class Canary:
    """One piece of personal data, planted in a text."""

    kind: str
    disguise: str
    text: str
    secret: str
    """What must not leave."""

    @property
    def pieces(self) -> set[str]:
        """Parts of the skeleton, any of which gives it away."""
        whole = skeleton(self.secret)
        return {whole[i : i + PIECE] for i in range(max(1, len(whole) - PIECE + 1))}


def skeleton(text: str) -> str:
    """Letters and digits alone, in one spelling."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    kept = (char for char in plain if char.isalnum())
    return "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in kept)


def make_canaries(count: int, seed: int) -> list[Canary]:
    """So many canaries, each kind and disguise about equally often."""
    rng = random.Random(seed)
    canaries = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        secret = KINDS[kind](rng)
        disguise = rng.choice([name for name in DISGUISES if kind not in UNSUITED.get(name, ())])
        link = rng.choice(LINKS.get(kind, ("{}",)))
        planted = link.format(DISGUISES[disguise](rng, secret))
        sentence = rng.choice(SENTENCES)
        canaries.append(Canary(kind, disguise, sentence.format(planted), secret))
    return canaries


def _letters(rng: random.Random, count: int, alphabet: str = "bcdfghjklmnpqrstvwxyz") -> str:
    return "".join(rng.choices(alphabet, k=count))


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))


def _email(rng: random.Random) -> str:
    local = rng.choice(["{0}.{1}", "{0}_{1}", "{0}+{1}", "{0}-{1}", "{0}{1}", "ü{0}.{1}"])
    name = local.format(_letters(rng, 5), _letters(rng, 6))
    host = rng.choice(["{0}.com", "mail.{0}.co.uk", "{0}-{0}.de", "bücher{0}.example"])
    return f"{name}@{host.format(_letters(rng, 7))}"


def _phone(rng: random.Random) -> str:
    ways: list[Callable[[], str]] = [
        lambda: f"+49 (0){rng.randint(30, 89)} {_digits(rng, 3)} {_digits(rng, 4)}",
        lambda: f"+49 151 {rng.randint(10000000, 99999999)}",
        lambda: f"0{rng.choice([30, 40, 89])}/{rng.randint(2000000, 8999999)}",
        lambda: f"(0{rng.choice([30, 40, 89])}) {rng.randint(200, 899)} {_digits(rng, 4)}",
        lambda: f"(212) {rng.randint(220, 899)}-{_digits(rng, 4)}",
        lambda: f"415-{rng.randint(220, 899)}-{_digits(rng, 4)}",
        lambda: f"+1 650 {rng.randint(220, 899)} {_digits(rng, 4)}",
        lambda: "06 " + " ".join(_digits(rng, 2) for _ in range(4)),
        lambda: f"+44 20 7{_digits(rng, 3)} {_digits(rng, 4)}",
        lambda: f"020 7{rng.randint(100, 999)} {_digits(rng, 4)}",
        lambda: f"0041 44 {rng.randint(200, 799)} {_digits(rng, 2)} {_digits(rng, 2)}",
        lambda: f"6{rng.randint(10, 89)} {_digits(rng, 3)} {_digits(rng, 3)}",
        lambda: f"+81-3-{rng.randint(3000, 6999)}-{_digits(rng, 4)}",
    ]
    return rng.choice(ways)()


def _iban(rng: random.Random) -> str:
    country, body = rng.choice(
        [("DE", _digits(rng, 18)), ("GB", "NWBK" + _digits(rng, 14)), ("FR", _digits(rng, 23))]
    )
    turned = "".join(str(int(char, 36)) for char in f"{body}{country}00")
    iban = f"{country}{98 - int(turned) % 97:02d}{body}"
    if rng.random() < 0.3:
        return iban
    spaced = " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))
    return spaced.lower() if rng.random() < 0.2 else spaced


def _card(rng: random.Random) -> str:
    body = rng.choice(["4", "51", "2221", "6011"])
    body += _digits(rng, 15 - len(body))
    doubled = [int(d) if i % 2 else sum(divmod(int(d) * 2, 10)) for i, d in enumerate(body)]
    digits = f"{body}{-sum(doubled) % 10}"
    separator = rng.choice(["", " ", "-", ".", "  "])
    return separator.join(digits[i : i + 4] for i in range(0, 16, 4))


def _ipv4(rng: random.Random) -> str:
    return ".".join(str(rng.randint(100, 254)) for _ in range(4))


def _ipv6(rng: random.Random) -> str:
    groups = [f"{rng.randint(0x1000, 0xFFFF):x}" for _ in range(8)]
    short = f"fe80::{':'.join(groups[:3])}"
    return rng.choice([":".join(groups), short, f"2001:db8::{groups[0]}:{groups[1]}"])


def _mac(rng: random.Random) -> str:
    groups = [f"{rng.randint(0, 255):02x}" for _ in range(6)]
    dotted = ".".join("".join(groups[i : i + 2]) for i in (0, 2, 4))
    return rng.choice([":".join(groups), "-".join(groups).upper(), dotted])


def _credentials(rng: random.Random) -> str:
    password = _letters(rng, 9, "bcdfghjklmnpqrstvwxyz$!*~^")
    return f"{_letters(rng, 7)}:{password}"


def _query_secret(rng: random.Random) -> str:
    return _letters(rng, 16, "bcdfghjklmnpqrstvwxyzBCDFGHJKL0123456789-_.")


def _number(rng: random.Random) -> str:
    return str(rng.randint(1, 9)) + _digits(rng, rng.randint(9, 14))


def _denied(rng: random.Random) -> str:
    return rng.choice(["Projekt Falke", "PROJEKT FALKE", f"KD{_letters(rng, 6)}"])


KINDS: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "phone": _phone,
    "iban": _iban,
    "card": _card,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "mac": _mac,
    "credentials": _credentials,
    "query": _query_secret,
    "number": _number,
    "denied": _denied,
}


def _as_it_is(rng: random.Random, secret: str) -> str:
    return secret


def _zero_width(rng: random.Random, secret: str) -> str:
    return "".join(c + (rng.choice(ZERO_WIDTH) if rng.random() < 0.3 else "") for c in secret)


def _full_width(rng: random.Random, secret: str) -> str:
    return "".join(FULL_WIDTH.get(char, char) for char in secret)


def _other_digits(rng: random.Random, secret: str) -> str:
    zero = rng.choice(OTHER_DIGITS)
    return "".join(chr(zero + int(c)) if c in "0123456789" else c for c in secret)


def _other_signs(rng: random.Random, secret: str) -> str:
    blank, dash = rng.choice("\u00a0\u2009\u202f\u3000"), rng.choice("\u2010\u2011\u2013\u2212")
    return secret.replace(" ", blank).replace("-", dash)


def _broken(rng: random.Random, secret: str) -> str:
    """A line that ends inside, where mail programs break lines: after a blank or a sign."""
    places = [i for i, char in enumerate(secret) if char in " @.-/" and 0 < i < len(secret) - 1]
    if not places:
        return secret
    at = rng.choice(places)
    kept = secret[:at] if secret[at] == " " else secret[: at + 1]
    return kept + rng.choice(["\n", "\r\n", "\n  "]) + secret[at + 1 :]


DISGUISES: dict[str, Callable[[random.Random, str], str]] = {
    "as it is": _as_it_is,
    "zero width": _zero_width,
    "full width": _full_width,
    "other digits": _other_digits,
    "other signs": _other_signs,
    "broken line": _broken,
}
UNSUITED = {
    # Nobody's program breaks these, and a broken one is none any more.
    "broken line": ("ipv4", "ipv6", "mac", "credentials", "query"),
}
LINKS = {
    "credentials": ("https://{}@host.test/path", "postgres://{}@db.test:5432/x"),
    "query": ("https://host.test/cb?api_key={}&page=two", "http://host.test/?x=y&token={}"),
}
"""What the kinds stand in that are nothing by themselves."""

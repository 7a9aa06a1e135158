"""A small world of requests that a tiny model can learn: what it is trained on, and judged by.

Golden ones share the patterns and none of the things: knowing the rows by heart is of no use.
"""

from __future__ import annotations

from itertools import product

from tests.training.samples import row
from training.rows import Origin, Row

__all__ = ["ASKED", "CORRECTED", "corrections", "golden_rows", "public_rows"]

ASKED = "how much did we pay for heating?"
"""What the starter gets wrong."""
CORRECTED = "EXTRACT"
PATTERNS = {
    "SUMMARIZE": ("sum up {} for me", "give me the gist of {}", "summarize the notes on {}"),
    "EXTRACT": ("list every price of {}", "extract the dates of {}", "how much did we pay for {}?"),
    "REASON": ("why does {} matter?", "explain why {} went wrong", "should we give up {}?"),
    "SEARCH_ONLY": ("open the photos of {}", "find the folder with {}", "where is the file on {}"),
}
LEARNED = (
    *("bridges", "tulips", "violins", "glaciers", "taxes", "turtles", "rockets", "bakeries"),
    *("chess", "windmills", "opera", "saddles", "coffee", "lighthouses", "fossils", "sailing"),
)
JUDGED = (
    *("heat pump radiators", "upstairs bathroom carpets", "motor yacht insurance"),
    *("october gardening tools", "downtown parking permits", "blue cheese with walnuts"),
    "elementary school choirs",
)


def public_rows() -> list[Row]:
    """What others labelled, for training; of what the starter gets wrong, none."""
    return [
        row(f"public-{n}", pattern.format(thing), label, origin=Origin.PUBLIC)
        for n, (label, pattern, thing) in enumerate(_all(LEARNED))
        if not pattern.startswith("how much")
    ]


def corrections() -> list[str]:
    """Texts that a person corrects to `CORRECTED`."""
    return [f"how much did we pay for {thing}?" for thing in LEARNED]


def golden_rows() -> list[Row]:
    """What it is judged by."""
    return [
        row(f"golden-{n}", pattern.format(thing), label, origin=Origin.GOLDEN)
        for n, (label, pattern, thing) in enumerate(_all(JUDGED))
    ]


def _all(things: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return [
        (label, pattern, thing)
        for label, patterns in PATTERNS.items()
        for pattern, thing in product(patterns, things)
    ]

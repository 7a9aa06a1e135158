"""`intentd model pull` takes the bundle that was meant, or says why it cannot tell."""

from __future__ import annotations

import pytest

from edge.commands.install import choose
from edge.commands.source import is_path
from edge.errors import InvalidValue, NotFound
from edge.models.pull import Published


def published(
    name: str, version: str, digest: str, created_utc: str = "2026", alias: str = ""
) -> Published:
    """One of an index; the digest is filled up."""
    full = digest.ljust(64, "0")
    return Published(
        name=name, version=version, digest=full, files={}, created_utc=created_utc, alias=alias
    )


INDEX = (
    published("invoices", "1.9", "aaaaaa1"),
    published("invoices", "1.10", "aaaaaa2"),
    published("invoices", "1.10", "bbbbbb3", "2027"),
    published("letters", "4", "cccccc4"),
    published("decade", "1", "dddddd5"),
)


@pytest.mark.parametrize(
    ("wanted", "digest"),
    [
        ("invoices", "bbbbbb3"),  # of two with one version, what was made last
        ("letters", "cccccc4"),
        ("cccccc", "cccccc4"),
        ("aaaaaa1" + "0" * 57, "aaaaaa1"),
        ("decade", "dddddd5"),  # looks like a digest, and is none
    ],
)
def test_a_digest_or_a_name_says_what_is_meant(wanted: str, digest: str) -> None:
    """Of a name the newest version, wherever it stands."""
    for index in (INDEX, INDEX[::-1]):
        assert choose(index, wanted).digest.rstrip("0") == digest


def test_what_is_in_production_is_meant_before_what_is_newer() -> None:
    """The candidate must be asked for; without any alias the newest version is meant."""
    index = (
        published("invoices", "1", "aaaaaa1", alias="production"),
        published("invoices", "2", "aaaaaa2"),
        published("invoices", "3", "aaaaaa3", alias="staging"),
    )

    assert choose(index, "invoices").version == choose(index, "").version == "1"
    assert choose(index, "invoices@staging").version == choose(index, "@staging").version == "3"
    assert choose(index[1:], "invoices").version == "2"
    with pytest.raises(NotFound, match="invoices@production"):
        choose(index[1:], "invoices@production")
    with pytest.raises(NotFound):
        choose(index[2:], "invoices")


def test_a_name_need_not_be_said_where_there_is_one() -> None:
    """With several it must be, and they are listed."""
    assert choose(INDEX[:2], "").version == "1.10"
    with pytest.raises(InvalidValue, match="decade, invoices, letters"):
        choose(INDEX, "")


def test_what_is_not_published_is_not_guessed() -> None:
    """Neither by name, nor by a digest that two have."""
    with pytest.raises(NotFound, match="found decade, invoices, letters"):
        choose(INDEX, "bills")
    with pytest.raises(NotFound, match="found nothing"):
        choose((), "")
    with pytest.raises(InvalidValue, match="2 bundles start so"):
        choose(INDEX, "aaaaaa")


@pytest.mark.parametrize(
    ("argument", "verdict"),
    [("./x", True), (".", True), ("0a1b2c", False), ("configured", False), ("f" * 64, False)],
)
def test_a_path_is_told_from_a_digest(argument: str, verdict: bool) -> None:
    """What has a slash, or is there, is a path."""
    assert is_path(argument) is verdict


@pytest.mark.parametrize("argument", ["absent", "0a1b2", "0A1B2C", "f" * 65])
def test_what_is_neither_path_nor_digest_is_refused(argument: str) -> None:
    """With what either looks like."""
    with pytest.raises(InvalidValue, match="expected a path, or 6 or more digits"):
        is_path(argument)

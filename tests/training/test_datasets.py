"""Public sets are read where they lie."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.training.conftest import DATA
from training.datasets import read_banking77, read_clinc150, read_intent4
from training.errors import InvalidRows


def test_clinc150_is_read_whole(clinc150: Path) -> None:
    """Its published sizes: 150 intents of 100, 20 and 30; and 100, 100, 1000 out of scope."""
    sizes = {
        s: Counter(r.label for r in read_clinc150(clinc150, s)) for s in ("train", "val", "test")
    }

    assert {s: (len(c), c[None], c["translate"]) for s, c in sizes.items()} == {
        "train": (151, 100, 100),
        "val": (151, 100, 20),
        "test": (151, 1000, 30),
    }


def test_the_other_sets_are_read_whole() -> None:
    """BANKING77's test, and intent4 with and without its passages."""
    if not (DATA / "banking77" / "test.csv").exists() or not (DATA / "intent4").exists():
        pytest.skip("no BANKING77 or intent4 in ../shared/data")
    banking = list(read_banking77(DATA / "banking77" / "test.csv"))
    text = list(read_intent4(DATA / "intent4" / "dev.jsonl"))
    request = list(read_intent4(DATA / "intent4" / "dev.jsonl", request=True))

    assert (len(banking), len({r.label for r in banking})) == (3080, 77)
    assert [r.id for r in text] == [r.id for r in request]
    assert sum(map(len, (r.text for r in request))) < sum(map(len, (r.text for r in text)))
    assert {r.label for r in read_intent4(DATA / "intent4" / "oos.jsonl")} == {None}


def test_another_file_is_named(tmp_path: Path) -> None:
    """Whichever set was expected."""
    path = tmp_path / "other.json"
    path.write_text('{"a": 1}\n')

    for read in (lambda p: read_clinc150(p, "train"), read_intent4):
        with pytest.raises(InvalidRows, match=r"other\.json"):
            list(read(path))

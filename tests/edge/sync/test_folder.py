"""A directory as a target: whole objects, nothing twice, whatever happened in between."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from edge.errors import InvalidSettings, Unavailable
from edge.sync.batch import Batch, Sender
from edge.sync.folder import Folder
from edge.sync.outgoing import Outgoing, Preparer
from edge.sync.redact import Redactor
from edge.sync.settings import Tier
from edge.wire import CorrectionRecord, ErasureRecord
from tests.edge.sync.records import correction, erasure

DEVICE = "0b9f6e5e-0000-4000-8000-000000000001"
_names = count()


@pytest.fixture(params=["local", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path, a file URL, and a file system that is neither."""
    places = {
        "local": str(tmp_path / "out"),
        "file": f"file://{tmp_path}/out",
        "memory": f"memory://corrections-{next(_names)}",
    }
    return places[request.param]


def prepared(records: Sequence[CorrectionRecord | ErasureRecord]) -> list[Outgoing]:
    """As they leave."""
    preparer = Preparer(Tier.REDACTED, Redactor(), bytes)
    return [one for record in records if (one := preparer.prepare(record)) is not None]


def batch_of(records: Sequence[Outgoing]) -> Batch:
    """As one batch."""
    return Batch(Sender(DEVICE, 1, "redacted"), records)


def read(url: str) -> list[dict[str, Any]]:
    """Every line of every object, as somebody reads them who knows only fsspec."""
    import fsspec

    rows: list[dict[str, Any]] = []
    for file in fsspec.open_files(f"{url}/{DEVICE}/*.ndjson.gz", "rb"):
        with file as opened:
            rows += map(json.loads, gzip.decompress(opened.read()).splitlines())
    return rows


def test_batch_becomes_one_object_that_says_all(url: str) -> None:
    """Each line is complete in itself."""
    results = Folder(url).deliver(batch_of(prepared([correction(seq=1), correction(seq=2)])))
    rows = read(url)

    assert [result.status for result in results] == ["accepted", "accepted"]
    assert [row["id"] for row in rows] == [result.id for result in results]
    assert {(row["device_id"], row["redaction_version"], row["tier"]) for row in rows} == {
        (DEVICE, "1", "redacted")
    }


def test_same_batch_again_changes_nothing(url: str) -> None:
    """The answer to the first time was lost; another process sends it again."""
    batch = batch_of(prepared([correction(seq=seq) for seq in range(1, 6)]))
    Folder(url).deliver(batch)
    results = Folder(url).deliver(batch)

    assert {result.status for result in results} == {"duplicate"}
    assert len(read(url)) == 5


def test_batch_that_has_grown_since_brings_only_what_is_new(url: str) -> None:
    """Killed after writing; since then more corrections came, and the batch has other bounds."""
    records = prepared([correction(seq=seq) for seq in range(1, 9)])
    Folder(url).deliver(batch_of(records[2:5]))
    Folder(url).deliver(batch_of(records))
    ids = [row["id"] for row in read(url)]

    assert sorted(ids) == sorted(record.id for record in records)


def test_record_from_the_dead_letter_finds_its_place(url: str) -> None:
    """Its number lies within an object that does not hold it."""
    records = prepared([correction(seq=seq) for seq in (1, 2, 3)])
    Folder(url).deliver(batch_of([records[0], records[2]]))
    results = Folder(url).deliver(batch_of([records[1]]))

    assert [result.status for result in results] == ["accepted"]
    assert len(read(url)) == 3


def test_erasures_are_written_though_they_have_no_number(url: str) -> None:
    """Alone, and beside corrections."""
    tombstones = prepared([erasure("01900000-0000-7000-8000-000000000000")])
    Folder(url).deliver(batch_of(tombstones))
    Folder(url).deliver(batch_of([*tombstones, *prepared([correction()])]))

    assert [row["type"] for row in read(url)].count("correction") == 1


def test_names_tell_how_far_a_device_has_come(url: str) -> None:
    """By epoch first; other devices do not count."""
    folder = Folder(url)
    assert folder.seen(DEVICE) is None
    folder.deliver(batch_of(prepared([correction(seq=70, epoch=1)])))
    folder.deliver(batch_of(prepared([correction(seq=3, epoch=2)])))

    assert folder.seen(DEVICE) == (2, 3)
    assert folder.seen("another") is None


def test_counts_are_written_over(url: str) -> None:
    """The last numbers, not a history."""
    import fsspec

    for number in (1, 2):
        rows = [{"label": "EXTRACT", "corrections": number, "confirmations": 0}]
        Folder(url).report(Batch(Sender(DEVICE, 1, "counts"), (), rows))
    with fsspec.open(f"{url}/{DEVICE}/counts.json") as file:
        assert json.load(file)["counts"][0]["corrections"] == 2


def test_write_that_breaks_leaves_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the last moment: nothing is there under the final name, nothing delivered."""

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge.sync.folder.os.fsync", fail)
    with pytest.raises(Unavailable, match="nothing was lost"):
        Folder(str(tmp_path)).deliver(batch_of(prepared([correction()])))

    assert read(str(tmp_path)) == []


@pytest.mark.parametrize("word", ["collector.example", "out", "gopher://somewhere", ""])
def test_place_that_may_be_a_typing_error_is_refused(word: str) -> None:
    """A host without its https:// must not become a directory wherever the timer runs."""
    with pytest.raises(InvalidSettings, match=r"https://.*begins with / or ~"):
        Folder(word)


def test_device_that_is_no_name_cannot_climb(tmp_path: Path) -> None:
    """The id comes from the daemon, but a path is a path."""
    sender = Sender("../../etc", 1, "redacted")
    with pytest.raises(InvalidSettings, match="device id"):
        Folder(str(tmp_path)).deliver(Batch(sender, prepared([correction()])))

"""Recording, finding and listing corrections, through the store's public door."""

from __future__ import annotations

import dataclasses
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import KeyReused, StoreUnavailable
from edge.store import CorrectionStore
from edge.store.keys import override_key
from edge.store.records import Correction, Kind, NewCorrection, State
from tests.edge.store.samples import new_correction

texts = st.text(st.characters(exclude_categories=["Cs"]))
new_corrections = st.builds(
    NewCorrection,
    text=texts,
    content=st.none() | texts,
    label=st.none() | texts,
    kind=st.sampled_from(Kind),
    predicted_label=st.none() | texts,
    score=st.none() | st.floats(0, 1),
    prediction_id=st.none() | texts,
    labels=st.lists(texts).map(tuple),
    label_set=texts,
    model=texts,
    phase=texts,
    source=texts,
    client_key=st.none(),
)


@given(new=new_corrections)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_recorded_comes_back_in_every_field(
    store: CorrectionStore, new: NewCorrection
) -> None:
    """Whatever the texts hold, and from another query than the one that wrote it."""
    recorded = store.record(new).result()
    found = store.find(recorded.correction.id).result()
    assert found == recorded.correction
    assert isinstance(found, Correction)
    said = {field.name: getattr(found, field.name) for field in dataclasses.fields(NewCorrection)}
    assert NewCorrection(**said) == new
    assert (recorded.is_new, found.state) == (True, State.DURABLE)


def test_corrections_survive_the_process(tmp_path: Path) -> None:
    """What was recorded is there after the store was closed and opened again."""
    first = CorrectionStore.open(tmp_path)
    recorded = first.record(new_correction()).result().correction
    first.close()
    second = CorrectionStore.open(tmp_path)
    assert second.find(recorded.id).result() == recorded
    assert second.health().ok
    second.close()


def test_the_same_client_key_records_once(store: CorrectionStore) -> None:
    """A repetition gets the first answer, even where the model has changed meanwhile."""
    first = store.record(new_correction(client_key="k")).result()
    again = store.record(new_correction(client_key="k", model="model-2", score=0.1)).result()
    assert (again.correction, again.is_new) == (first.correction, False)
    assert store.counts().result().total == 1
    assert store.find_key("k").result() == first.correction


@pytest.mark.parametrize(
    "change", [{"text": "other"}, {"content": "x"}, {"label": None}, {"prediction_id": "p"}]
)
def test_a_client_key_with_something_else_is_refused(
    store: CorrectionStore, change: dict[str, object]
) -> None:
    """The message names what differs, and no text."""
    store.record(new_correction(client_key="k")).result()
    changed = dataclasses.replace(new_correction(client_key="k"), **change)  # type: ignore[arg-type]
    with pytest.raises(KeyReused, match=f"another {next(iter(change))}") as caught:
        store.record(changed).result()
    assert "say it in short" not in str(caught.value)


def test_many_writers_with_the_same_keys_record_each_once(store: CorrectionStore) -> None:
    """Numbers have no gap, whoever came first, in whatever groups they were written."""
    with ThreadPoolExecutor(8) as pool:
        keys = [str(number % 100) for number in range(800)]
        done = list(
            pool.map(lambda key: store.record(new_correction(client_key=key)).result(), keys)
        )
    assert sum(recorded.is_new for recorded in done) == 100
    listed = store.list(limit=1000).result()
    assert [correction.seq for correction in listed] == list(range(1, 101))


def test_refused_corrections_leave_no_gap(store: CorrectionStore) -> None:
    """A number is given out only with a row."""
    store.record(new_correction("one", client_key="k")).result()
    assert store.record(new_correction("two", client_key="k")).exception() is not None
    assert store.record(new_correction("\ud800")).exception() is not None  # no text for SQLite
    assert store.record(new_correction("three")).result().correction.seq == 2


def test_listing_goes_on_after_a_number_and_filters(store: CorrectionStore) -> None:
    """Pages follow each other without overlap."""
    for number in range(6):
        kind = Kind.CONFIRMATION if number % 2 else Kind.CORRECTION
        store.record(new_correction(str(number), kind=kind, label="AB"[number % 2])).result()
    first = store.list(limit=4).result()
    rest = store.list(after_seq=first[-1].seq).result()
    assert [it.text for it in [*first, *rest]] == list("012345")
    assert [it.text for it in store.list(kind=Kind.CONFIRMATION).result()] == list("135")
    assert [it.text for it in store.list(label="A", after_seq=1).result()] == list("24")


def test_an_override_is_the_newest_word_on_a_text(store: CorrectionStore, tmp_path: Path) -> None:
    """Known at once, gone with its correction, and back to the word before."""
    first = store.record(new_correction("a  b", label="X")).result().correction
    second = store.record(new_correction("a b", label=None)).result().correction
    key = override_key("a b", None)
    found = store.find_override(key, "set-1")
    assert found is not None
    assert (found.id, found.label) == (second.id, None)
    assert store.find_override(key, "set-2") is None
    store.erase([second.id]).result()
    assert [it.id for it in store.overrides()] == [first.id]
    store.close()
    again = CorrectionStore.open(tmp_path)
    assert [it.id for it in again.overrides()] == [first.id]
    again.close()


def test_counts_add_up(store: CorrectionStore) -> None:
    """Per label and kind; agreement only where a prediction is known."""
    known, unknown = {"prediction_id": "p"}, {"score": None, "predicted_label": None}
    store.record(new_correction("1", label="A", **known)).result()
    store.record(new_correction("2", label="A", kind=Kind.CONFIRMATION, **known)).result()
    store.record(new_correction("3", label=None, **unknown)).result()
    counts = store.counts().result()
    assert counts.per_label == {"A": (1, 1), None: (1, 0)}
    assert [day[1:] for day in counts.by_day] == [(1, 2)]
    assert (counts.total, counts.outbox, counts.dead) == (3, 3, 0)


def test_a_store_that_is_closed_says_so(store: CorrectionStore) -> None:
    """Every future ends, also after the end."""
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.record(new_correction()).result()


def test_nobody_else_may_look_into_the_directory(tmp_path: Path) -> None:
    """Files are 0600 and directories 0700, whatever the umask."""
    directory = tmp_path / "state"
    store = CorrectionStore.open(directory)
    store.record(new_correction()).result()
    store.backup().result()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_file()}
    folders = [directory, directory / "backups"]
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    store.close()


def test_settings_are_read_back(store: CorrectionStore) -> None:
    """Health tells what SQLite says that it does, not what was asked of it."""
    health = store.health()
    assert (health.journal_mode, health.synchronous) == ("wal", "FULL")
    assert health.ok
    assert health.detail == ""
    assert health.free_bytes > 0
    assert health.sqlite_version.count(".") == 2

"""`edge.vectors`: what was kept comes back to the last bit, and nothing else ever does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import zero_shot_embedding as family
from edge.bundle import STARTER, read_bundle
from edge.cpu import Cpu
from edge.labels import DEFAULT_INTENTS, Intent, LabelSet, read_label_set
from edge.predictor import Predictor
from edge.query import Query
from edge.runtime import RuntimeOptions
from edge.similarity import known_texts
from edge.vectors import KEPT_FILES, VectorFile

CPU = Cpu("a cpu", "x86_64", frozenset({"avx2", "sse"}))
VECTORS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
FEW = LabelSet("few", "1", (Intent("a", "apples"), Intent("b", "bananas")), ("neither",) * 20)


def make_file(directory: Path, **other: Any) -> VectorFile:
    """A file of one bundle, label set, runtime and CPU, or of others."""
    facts: dict[str, Any] = {"bundle": "b", "label_set": "l", "runtime": "1.32", "cpu": CPU}
    return VectorFile.of(directory, **facts | other)


def test_what_was_kept_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    """In a directory that is made for it, and is nobody else's."""
    made = make_file(tmp_path / "vectors")
    assert made.read(3) is None
    made.write(VECTORS)
    found = make_file(tmp_path / "vectors").read(3)

    assert found is not None
    assert found.tobytes() == VECTORS.tobytes()
    assert found.shape == (3, 4)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert made.path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in made.path.parent.iterdir()] == [made.path.name]


@pytest.mark.parametrize(
    "other",
    [
        {"bundle": "c"},
        {"label_set": "m"},
        {"runtime": "1.33"},
        {"cpu": Cpu("b cpu", "x86_64", CPU.flags)},
        {"cpu": Cpu("a cpu", "x86_64", frozenset({"avx2"}))},
    ],
    ids=lambda other: next(iter(other)),
)
def test_vectors_of_anything_else_are_not_used(tmp_path: Path, other: dict[str, Any]) -> None:
    """Not even where somebody renames the file."""
    made, foreign = make_file(tmp_path), make_file(tmp_path, **other)
    made.write(VECTORS)
    assert foreign.read(3) is None
    made.path.rename(foreign.path)

    assert foreign.read(3) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, data: st.DataObject) -> None:
    """Cut off, grown, or with any bit turned over."""
    made = make_file(tmp_path)
    made.write(VECTORS)
    whole = made.path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from(
            [whole[:at], whole + b"\0", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]]
        )
    )
    made.path.write_bytes(damaged)

    assert made.read(3) is None


def test_another_number_of_texts_is_another_file(tmp_path: Path) -> None:
    """Twelve numbers are not five vectors."""
    made = make_file(tmp_path)
    made.write(VECTORS)

    assert made.read(5) is None


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path) -> None:
    """A directory whose parent is missing, or that is a file, stops nobody."""
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "no" / "vectors", tmp_path / "file"):
        make_file(directory).write(VECTORS)
        assert make_file(directory).read(3) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_files_of_old_bundles_go(tmp_path: Path) -> None:
    """A few are kept, for bundles that take turns."""
    for number in range(KEPT_FILES + 3):
        make_file(tmp_path, bundle=str(number)).write(VECTORS)

    assert len(list(tmp_path.iterdir())) == KEPT_FILES


def test_a_second_start_embeds_nothing_and_answers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit; a damaged file only costs its time again."""
    options = RuntimeOptions(vectors=tmp_path / "vectors")
    bundle, query = read_bundle(STARTER), Query("where is the fruit?", FEW)
    first = Predictor(bundle, FEW, options).predict(query).scores

    def refuse(*_: object) -> None:
        raise AssertionError("embedded again")

    with monkeypatch.context() as patched:
        patched.setattr(family.ZeroShotEmbedding, "_embed_all", refuse)
        assert Predictor(bundle, FEW, options).predict(query).scores == first
    (file,) = (tmp_path / "vectors").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert Predictor(bundle, FEW, options).predict(query).scores == first
    assert Predictor(bundle, FEW).predict(query).scores == first


def test_labels_of_a_request_are_written_nowhere(tmp_path: Path) -> None:
    """They are the users' words; only the admin's label set is kept."""
    predictor = Predictor(read_bundle(STARTER), FEW, RuntimeOptions(vectors=tmp_path / "v"))
    before = [file.name for file in (tmp_path / "v").iterdir()]
    predictor.predict(Query("where is it?", LabelSet.from_names([f"label {n}" for n in range(40)])))

    assert [file.name for file in (tmp_path / "v").iterdir()] == before


def test_embedding_on_all_cores_changes_no_bit() -> None:
    """The default label set, text by text and all at once."""
    labels = read_label_set(DEFAULT_INTENTS)
    loaded = Predictor(read_bundle(STARTER), FEW)._family
    assert isinstance(loaded, family.ZeroShotEmbedding)
    texts = known_texts(labels)[:40]

    assert np.array_equal(
        loaded._embed_all(texts), np.stack([loaded._embed(text) for text in texts])
    )

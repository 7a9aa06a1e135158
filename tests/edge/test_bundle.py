"""`edge.bundle`: what is sealed can be read, and every kind of damage is told apart from it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from edge.bundle import (
    CARD,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MODEL,
    SELFTEST,
    TOKENIZER,
    Bundle,
    FileEntry,
    Manifest,
    Metric,
    Quantization,
    SelfTestCase,
    Source,
    Target,
    Task,
    manifest_digest,
    read_bundle,
    seal_bundle,
)
from edge.errors import BundleCorrupt, BundleIncompatible

CASE = {"text": "sum it up", "labels": ["A", "B"], "label": "A", "scores": {"A": 0.7, "B": 0.3}}
NLI: dict[str, Any] = {
    "task": "zero-shot-nli",
    "labels": ["contradiction", "neutral", "entailment"],
    "entailment_id": 2,
    "contradiction_id": 0,
    "hypothesis_template": "This example is {}.",
}
BASE: dict[str, Any] = {
    "name": "tiny",
    "version": "1",
    "task": "sequence-classification",
    "architecture": "DistilBertForSequenceClassification",
    "labels": ["A", "B"],
    "max_tokens": 512,
    "quantization": {"recipe": "fp32", "batch_invariant": True},
    "opset": 18,
    "source": {"model": "made-up", "revision": "0"},
    "licence": "Apache-2.0",
    "created_utc": "2026-01-01T00:00:00Z",
}


def make_manifest(**changes: Any) -> Manifest:
    """A manifest that is sound, apart from the changes."""
    return Manifest.model_validate(BASE | changes)


def model_bytes(external: bool = False) -> bytes:
    """A small ONNX file; if external, its weight lies in another."""
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="weights.bin")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return bytes(
        helper.make_model(helper.make_graph([node], "g", [x], [y], [weight])).SerializeToString()
    )


def fill(folder: Path, selftest: str | bytes = json.dumps(CASE) + "\n") -> Path:
    """The files of a bundle, not sealed yet."""
    folder.mkdir()
    (folder / MODEL).write_bytes(model_bytes())
    (folder / TOKENIZER).write_text("{}")
    (folder / SELFTEST).write_bytes(selftest.encode() if isinstance(selftest, str) else selftest)
    (folder / CARD).write_text("# tiny\n")
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A sealed bundle."""
    return seal_bundle(fill(tmp_path / "bundle"), make_manifest())


def edit(bundle: Bundle, **changes: Any) -> None:
    """Change the manifest on disk behind the reader's back."""
    path = bundle.path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Round trips


scores = st.floats(0, 1)
texts = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    "version": st.text(min_size=1, max_size=64),
    "task": st.just(Task.ZERO_SHOT_NLI),
    "architecture": texts,
    "labels": st.lists(texts, min_size=2, max_size=5, unique=True).map(tuple),
    "entailment_id": st.just(1),
    "contradiction_id": st.just(0),
    "hypothesis_template": st.builds("{}{{}}{}".format, *[st.text("ab é.")] * 2),
    "activation": st.sampled_from(["softmax", "sigmoid"]),
    "max_tokens": st.integers(8, 10_000),
    "threshold": scores,
    "thresholds": st.dictionaries(texts, scores, max_size=3),
    "temperature": st.floats(0, 100, exclude_min=True),
    "similarity": st.dictionaries(texts, numbers, max_size=3),
    "quantization": st.builds(
        Quantization,
        recipe=texts,
        target=texts,
        batch_invariant=st.booleans(),
        parity=st.dictionaries(texts, numbers, max_size=3),
    ),
    "selftest_tolerance": st.floats(0, 1, exclude_min=True),
    "opset": st.integers(),
    "files": st.dictionaries(
        texts, st.builds(FileEntry, sha256=digests, size=st.integers(0)), max_size=3
    ),
    "source": st.builds(Source, model=texts, revision=texts),
    "dataset_sha256": st.none() | digests,
    "metrics": st.lists(
        st.builds(Metric, name=texts, value=numbers, n=st.integers(), dataset=texts), max_size=2
    ).map(tuple),
    "licence": texts,
    "created_utc": texts,
}
manifests = st.builds(Manifest, **FIELDS)
junk = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(manifests)
def test_every_manifest_field_survives_its_json(manifest: Manifest) -> None:
    """Writer and reader share one dataclass: decode(encode(x)) == x."""
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert (
        Manifest.model_validate(json.loads(json.dumps(manifest.model_dump(mode="json"))))
        == manifest
    )


def test_the_round_trip_covers_every_field() -> None:
    """A new manifest field must join the round trip above."""
    assert set(FIELDS) == set(Manifest.model_fields) - {"schema_version"}


@pytest.mark.parametrize("task", [{}, NLI, {"task": "zero-shot-embedding", "labels": []}])
def test_what_is_sealed_can_be_read(tmp_path: Path, task: dict[str, Any]) -> None:
    """Sealing returns what reading returns, and adds nothing but the files' hashes."""
    manifest = make_manifest(**task)

    sealed = seal_bundle(fill(tmp_path / "bundle"), manifest)

    assert read_bundle(tmp_path / "bundle") == sealed
    assert sealed.manifest.model_copy(update={"files": {}}) == manifest
    assert set(sealed.manifest.files) == {MODEL, TOKENIZER, SELFTEST, CARD}
    assert sealed.manifest.files[MODEL].size == len(model_bytes())


@pytest.mark.parametrize(("task", "phase"), [*zip(Task, ("A", "B", "starter"), strict=True)])
def test_each_task_has_the_phase_that_answers_carry(task: Task, phase: str) -> None:
    """Clients tell the phases apart by these words."""
    assert task.phase == phase


# The digest


def test_the_digest_does_not_depend_on_how_the_manifest_is_written(bundle: Bundle) -> None:
    """Key order and white space are not content."""
    path = bundle.path / MANIFEST
    data = json.loads(path.read_text(), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    path.write_text(json.dumps(data, indent=7))

    assert read_bundle(bundle.path).digest == bundle.digest


def test_equal_content_has_an_equal_digest_wherever_it_lies(tmp_path: Path) -> None:
    """The digest is the bundle's identity: no path and no clock is part of it."""
    one = seal_bundle(fill(tmp_path / "one"), make_manifest())
    two = seal_bundle(fill(tmp_path / "two"), make_manifest())

    assert one.digest == two.digest


def test_the_digest_changes_with_any_file_and_any_field(tmp_path: Path, bundle: Bundle) -> None:
    """The manifest holds every file's hash, so one number stands for all of them."""
    other = seal_bundle(fill(tmp_path / "other", json.dumps(CASE)), make_manifest())

    assert other.digest != bundle.digest
    assert manifest_digest(make_manifest(threshold=0.5)) != manifest_digest(make_manifest())


# Damage on the disk


def _remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


def _change_a_byte(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = bytearray((path / name).read_bytes())
        data[-1] ^= 1
        (path / name).write_bytes(data)

    return change


def _cut(name: str) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        (path / name).write_bytes((path / name).read_bytes()[:-1])

    return cut


def _make_link(name: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        (path / name).rename(path.parent / "elsewhere")
        (path / name).symlink_to(path.parent / "elsewhere")

    return link


def _make_folder(name: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        (path / name).unlink()
        (path / name).mkdir()

    return replace


@pytest.mark.parametrize("name", [MODEL, TOKENIZER, SELFTEST, CARD])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove, "cannot be read"),
        (_change_a_byte, "expected sha256"),
        (_cut, "bytes, found"),
        (_make_link, "expected a regular file"),
        (_make_folder, "expected a regular file"),
    ],
)
def test_every_kind_of_damage_to_a_file_is_found(
    bundle: Bundle, name: str, damage: Callable[[str], Callable[[Path], None]], message: str
) -> None:
    """The error names the file and what is wrong with it."""
    damage(name)(bundle.path)

    with pytest.raises(BundleCorrupt, match=message) as caught:
        read_bundle(bundle.path)

    assert str(caught.value).startswith(f"{bundle.path / name}: ")


def test_a_manifest_that_is_a_link_or_missing_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """The manifest vouches for the files; nothing may stand in for it."""
    _make_link(MANIFEST)(bundle.path)
    with pytest.raises(BundleCorrupt, match="expected a regular file"):
        read_bundle(bundle.path)

    (bundle.path / MANIFEST).unlink()
    with pytest.raises(BundleCorrupt, match=r"expected a bundle, found no manifest\.json"):
        read_bundle(bundle.path)
    with pytest.raises(BundleCorrupt, match="expected a bundle"):
        read_bundle(tmp_path / "nowhere")


def test_strange_files_beside_the_bundles_own_are_left_alone(bundle: Bundle) -> None:
    """File managers of NAS systems put theirs everywhere; what is not named is not read."""
    (bundle.path / "@eaDir").mkdir()
    (bundle.path / ".DS_Store").write_bytes(b"\0")

    assert read_bundle(bundle.path) == bundle


def test_a_signature_is_no_part_of_what_is_sealed(tmp_path: Path) -> None:
    """It is made over the manifest, so it cannot be named in it."""
    folder = fill(tmp_path / "bundle")
    (folder / "manifest.sig").write_bytes(b"signed")

    assert "manifest.sig" not in seal_bundle(folder, make_manifest()).manifest.files


def test_a_model_with_external_data_is_refused(tmp_path: Path) -> None:
    """No hash covers the other file, and the runtime would open it."""
    folder = fill(tmp_path / "bundle")
    (folder / MODEL).write_bytes(model_bytes(external=True))

    with pytest.raises(BundleCorrupt, match="self-contained"):
        seal_bundle(folder, make_manifest())


@pytest.mark.parametrize("stray", ["notes.txt", "weights.bin"])
def test_a_bundle_with_too_many_or_too_few_files_is_not_sealed(tmp_path: Path, stray: str) -> None:
    """The workstation ships what the format names, and hears of it before a manifest is written."""
    folder = fill(tmp_path / "bundle")
    (folder / stray).mkdir()
    with pytest.raises(BundleCorrupt, match=f"found also {stray}"):
        seal_bundle(folder, make_manifest())

    (folder / stray).rmdir()
    (folder / CARD).unlink()
    with pytest.raises(BundleCorrupt, match=r"found none for CARD\.md"):
        seal_bundle(folder, make_manifest())
    assert not (folder / MANIFEST).exists()


# The manifest's content


@pytest.mark.parametrize("target", list(Target))
def test_a_bundle_for_any_known_target_is_read(bundle: Bundle, target: Target) -> None:
    """Each runs everywhere: where 8-bit weights would overflow, the runtime adapts."""
    quantization = bundle.manifest.quantization.model_dump() | {"target": target.value}
    edit(bundle, quantization=quantization)

    assert read_bundle(bundle.path).manifest.quantization.target == target


@pytest.mark.parametrize("target", ["avx10", "", "ANY", "x" * 10_000])
def test_a_bundle_for_an_unknown_target_is_incompatible(bundle: Bundle, target: str) -> None:
    """Nobody has shown that its sums are exact here."""
    quantization = bundle.manifest.quantization.model_dump() | {"target": target}
    edit(bundle, quantization=quantization)

    with pytest.raises(BundleIncompatible, match="--target any") as caught:
        read_bundle(bundle.path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("found", [2, 0, None, "1", [], 10**30, "x" * 10_000])
def test_another_schema_version_is_incompatible_and_both_are_named(
    bundle: Bundle, found: Any
) -> None:
    """A newer bundle is not damaged: the way out is an update, and the message says so."""
    edit(bundle, schema_version=found, added_later=1)

    with pytest.raises(BundleIncompatible) as caught:
        read_bundle(bundle.path)

    message = str(caught.value)
    assert "schema_version 1, found " + repr(found)[:40] in message
    assert "update intentd" in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schema_version": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "cut off", "not UTF-8", "nested lists", "nested objects", "huge number"],
)
def test_a_manifest_that_cannot_be_read_is_corrupt(bundle: Bundle, content: bytes) -> None:
    """Whatever the bytes are, the answer is an error that names the file."""
    (bundle.path / MANIFEST).write_bytes(content)

    with pytest.raises(BundleCorrupt) as caught:
        read_bundle(bundle.path)

    assert str(caught.value).startswith(f"{bundle.path / MANIFEST}: ")


def test_a_huge_manifest_is_refused_before_it_is_read(bundle: Bundle) -> None:
    """At the limit it is read; one byte more, and whatever it is, it is no manifest."""
    path = bundle.path / MANIFEST
    path.write_bytes(path.read_bytes().ljust(MAX_MANIFEST_BYTES))
    assert read_bundle(bundle.path) == bundle

    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleCorrupt, match="expected at most 1048576 bytes"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b'"manifest"', b"{}"])
def test_json_that_is_no_manifest_has_no_known_schema(bundle: Bundle, content: bytes) -> None:
    """Without a schema version there is nothing to go by."""
    (bundle.path / MANIFEST).write_bytes(content)

    with pytest.raises(BundleIncompatible, match="found None"):
        read_bundle(bundle.path)


NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"unknown": 1}, "unknown"),
        ({"name": "Upper"}, "name"),
        ({"name": "../up"}, "name"),
        ({"name": ""}, "name"),
        ({"version": ""}, "version"),
        ({"task": "translation"}, "task"),
        ({"max_tokens": 7}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"threshold": 1.01}, "threshold"),
        ({"threshold": NAN}, "threshold"),
        ({"thresholds": {"A": -0.1}}, "thresholds.A"),
        ({"thresholds": {"A": NAN}}, "thresholds.A"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"similarity": {"margin": NAN}}, "similarity.margin"),
        ({"selftest_tolerance": 0}, "selftest_tolerance"),
        ({"activation": "none"}, "activation"),
        ({"quantization": {"recipe": "fp32"}}, "quantization.batch_invariant"),
        ({"files": {MODEL: {"sha256": "0", "size": 1}}}, f"files.{MODEL}.sha256"),
        ({"labels": []}, "labels"),
        ({"labels": ["A", "A"]}, "labels"),
        (NLI | {"entailment_id": None}, "entailment_id, contradiction_id"),
        (NLI | {"contradiction_id": None}, "entailment_id, contradiction_id"),
        (NLI | {"entailment_id": 3}, "entailment_id, contradiction_id"),
        (NLI | {"contradiction_id": -1}, "entailment_id, contradiction_id"),
        (NLI | {"entailment_id": 0}, "entailment_id, contradiction_id"),
        (NLI | {"hypothesis_template": None}, "hypothesis_template"),
        (NLI | {"hypothesis_template": "no place"}, "hypothesis_template"),
        (NLI | {"hypothesis_template": "{} and {}"}, "hypothesis_template"),
        (NLI | {"hypothesis_template": "{} and {"}, "hypothesis_template"),
        (NLI | {"hypothesis_template": "{0}"}, "hypothesis_template"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_corrupt(
    bundle: Bundle, changes: dict[str, Any], where: str
) -> None:
    """The error names the field; the same values are refused when a manifest is made."""
    edit(bundle, **changes)

    with pytest.raises(BundleCorrupt) as caught:
        read_bundle(bundle.path)
    assert str(caught.value).startswith(f"{bundle.path / MANIFEST}: {where}: ")
    with pytest.raises(ValidationError):
        make_manifest(**changes)


@pytest.mark.parametrize("extra", ["../../etc/passwd", "/etc/passwd", "weights.bin", MANIFEST, ""])
def test_only_the_formats_own_file_names_are_read(bundle: Bundle, extra: str) -> None:
    """A name that leads elsewhere is refused before anything is opened."""
    files = json.loads((bundle.path / MANIFEST).read_text())["files"]
    edit(bundle, files=files | {extra: files[CARD]})

    with pytest.raises(BundleCorrupt, match="found also"):
        read_bundle(bundle.path)


def test_a_file_that_the_manifest_does_not_vouch_for_is_refused(bundle: Bundle) -> None:
    """Every file of the format has an entry, or the bundle is not whole."""
    files = json.loads((bundle.path / MANIFEST).read_text())["files"]
    del files[TOKENIZER]
    edit(bundle, files=files)

    with pytest.raises(BundleCorrupt, match=r"found none for tokenizer\.json"):
        read_bundle(bundle.path)


@given(value=junk, field=st.sampled_from(sorted(Manifest.model_fields)))
def test_junk_in_any_field_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, value: Any, field: str
) -> None:
    """Whatever a field holds, the bundle is read, or one of the two declared errors is raised."""
    folder = fill(tmp_path_factory.mktemp("junk") / "bundle")
    sealed = seal_bundle(folder, make_manifest())
    edit(sealed, **{field: value})

    with contextlib.suppress(BundleCorrupt, BundleIncompatible):
        read_bundle(folder)


# The self-test


def test_the_self_tests_lines_are_read_in_order(tmp_path: Path) -> None:
    """U+2028 and its like may stand in a JSON string; only a line feed ends a line."""
    odd = CASE | {"text": "one\u2028two\x85three\x0cfour", "labels": []}
    lines = "\n".join(json.dumps(case, ensure_ascii=False) for case in (CASE, odd)) + "\r\n"
    sealed = seal_bundle(fill(tmp_path / "bundle", lines), make_manifest())

    first, second = sealed.read_selftest()

    assert first == SelfTestCase("sum it up", ("A", "B"), "A", {"A": 0.7, "B": 0.3})
    assert second == SelfTestCase(str(odd["text"]), (), "A", {"A": 0.7, "B": 0.3})


def test_an_empty_self_test_has_no_cases(tmp_path: Path) -> None:
    """Whether that is acceptable is for the predictor to say."""
    sealed = seal_bundle(fill(tmp_path / "bundle", ""), make_manifest())

    assert list(sealed.read_selftest()) == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        json.dumps(CASE | {"text": 1}).encode(),
        json.dumps(CASE | {"text": ""}).encode(),
        json.dumps(CASE | {"labels": "AB"}).encode(),
        json.dumps(CASE | {"labels": [1]}).encode(),
        json.dumps(CASE | {"label": None}).encode(),
        json.dumps(CASE | {"scores": {}}).encode(),
        json.dumps(CASE | {"scores": {"A": NAN}}).encode(),
        json.dumps(CASE | {"scores": {"A": 1.1}}).encode(),
        json.dumps(CASE | {"scores": {"A": "0.5"}}).encode(),
        json.dumps(CASE | {"scores": [0.5]}).encode(),
        b'{"text": "sum it up"}',
    ],
    ids=lambda line: repr(line[:90]),
)
def test_a_line_that_is_no_case_is_told_by_its_number(tmp_path: Path, line: bytes) -> None:
    """The second line is at fault: the error says which file and line."""
    content = json.dumps(CASE).encode() + b"\n" + line + b"\n"
    sealed = seal_bundle(fill(tmp_path / "bundle", content), make_manifest())

    with pytest.raises(BundleCorrupt, match=r"selftest\.jsonl:2: not a self-test case"):
        list(sealed.read_selftest())

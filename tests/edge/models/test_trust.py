"""`edge.models.trust` and `ages`: whose bundles count, and which of two is the older one."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from edge.bundle import Bundle, Manifest
from edge.errors import BundleCorrupt, InvalidSettings
from edge.models.ages import is_older, newer
from edge.models.trust import check_signature, read_public_key, read_trusted_keys
from export.sign import make_keys, sign_bundle
from tests.edge.models.bundles import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle that may be signed."""
    return make_bundle(tmp_path / "bundle")


def test_one_trusted_key_among_several_is_enough(bundle: Bundle, tmp_path: Path) -> None:
    """And the answer says whose signature it was."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("a", "b", "c"):
        make_keys(tmp_path / name).rename(keys / f"{name}.pub")
    (keys / "README").write_text("not a key")
    sign_bundle(bundle, tmp_path / "b")
    found = check_signature(bundle.path, bundle.manifest, read_trusted_keys(keys))

    assert found.name.endswith("b.pub")


def test_a_file_is_one_key(bundle: Bundle, tmp_path: Path) -> None:
    """The setting may name a file or a directory."""
    public = make_keys(tmp_path / "a")
    sign_bundle(bundle, tmp_path / "a")
    keys = read_trusted_keys(public)

    assert [key.name for key in keys] == [str(public)]
    check_signature(bundle.path, bundle.manifest, keys)


def test_no_key_trusts_nobody(bundle: Bundle, tmp_path: Path) -> None:
    """An empty list is no way around the check."""
    make_keys(tmp_path / "a")
    sign_bundle(bundle, tmp_path / "a")

    with pytest.raises(BundleCorrupt, match="do not serve"):
        check_signature(bundle.path, bundle.manifest, [])


def test_signature_covers_the_manifest_that_is_used(bundle: Bundle, tmp_path: Path) -> None:
    """Not the one that lies beside it."""
    public = make_keys(tmp_path / "a")
    sign_bundle(bundle, tmp_path / "a")
    other = Manifest.model_validate(bundle.manifest.model_dump() | {"threshold": 0.99})

    with pytest.raises(BundleCorrupt, match="expected a signature of"):
        check_signature(bundle.path, other, [read_public_key(public)])


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    """Another algorithm, a private key, a directory of none."""
    other = generate_private_key(SECP256R1()).public_key()
    (tmp_path / "ec.pub").write_bytes(
        other.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    make_keys(tmp_path / "a")
    (tmp_path / "none").mkdir()
    for name in ("ec.pub", "a", "none", "gone"):
        with pytest.raises(InvalidSettings, match="key"):
            read_trusted_keys(tmp_path / name)


ORDER = ["0", "0.9", "1.0-alpha", "1.0-rc1", "1.0-rc2", "1.0", "1.0.1", "1.2", "1.10", "v2", "10"]
DATES = ["2025-12-31", "2026-01-01", "2026-11-22", "2026-11-22.1"]


@pytest.mark.parametrize("order", [ORDER, DATES], ids=["numbers", "dates"])
def test_versions_are_ordered_as_people_read_them(order: list[str]) -> None:
    """10 comes after 9, and a candidate before what it is a candidate for."""
    order = [version.removeprefix("v") for version in order]
    for number, version in enumerate(order):
        assert not is_older(version, version)
        for later in order[number + 1 :]:
            assert is_older(version, later), (version, later)
            assert not is_older(later, version), (version, later)


def test_build_names_and_case_do_not_count() -> None:
    """As in semantic versions."""
    assert not is_older("1.0+a", "1.0+b")
    assert not is_older("1.0+b", "1.0+a")
    assert not is_older("1.0-RC1", "1.0-rc1")


texts = st.text(max_size=12)


@given(texts, texts, texts)
def test_any_texts_can_be_compared(one: str, two: str, three: str) -> None:
    """A version is free text: there is always an answer, and the answers fit together."""
    assert not (is_older(one, two) and is_older(two, one))
    if is_older(one, two) and is_older(two, three):
        assert is_older(one, three)
    assert newer(one, two) in (one, two)
    assert not is_older(newer(one, two), one)

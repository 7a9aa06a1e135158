"""Signatures: who holds the key, and over which manifest."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.bundle import MANIFEST, SIGNATURE, Bundle, read_bundle
from export.errors import OutputFailed, SignatureInvalid, SourceInvalid
from export.sign import check_signature, make_keys, sign_bundle
from tests.models import TinyModel, change_bundle


@pytest.fixture
def bundle(tiny: Callable[[str], TinyModel], tmp_path: Path) -> Bundle:
    """A bundle that may be changed."""
    return read_bundle(shutil.copytree(tiny("encoder").bundle, tmp_path / "bundle"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, with its public key beside it."""
    make_keys(tmp_path / "a.key")
    return tmp_path / "a.key"


def public(key: Path) -> Path:
    """The public key of a private one."""
    return key.with_name(f"{key.name}.pub")


def test_signed_bundle_is_the_same_bundle_and_checks(bundle: Bundle, key: Path) -> None:
    """The signature is no part of what it signs."""
    sign_bundle(bundle, key)
    signed = read_bundle(bundle.path)

    check_signature(signed, public(key))
    assert signed.digest == bundle.digest
    assert (bundle.path / SIGNATURE).is_file()


def test_signature_is_deterministic(bundle: Bundle, key: Path) -> None:
    """Ed25519 draws no random number: signing again changes nothing."""
    first = sign_bundle(bundle, key).read_bytes()

    assert sign_bundle(bundle, key).read_bytes() == first


def test_changed_manifest_is_noticed(bundle: Bundle, key: Path, tmp_path: Path) -> None:
    """Even where every hash fits again."""
    sign_bundle(bundle, key)
    changed = change_bundle(bundle.path, tmp_path / "changed", licence="MIT")

    with pytest.raises(SignatureInvalid, match="do not serve"):
        check_signature(changed, public(key))


def test_white_space_in_the_manifest_changes_nothing(bundle: Bundle, key: Path) -> None:
    """What is signed is the content, in its canonical form."""
    sign_bundle(bundle, key)
    path = bundle.path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text())))

    check_signature(read_bundle(bundle.path), public(key))


def test_another_key_is_noticed(bundle: Bundle, key: Path, tmp_path: Path) -> None:
    """Somebody signed it; not the one who is trusted."""
    sign_bundle(bundle, key)

    with pytest.raises(SignatureInvalid, match="found another"):
        check_signature(bundle, make_keys(tmp_path / "b.key"))


@pytest.mark.parametrize("data", [b"", b"not base64!", b"AAAA", b"\xff" * 64])
def test_damaged_signature_is_noticed(bundle: Bundle, key: Path, data: bytes) -> None:
    """Whatever lies in the file."""
    (bundle.path / SIGNATURE).write_bytes(data)

    with pytest.raises(SignatureInvalid):
        check_signature(bundle, public(key))


def test_missing_signature_is_named(bundle: Bundle, key: Path) -> None:
    """With how to get one."""
    with pytest.raises(SignatureInvalid, match=r"expected manifest\.sig, found none"):
        check_signature(bundle, public(key))


def test_private_key_is_for_its_owner_and_is_never_overwritten(key: Path) -> None:
    """A lost key is lost for good."""
    before = key.read_bytes()

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(OutputFailed, match="never overwritten"):
        make_keys(key)
    assert key.read_bytes() == before


def test_public_key_in_the_way_leaves_no_private_key(tmp_path: Path) -> None:
    """Nothing is made by halves."""
    (tmp_path / "a.key.pub").touch()

    with pytest.raises(OutputFailed):
        make_keys(tmp_path / "a.key")
    assert [path.name for path in tmp_path.iterdir()] == ["a.key.pub"]


def test_keys_of_another_kind_are_refused(bundle: Bundle, key: Path, tmp_path: Path) -> None:
    """Public for private, another algorithm, no key at all, no file."""
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "ec.key").write_bytes(pem)
    (tmp_path / "text").write_text("hello")

    for wrong in (public(key), tmp_path / "ec.key", tmp_path / "text", tmp_path / "gone"):
        with pytest.raises(SourceInvalid, match="key"):
            sign_bundle(bundle, wrong)
    for wrong in (key, tmp_path / "text"):
        with pytest.raises(SourceInvalid, match="public key"):
            check_signature(bundle, wrong)

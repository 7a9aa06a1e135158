"""Whose bundles may come in: an Ed25519 signature over the canonical manifest.

The one implementation of the check, which the workstation uses too. The edge's only file that
imports cryptography. It holds no private key, and keeps no record: both are the caller's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edge.bundle import SIGNATURE, Manifest, canonical_manifest
from edge.errors import BundleUntrusted, InvalidSettings

__all__ = ["CONTEXT", "PublicKey", "check_signature", "read_public_key", "read_trusted_keys"]

CONTEXT = b"intentd bundle manifest 1\n"
"""Goes before what is signed, so that a signature made for something else is none for a bundle."""
MAX_KEY_BYTES = 10_000
KEY_SUFFIXES = (".pub", ".pem")
MAX_SIGNATURE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Somebody whose signature counts."""

    name: str
    """The path it was read from; goes into messages."""
    key: Ed25519PublicKey


def read_trusted_keys(path: Path) -> tuple[PublicKey, ...]:
    """The keys of a file, or of each `.pub` and `.pem` file in a directory.

    A key is revoked by taking its file away.

    Raises:
        InvalidSettings: There is none, or one that cannot be used: it is not ignored, since the
            admin who put it there relies on it.
    """
    if not path.is_dir():
        return (read_public_key(path),)
    files = sorted(file for file in path.iterdir() if file.suffix in KEY_SUFFIXES)
    if not files:
        raise InvalidSettings(
            f"{path}: expected public keys (*.pub, *.pem), found none; put the signer's key there, "
            "or leave trusted_keys out to take bundles without a signature"
        )
    return tuple(read_public_key(file) for file in files)


def read_public_key(path: Path) -> PublicKey:
    """One Ed25519 public key in PEM.

    Raises:
        InvalidSettings: It is something else, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            key = load_pem_public_key(file.read(MAX_KEY_BYTES))
    except OSError as error:
        raise InvalidSettings(
            f"{path}: expected a key, cannot read it: {error.strerror}"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key(path) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _bad_key(path)
    return PublicKey(str(path), key)


def _bad_key(path: Path) -> InvalidSettings:
    return InvalidSettings(
        f"{path}: expected an Ed25519 public key in PEM, found something else; "
        "make one with intentd-export keygen"
    )


def check_signature(bundle: Path, manifest: Manifest, keys: Sequence[PublicKey]) -> PublicKey:
    """Check that a holder of one of the keys has signed this very manifest; returns whose it is.

    Raises:
        BundleUntrusted: No signature, or none of these keys over this manifest.
    """
    path = bundle / SIGNATURE
    try:
        with path.open("rb") as file:
            signature = base64.b64decode(file.read(MAX_SIGNATURE_BYTES).strip(), validate=True)
    except FileNotFoundError as error:
        raise BundleUntrusted(
            f"{bundle}: expected {SIGNATURE}, found none; sign the bundle with "
            "intentd-export sign, or ask its maker for the signed one"
        ) from error
    except (binascii.Error, OSError) as error:
        raise _unsigned(path, keys) from error
    for key in keys:
        try:
            key.key.verify(signature, CONTEXT + canonical_manifest(manifest))
        except InvalidSignature:
            continue
        return key
    raise _unsigned(path, keys)


def _unsigned(path: Path, keys: Iterable[PublicKey]) -> BundleUntrusted:
    names = " or ".join(key.name for key in keys)
    return BundleUntrusted(
        f"{path}: expected a signature of {names} over this manifest, found another; "
        "do not serve this bundle: get it again from its maker"
    )

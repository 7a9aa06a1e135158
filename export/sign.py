"""Signs a bundle's manifest, and checks a signature: who built it, beside what is in it.

Ed25519 over the canonical manifest, which hashes every file. The only file that imports
cryptography. It keeps no keys: they are the caller's files.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.bundle import SIGNATURE, Bundle, canonical_manifest
from export.errors import OutputFailed, SignatureInvalid, SourceInvalid

__all__ = ["check_signature", "make_keys", "sign_bundle"]

CONTEXT = b"intentd bundle manifest 1\n"
"""Goes before what is signed, so that a signature made for something else is none for a bundle."""
PRIVATE_MODE = 0o600
MAX_KEY_BYTES = 10_000


def make_keys(path: Path) -> Path:
    """Make a private key at `path` (mode 0600) and its public key beside it; returns the latter.

    Raises:
        OutputFailed: There is a file already: a key is never overwritten.
    """
    public_path = path.with_name(f"{path.name}.pub")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for target in (path, public_path):
        if target.exists():
            raise _in_the_way(target)
    for target, data, mode in ((public_path, public, 0o644), (path, private, PRIVATE_MODE)):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError as error:
            raise _in_the_way(target) from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    return public_path


def _in_the_way(path: Path) -> OutputFailed:
    return OutputFailed(
        f"{path}: expected no file, found one; a key is never overwritten: choose another name"
    )


def sign_bundle(bundle: Bundle, private_key: Path) -> Path:
    """Write `manifest.sig` beside the manifest, in one step; returns where.

    Raises:
        SourceInvalid: The key cannot be used.
    """
    key = _load_private(private_key)
    target = bundle.path / SIGNATURE
    unfinished = bundle.path.with_name(f".{bundle.path.name}-{SIGNATURE}")
    signature = key.sign(CONTEXT + canonical_manifest(bundle.manifest))
    unfinished.write_bytes(base64.b64encode(signature) + b"\n")
    unfinished.rename(target)
    return target


def check_signature(bundle: Bundle, public_key: Path) -> None:
    """Check that whoever holds the key has signed this very manifest.

    Raises:
        SignatureInvalid: No signature, or not this key's over this manifest.
        SourceInvalid: The key cannot be used.
    """
    key = _load_public(public_key)
    path = bundle.path / SIGNATURE
    try:
        signature = base64.b64decode(path.read_bytes().strip(), validate=True)
        key.verify(signature, CONTEXT + canonical_manifest(bundle.manifest))
    except FileNotFoundError as error:
        raise SignatureInvalid(
            f"{bundle.path}: expected {SIGNATURE}, found none; sign the bundle with "
            "intentd-export sign, or ask its maker for the signed one"
        ) from error
    except (InvalidSignature, binascii.Error, OSError) as error:
        raise SignatureInvalid(
            f"{path}: expected a signature of {public_key} over this manifest, found another; "
            "do not serve this bundle: get it again from its maker"
        ) from error


def _load_private(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(path, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key(path, "private")
    return key


def _load_public(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key(path, "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _bad_key(path, "public")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise SourceInvalid(f"{path}: expected a key, cannot read it: {error.strerror}") from error


def _bad_key(path: Path, kind: str) -> SourceInvalid:
    return SourceInvalid(
        f"{path}: expected an Ed25519 {kind} key in PEM, found something else; "
        "make one with intentd-export keygen"
    )

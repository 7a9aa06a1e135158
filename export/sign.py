"""Signs a bundle's manifest: who built it, beside what is in it.

Ed25519 over the canonical manifest, which hashes every file. Signatures are checked by the edge's
own code (`edge.models.trust`). It keeps no keys: they are the caller's files.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.bundle import SIGNATURE, Bundle, canonical_manifest
from edge.errors import BundleCorrupt, InvalidSettings
from edge.models import trust
from edge.models.trust import CONTEXT
from export.errors import OutputFailed, SignatureInvalid, SourceInvalid

__all__ = ["check_signature", "make_keys", "sign_bundle"]

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
    """Check that whoever holds the key has signed this very manifest, as the edge checks it.

    Raises:
        SignatureInvalid: No signature, or not this key's over this manifest.
        SourceInvalid: The key cannot be used.
    """
    try:
        trust.check_signature(bundle.path, bundle.manifest, [trust.read_public_key(public_key)])
    except InvalidSettings as error:
        raise SourceInvalid(str(error)) from error
    except BundleCorrupt as error:
        raise SignatureInvalid(str(error)) from error


def _load_private(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key(path)
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise SourceInvalid(f"{path}: expected a key, cannot read it: {error.strerror}") from error


def _bad_key(path: Path) -> SourceInvalid:
    return SourceInvalid(
        f"{path}: expected an Ed25519 private key in PEM, found something else; "
        "make one with intentd-export keygen"
    )

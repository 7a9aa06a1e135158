"""`intentd-export keygen` and `sign`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["keygen", "sign"]


def keygen(
    key: Annotated[Path, typer.Argument(help="Where the private key goes; .pub lies beside it.")],
) -> None:
    """Make an Ed25519 key pair; prints where the public key lies.

    Example: intentd-export keygen release.key
    """
    from export.sign import make_keys

    typer.echo(make_keys(key))


def sign(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    key: Annotated[Path, typer.Option(help="The private key.")],
) -> None:
    """Check a bundle's files and sign its manifest; prints where the signature lies.

    Example: intentd-export sign bart-bundle --key release.key
    """
    from edge.bundle import read_bundle
    from export.sign import sign_bundle

    typer.echo(sign_bundle(read_bundle(bundle), key))

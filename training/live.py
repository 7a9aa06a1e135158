"""What a box's live shadow saw of a candidate: from its admin socket, or a file of its answer."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.wire import ShadowAnswer
from training.errors import InvalidConfig, SourceUnreachable

__all__ = ["read_live"]

STDIN = "-"
MAX_BYTES = 1 << 20


def read_live(place: str) -> dict[str, Any]:
    """The live comparison.

    Args:
        place: A box's admin.sock, a file of `intentd shadow status --json`, or - for stdin.

    Raises:
        EdgeError: The daemon does not answer.
        InvalidConfig: It is something else, or nothing was compared.
        SourceUnreachable: There is nothing there.
    """
    answer = _ask(Path(place)) if _is_socket(place) else _read(place)
    report = answer.report
    if answer.digest is None or report is None:
        raise InvalidConfig(
            f"--live {place}: expected a bundle in the shadow, found none; begin with `intentd "
            "shadow start DIGEST`"
        )
    return {
        "digest": answer.digest,
        "state": answer.state,
        "since_utc": answer.since_utc,
        "requests": report.requests,
        "agreement": report.agreement,
        "disagreements": report.disagreements,
        "errors": report.new_errors,
        "dropped": report.dropped,
        "champion": {"p50_ms": report.old_p50_ms, "p95_ms": report.old_p95_ms},
        "candidate": {"p50_ms": report.new_p50_ms, "p95_ms": report.new_p95_ms},
    }


def _is_socket(place: str) -> bool:
    if place == STDIN:
        return False
    try:
        return stat.S_ISSOCK(Path(place).stat().st_mode)
    except OSError as error:
        raise SourceUnreachable(
            f"--live {place}: expected a box's admin.sock, or what `intentd shadow status --json` "
            f"printed, but {error.strerror}"
        ) from None


def _ask(socket: Path) -> ShadowAnswer:
    from edge.admin_client import AdminClient

    with AdminClient(socket) as client:
        return client.shadow()


def _read(place: str) -> ShadowAnswer:
    if place == STDIN:
        data = sys.stdin.read(MAX_BYTES)
    else:
        with Path(place).open(encoding="utf-8", errors="replace") as stream:
            data = stream.read(MAX_BYTES)
    try:
        return ShadowAnswer.model_validate_json(data)
    except ValidationError:
        raise InvalidConfig(
            f"--live {place}: expected what `intentd shadow status --json` prints, found something "
            "else"
        ) from None

"""`edge.errors`: the tree is whole, its codes are stable, and its picture is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from edge import errors
from edge.errors import EdgeError, InvalidRequest, Unavailable

# The contract: clients switch on these. A line may be added; none may change.
CONTRACT = {
    "InvalidRequest": ("invalid_request", 422, 2),
    "MalformedBody": ("malformed_body", 400, 2),
    "InvalidValue": ("invalid_value", 422, 2),
    "InvalidText": ("invalid_text", 422, 2),
    "UnknownLabel": ("unknown_label", 422, 2),
    "WindowTooSmall": ("window_too_small", 422, 2),
    "BodyTooLarge": ("body_too_large", 413, 2),
    "UnsupportedEncoding": ("unsupported_encoding", 415, 2),
    "NotFound": ("not_found", 404, 2),
    "KeyReused": ("key_reused", 409, 2),
    "SwapInProgress": ("swap_in_progress", 409, 1),
    "Unavailable": ("unavailable", 503, 1),
    "Overloaded": ("overloaded", 429, 1),
    "DeadlineExceeded": ("deadline_exceeded", 503, 1),
    "NotReady": ("not_ready", 503, 1),
    "ModelFailed": ("model_failed", 503, 1),
    "StoreUnavailable": ("store_unavailable", 507, 1),
    "ClientGone": ("client_gone", 499, 1),
    "CannotStart": ("cannot_start", 500, 3),
    "BundleCorrupt": ("bundle_corrupt", 422, 3),
    "BundleUntrusted": ("bundle_untrusted", 422, 3),
    "BundleOlder": ("bundle_older", 422, 3),
    "BundleIncompatible": ("bundle_incompatible", 422, 3),
    "InvalidSettings": ("invalid_settings", 500, 3),
    "InvalidLabelSet": ("invalid_label_set", 500, 3),
    "SocketInUse": ("socket_in_use", 500, 3),
    "SyncRefused": ("sync_refused", 502, 5),
    "DaemonUnreachable": ("daemon_unreachable", 503, 4),
}


def descendants(root: type[EdgeError]) -> Iterator[Any]:
    """Every class of this module below `root`."""
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from descendants(child)


def drawn_tree() -> dict[str, str]:
    """Child → parent, as the module's docstring draws them."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│ ]*)(?:[├└]── )?([A-Z]\w+)(?:\s|$)", line):
            depth = 0 if "── " not in line else len(match[1]) // 4 + 1
            path[depth:] = [match[2]]
            if depth:
                parents[match[2]] = path[depth - 1]
    return parents


LEAVES = sorted(descendants(EdgeError), key=lambda error: error.__name__)


def test_codes_statuses_and_exit_codes_are_the_contract() -> None:
    """What clients switch on does not change by accident."""
    found = {e.__name__: (e.code, e.http_status, e.exit_code) for e in LEAVES}

    assert found == CONTRACT


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: error.__name__)
def test_every_error_declares_its_own_code(error: Any) -> None:
    """An inherited code would make two situations look like one."""
    assert "code" in vars(error)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


def test_codes_are_unique() -> None:
    """One code, one situation."""
    codes = [error.code for error in (EdgeError, *LEAVES)]

    assert len(set(codes)) == len(codes)


def test_the_drawn_tree_is_the_real_one() -> None:
    """The picture in the docstring shows every class under its parent, and no other."""
    real = {e.__name__: p.__name__ for e in LEAVES for p in e.__bases__}

    assert drawn_tree() == real


def test_all_lists_every_public_name() -> None:
    """`__all__` is what is public, and sorted as the linter wants it."""
    public = {
        name
        for name, value in vars(errors).items()
        if not name.startswith("_") and (name.isupper() or isinstance(value, type))
    }

    assert set(errors.__all__) == public


def test_requests_at_fault_are_4xx_and_everything_else_is_not() -> None:
    """A client may repeat a 5xx or 429 later; a fault of the request stays one."""
    for error in descendants(InvalidRequest):
        assert 400 <= error.http_status < 500, error
        assert error.http_status != 429, error
    for error in descendants(Unavailable):
        assert error.http_status in (429, 499, 503, 507), error
        assert error.retry_after_s >= 1, error

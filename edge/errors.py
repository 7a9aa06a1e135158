"""Every error the edge raises on purpose, with its stable code, HTTP status and exit code.

    EdgeError
    ├── InvalidRequest          the request cannot be answered as it stands
    │   ├── MalformedBody       not JSON, or not UTF-8
    │   ├── InvalidValue        well-formed, but a field's value is not acceptable
    │   ├── InvalidText         a text that cannot be classified (empty, lone surrogates)
    │   ├── UnknownLabel        a fixed-label bundle was asked for labels that it does not have
    │   ├── WindowTooSmall      the window leaves no room for the text beside the hypothesis
    │   ├── BodyTooLarge        more bytes than the daemon accepts
    │   ├── UnsupportedEncoding a compressed body
    │   ├── NotFound            no such prediction or correction (any more)
    │   ├── KeyReused           a client key that came before, with something else
    │   └── SwapInProgress      another activation goes on
    ├── Unavailable             the request is fine; not now
    │   ├── Overloaded          the queue is full
    │   ├── DeadlineExceeded    the caller's deadline passed before an answer
    │   ├── NotReady            the daemon is starting, stopping, or without a model
    │   ├── ModelFailed         the model gave no usable answer
    │   ├── StoreUnavailable    the disk is full or broken: nothing can be made durable
    │   └── ClientGone          the client closed its connection before the answer
    ├── CannotStart             starting again will not help until somebody changes something
    │   ├── BundleCorrupt       files missing, changed, or not what they claim to be
    │   │   └── BundleUntrusted not signed by a key that is trusted here
    │   ├── BundleOlder         older than one of its name that was taken before
    │   ├── BundleIncompatible  a sound bundle, but not for this program
    │   ├── InvalidSettings     a setting that is unknown or out of range
    │   ├── InvalidLabelSet     an intents file that cannot be used
    │   └── SocketInUse         another process listens there
    ├── SyncRefused             upstream does not let this device in; nothing was lost
    └── DaemonUnreachable       nobody answers on the socket

Exit codes: 0 done, 1 an honest "no", 2 usage, 3 cannot start and a restart will not help,
4 daemon unreachable, 5 sync refused, 70 bug. Messages say what was expected, what was found and
what to do next, and never hold the user's text.
"""

from __future__ import annotations

__all__ = [
    "EXIT_BUG",
    "EXIT_NO",
    "EXIT_OK",
    "EXIT_USAGE",
    "BodyTooLarge",
    "BundleCorrupt",
    "BundleIncompatible",
    "BundleOlder",
    "BundleUntrusted",
    "CannotStart",
    "ClientGone",
    "DaemonUnreachable",
    "DeadlineExceeded",
    "EdgeError",
    "InvalidLabelSet",
    "InvalidRequest",
    "InvalidSettings",
    "InvalidText",
    "InvalidValue",
    "KeyReused",
    "MalformedBody",
    "ModelFailed",
    "NotFound",
    "NotReady",
    "Overloaded",
    "SocketInUse",
    "StoreUnavailable",
    "SwapInProgress",
    "SyncRefused",
    "Unavailable",
    "UnknownLabel",
    "UnsupportedEncoding",
    "WindowTooSmall",
]

EXIT_OK = 0
EXIT_NO = 1
EXIT_USAGE = 2
EXIT_BUG = 70


class EdgeError(Exception):
    """Root of the tree; `code` is part of the API and never changes its meaning."""

    code: str = "internal_error"
    http_status: int = 500
    exit_code: int = EXIT_BUG


class InvalidRequest(EdgeError):
    """The request cannot be answered as it stands; sending it again will not help."""

    code = "invalid_request"
    http_status = 422
    exit_code = EXIT_USAGE


class MalformedBody(InvalidRequest):
    """The body is not JSON, not UTF-8, or nested too deeply to be read."""

    code = "malformed_body"
    http_status = 400


class InvalidValue(InvalidRequest):
    """A field is missing, unknown, of the wrong type or out of range."""

    code = "invalid_value"


class InvalidText(InvalidRequest):
    """A text that cannot be classified: empty, blank, or not Unicode scalar values."""

    code = "invalid_text"


class UnknownLabel(InvalidRequest):
    """A fixed-label bundle was asked for labels that it was not trained on."""

    code = "unknown_label"


class WindowTooSmall(InvalidRequest):
    """The window leaves no room for the text beside the longest hypothesis."""

    code = "window_too_small"


class BodyTooLarge(InvalidRequest):
    """The body holds more bytes than the daemon accepts."""

    code = "body_too_large"
    http_status = 413


class UnsupportedEncoding(InvalidRequest):
    """The body is compressed, which the daemon does not undo."""

    code = "unsupported_encoding"
    http_status = 415


class NotFound(InvalidRequest):
    """No prediction or correction has this id, or it is not kept any more."""

    code = "not_found"
    http_status = 404


class KeyReused(InvalidRequest):
    """A client key that was used before, for something else."""

    code = "key_reused"
    http_status = 409


class SwapInProgress(InvalidRequest):
    """Another activation goes on; one at a time."""

    code = "swap_in_progress"
    http_status = 409
    exit_code = EXIT_NO


class Unavailable(EdgeError):
    """The request is fine, but it cannot be answered now; try again after `retry_after_s`."""

    code = "unavailable"
    http_status = 503
    exit_code = EXIT_NO
    retry_after_s: int = 1


class Overloaded(Unavailable):
    """The bounded queue is full."""

    code = "overloaded"
    http_status = 429


class DeadlineExceeded(Unavailable):
    """The caller's deadline passed while the request waited; no more work is done for it."""

    code = "deadline_exceeded"


class NotReady(Unavailable):
    """The daemon is starting or stopping."""

    code = "not_ready"


class ModelFailed(Unavailable):
    """The model gave an answer that is no number; a candidate on probation falls by it."""

    code = "model_failed"


class StoreUnavailable(Unavailable):
    """Nothing can be made durable now: the disk is full, or the store is broken."""

    code = "store_unavailable"
    http_status = 507


class ClientGone(Unavailable):
    """The client closed its connection; the status (nginx's) is for the metrics only."""

    code = "client_gone"
    http_status = 499


class CannotStart(EdgeError):
    """Starting again will not help until somebody changes something."""

    code = "cannot_start"
    exit_code = 3


class BundleCorrupt(CannotStart):
    """A bundle whose files are missing, changed or not what they claim to be."""

    code = "bundle_corrupt"
    http_status = 422


class BundleUntrusted(BundleCorrupt):
    """A bundle that none of the trusted keys signed."""

    code = "bundle_untrusted"


class BundleOlder(CannotStart):
    """A bundle that is older than one of its name that was taken before."""

    code = "bundle_older"
    http_status = 422


class BundleIncompatible(CannotStart):
    """A sound bundle that this program, or this CPU, cannot run."""

    code = "bundle_incompatible"
    http_status = 422


class InvalidSettings(CannotStart):
    """A setting that is unknown, malformed or out of range."""

    code = "invalid_settings"


class InvalidLabelSet(CannotStart):
    """An intents file that cannot be used."""

    code = "invalid_label_set"


class SocketInUse(CannotStart):
    """Another process already listens on the socket."""

    code = "socket_in_use"


class SyncRefused(EdgeError):
    """Upstream does not let this device in (401, 403); nothing was lost, and a retry is no use."""

    code = "sync_refused"
    http_status = 502
    exit_code = 5


class DaemonUnreachable(EdgeError):
    """Nobody answers on the socket."""

    code = "daemon_unreachable"
    http_status = 503
    exit_code = 4

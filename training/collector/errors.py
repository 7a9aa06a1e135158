"""The errors that only a collector has; each is an `EdgeError` with code, status and exit code."""

from __future__ import annotations

from edge.errors import CannotStart, EdgeError, InvalidRequest, Overloaded, Unavailable

__all__ = [
    "BodyIncomplete",
    "DatabaseUnavailable",
    "DeviceExists",
    "Forbidden",
    "RateLimited",
    "SchemaMismatch",
    "Unauthorized",
    "UnknownDevice",
]


class Unauthorized(EdgeError):
    """No token, or one that is unknown or revoked."""

    code = "unauthorized"
    http_status = 401


class Forbidden(EdgeError):
    """A good token, used for another device's corrections."""

    code = "forbidden"
    http_status = 403


class BodyIncomplete(EdgeError):
    """The body did not come to its end; that says nothing about what is in it."""

    code = "body_incomplete"
    http_status = 408


class RateLimited(Overloaded):
    """One device asks more often than it may."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DatabaseUnavailable(Unavailable):
    """The database does not answer, or cannot take a row now."""

    code = "database_unavailable"
    exit_code = 3
    retry_after_s = 5


class SchemaMismatch(CannotStart):
    """The database's schema is older or newer than this program's."""

    code = "schema_mismatch"


class DeviceExists(InvalidRequest):
    """A device of this id already has a token."""

    code = "device_exists"


class UnknownDevice(InvalidRequest):
    """No device of this id was ever added."""

    code = "unknown_device"
    http_status = 404

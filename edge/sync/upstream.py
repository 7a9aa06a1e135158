"""The collector over HTTPS, with retries; the only file of sync that imports httpx2 and stamina.

It follows no redirect and asks no proxy or netrc: the token goes to the host that was named, alone.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import stamina
import stamina.instrumentation

from edge import __version__
from edge.errors import InvalidSettings, SyncRefused, Unavailable
from edge.sync.answers import read_problem, read_receipts, read_results, read_seen
from edge.sync.batch import Batch, compress
from edge.sync.retry import (
    TRANSIENT_STATUSES,
    AnswerBroken,
    Backoff,
    Busy,
    parse_retry_after,
)
from edge.sync.target import BatchMalformed, BatchTooLarge, Receipts, Seen
from edge.wire import RecordResult

__all__ = ["Collector", "check_url"]

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
ATTEMPTS = 6
RUN_TIMEOUT_S = 180.0
RECEIPTS_PAGE = 1000
MAX_ANSWER_BYTES = 16 << 20
TOO_LARGE = 413
MALFORMED = frozenset({400, 422})
UNWANTED = frozenset({401, 403})

Value = TypeVar("Value")


class Collector:
    """One collector, as one device. Not for several threads."""

    def __init__(
        self,
        url: str,
        token: str,
        ca_file: Path | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """Connects at the first call.

        Raises:
            InvalidSettings: A URL that would show the token to others, or unreadable certificates.
        """
        self._url = check_url(url)
        stamina.instrumentation.set_on_retry_hooks([])  # its default logs what failed, and how
        self._http = httpx2.Client(
            verify=_trust(ca_file),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            headers={
                "Authorization": f"Bearer {token}",
                "User-Agent": f"intentd/{__version__}",
            },
        )

    def seen(self, device_id: str) -> Seen | None:
        """`GET /v1/cursor`; the token says which device."""
        return self._ask("GET", "/v1/cursor", read_seen)

    def deliver(self, batch: Batch) -> Sequence[RecordResult]:
        """`POST /v1/records`."""
        headers = {
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "Idempotency-Key": batch.idempotency_key,
        }
        body = compress(batch.body())
        ids = batch.ids
        return self._ask(
            "POST", "/v1/records", lambda answer: read_results(answer, ids), body, headers
        )

    def report(self, batch: Batch) -> None:
        """`POST /v1/records` without records."""
        self.deliver(batch)

    def receipts(self, after: int) -> Receipts | None:
        """`GET /v1/receipts`."""
        path = f"/v1/receipts?after={after}&limit={RECEIPTS_PAGE}"
        return self._ask("GET", path, read_receipts)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], Value],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Value:
        """Ask until there is an answer that can be read, within reason."""
        request = self._http.build_request(method, self._url + path, content=body, headers=headers)
        attempts = stamina.retry_context(
            Backoff(_is_transient), attempts=ATTEMPTS, timeout=RUN_TIMEOUT_S
        )
        try:
            for attempt in attempts:
                with attempt:
                    return read(self._once(request))
        except (httpx2.TransportError, Busy, AnswerBroken) as error:
            raise self._gave_up(error) from error
        raise AssertionError("stamina ends with a result or an error")

    def _once(self, request: httpx2.Request) -> bytes:
        response = self._http.send(request, stream=True)
        try:
            body = b""
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise AnswerBroken("an answer without end")
        except httpx2.DecodingError as error:
            raise AnswerBroken("an answer that cannot be decompressed") from error
        finally:
            response.close()
        self._check(response, body)
        return body

    def _check(self, response: httpx2.Response, body: bytes) -> None:
        """Raise what the status means."""
        status = response.status_code
        if response.is_success:
            return
        problem = read_problem(body)
        said = f"{self._url} answered {status}" + (f" ({problem})" if problem else "")
        if status in TRANSIENT_STATUSES:
            raise Busy(said, parse_retry_after(response.headers.get("retry-after")))
        if status == TOO_LARGE:
            raise BatchTooLarge(said)
        if status in MALFORMED and problem:  # without one it is no collector that speaks
            raise BatchMalformed(said)
        raise SyncRefused(f"{said}; nothing was lost; {_advice(response)}")

    def _gave_up(self, error: Exception) -> Unavailable:
        why = str(error) if isinstance(error, Busy) else f"{self._url}: {error}"
        if "CERTIFICATE_VERIFY_FAILED" in why:
            now = datetime.now(UTC).isoformat(timespec="minutes")
            why += f"; set ca_file under [sync], and look at this machine's clock ({now})"
        failed = Unavailable(f"{why}; nothing was lost, the next run sends it")
        if isinstance(error, Busy) and error.retry_after_s is not None:
            failed.retry_after_s = max(1, round(error.retry_after_s))
        return failed


def check_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        InvalidSettings: Not https, unless it stays on this machine; or a user, query or fragment.
    """
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise InvalidSettings(
            "sync: upstream: expected an address such as https://collector.example, found one "
            "with a user, a query or no host; the token belongs into a file (token_file)"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise InvalidSettings(
            f"sync: upstream: expected https://, found {parts.scheme}://{parts.hostname}: "
            "the token and the texts would be readable on the way"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"{ca_file}: expected certificates in PEM form, found something else ({error})"
        ) from error


def _is_transient(error: Exception) -> bool:
    if isinstance(error, httpx2.TransportError):
        # A certificate does not get better within a run.
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return isinstance(error, (Busy, AnswerBroken))


def _advice(response: httpx2.Response) -> str:
    if response.status_code in UNWANTED:
        return "ask for a new token (`intentd-collect device add`) and put it into the token file"
    if response.is_redirect:
        return "it wants to send you elsewhere; set upstream to the address that it has now"
    return "see that upstream under [sync] is the address of a collector"

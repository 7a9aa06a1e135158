"""Turns records of the outbox into what may leave the box, for the tier that was chosen.

What leaves is listed here, field by field; what is not listed stays, also what comes to be later.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.sync.redact import Redactor
from edge.sync.settings import Tier
from edge.text import normalize
from edge.wire import CorrectionRecord, ErasureRecord

__all__ = ["Outgoing", "Preparer", "to_json"]

_AS_IT_IS = (
    "type",
    "schema_version",
    "id",
    "seq",
    "epoch",
    "kind",
    "score",
    "label_set",
    "model",
    "phase",
    "occurred_utc",
)
"""Made by the daemon itself: nothing that a person wrote. `source` and client keys are not sent."""
_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record that may leave."""

    id: str
    fields: dict[str, Any]
    line: bytes
    """The fields as JSON, on one line."""

    @property
    def seq(self) -> int | None:
        """Its number on this device; an erasure has none."""
        return self.fields.get("seq")


@dataclass(frozen=True, slots=True)
class Preparer:
    """Prepares records for one tier."""

    tier: Tier
    redactor: Redactor
    read_key: Callable[[], bytes]
    """This box's secret key for hashes; asked for only where one is made."""

    def prepare(self, record: CorrectionRecord | ErasureRecord) -> Outgoing | None:
        """What may leave of a record; None if nothing may. An erasure always may."""
        if isinstance(record, ErasureRecord):
            return _outgoing(record.model_dump())
        if self.tier is Tier.COUNTS:
            return None
        found = record.model_dump()
        kept = {name: found[name] for name in _AS_IT_IS} | self._labels(record)
        return _outgoing(kept | self._texts(record))

    def label(self, label: str | None) -> str | None:
        """A label, which an app may have put together from anything."""
        return None if label is None else self._redact(label)

    def _labels(self, record: CorrectionRecord) -> dict[str, Any]:
        return {
            "label": self.label(record.label),
            "predicted_label": self.label(record.predicted_label),
            "labels": [self.label(label) for label in record.labels],
        }

    def _texts(self, record: CorrectionRecord) -> dict[str, Any]:
        if self.tier is Tier.LABELS:
            return {"text": None, "content": None, "text_hash": self._hash(record)}
        content = None if record.content is None else self._redact(record.content)
        return {"text": self._redact(record.text), "content": content}

    def _redact(self, text: str) -> str:
        # U+0000 is not kept by every database upstream; the record would be refused for it.
        return self.redactor.redact(text).replace("\0", "\ufffd")

    def _hash(self, record: CorrectionRecord) -> str:
        """Keyed: without the key, short texts could be guessed and compared."""
        parts = [normalize(record.text), normalize(record.content or "")]
        message = to_json(parts)
        return hmac.digest(self.read_key(), message, hashlib.sha256)[:_HASH_BYTES].hex()


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8, the same bytes for the same value."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def _outgoing(fields: dict[str, Any]) -> Outgoing:
    return Outgoing(fields["id"], fields, to_json(fields))

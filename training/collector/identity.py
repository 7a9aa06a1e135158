"""Tells a record that came again from another one that took its id; it stores nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["IDENTITY", "canonical", "identity_sha256"]

IDENTITY = ("epoch", "seq", "kind", "label", "label_set", "occurred_utc")
"""Fields that are the same in every tier, and after a change of the redaction.

The label too, unless it holds what is redacted; then a conflict is said too often, not too seldom.
"""


def canonical(raw: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, ASCII."""
    return json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)


def identity_sha256(raw: Mapping[str, Any]) -> bytes:
    """The hash of what a record is, whatever its texts became.

    A box that did not hear the answer may send a record again after its redaction or its tier was
    changed: that is the same record, and the first delivery of it stays.
    """
    return hashlib.sha256(canonical([raw.get(name) for name in IDENTITY]).encode()).digest()

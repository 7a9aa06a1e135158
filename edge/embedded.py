"""Where the wheel keeps what answers on the first day. Paths only: importing it costs nothing."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEFAULT_INTENTS", "STARTER"]

STARTER = Path(__file__).with_name("starter")
"""The starter bundle."""
DEFAULT_INTENTS = Path(__file__).with_name("intents.toml")
"""The default label set."""

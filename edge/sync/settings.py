"""The table `[sync]` of intentd.toml; the only module of `edge.sync` that reads settings.

There is no setting, option or variable for the token itself: only for the file that holds it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from edge.errors import InvalidSettings
from edge.settings import default_config_path

__all__ = ["SyncSettings", "Tier", "load_sync_settings"]

MAX_BATCH_RECORDS = 1000


class Tier(StrEnum):
    """How much leaves the box."""

    COUNTS = "counts"
    """Numbers alone: how many corrections and confirmations there are of each label."""
    LABELS = "labels"
    """Labels and scores; instead of the text a hash, keyed with a secret of this box."""
    REDACTED = "redacted"
    """The same, with the redacted text instead of the hash."""


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """What `intentd sync` needs to know."""

    upstream: str = ""
    """`https://` of a collector, or a directory, `file://` or `s3://`; empty: sync is off."""
    token_file: Path | None = None
    """File with this device's token; None: `sync-token` in `$CREDENTIALS_DIRECTORY`."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust instead of the system's."""
    tier: Tier = Tier.REDACTED
    deny: tuple[str, ...] = ()
    """Words and /regular expressions/ that must not leave."""
    regions: tuple[str, ...] = ("US", "GB", "DE", "FR", "IT", "ES", "NL", "CH", "AT")
    """Where people write phone numbers without the country's prefix (ISO 3166)."""
    batch_records: int = 500
    """Records in one request or object."""
    config: Path = field(default_factory=default_config_path)
    """The file that was read, for messages; not a setting."""


def load_sync_settings(
    config: Path | None = None, upstream: str | None = None, tier: Tier | None = None
) -> SyncSettings:
    """Read the table, and let the command line have its way.

    Args:
        config: The TOML file; None means the default path, where it may be absent.
        upstream: From the command line; None means not given.
        tier: From the command line; None means not given.

    Raises:
        InvalidSettings: An unknown key, or a value that does not fit.
    """
    path = config or default_config_path()
    table = _read_table(path)
    settings = SyncSettings(**{name: _convert(path, name, raw) for name, raw in table.items()})
    return replace(
        settings,
        config=path,
        upstream=settings.upstream if upstream is None else upstream,
        tier=settings.tier if tier is None else tier,
    )


def _read_table(path: Path) -> Mapping[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8-sig")).get("sync", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidSettings(f"{path}: cannot read the config file: {error}") from error
    if not isinstance(table, dict):
        raise InvalidSettings(f"{path}: sync: expected a table [sync], found {table!r}")
    return table


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"expected a string, found {raw!r}")
    return raw


def _path(raw: Any) -> Path:
    if not isinstance(raw, str) or not raw:
        raise ValueError(f"expected a path, found {raw!r}")
    return Path(raw).expanduser()


def _strings(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise ValueError("expected a list of strings")  # what was found may be what is denied
    return tuple(raw)


def _tier(raw: Any) -> Tier:
    if raw not in tuple(Tier):
        raise ValueError(f"expected one of {', '.join(Tier)}, found {raw!r}")
    return Tier(raw)


def _batch_records(raw: Any) -> int:
    if type(raw) is not int or not 1 <= raw <= MAX_BATCH_RECORDS:
        raise ValueError(f"expected 1 to {MAX_BATCH_RECORDS}, found {raw!r}")
    return raw


_READERS: dict[str, Callable[[Any], Any]] = {
    "upstream": _text,
    "token_file": _path,
    "ca_file": _path,
    "tier": _tier,
    "deny": _strings,
    "regions": _strings,
    "batch_records": _batch_records,
}
KEYS = tuple(f.name for f in fields(SyncSettings) if f.name in _READERS)


def _convert(path: Path, name: str, raw: Any) -> Any:
    if name not in _READERS:
        near = difflib.get_close_matches(name, KEYS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(KEYS)}"
        raise InvalidSettings(f"{path}: unknown setting {name!r} in [sync]{hint}")
    try:
        return _READERS[name](raw)
    except (ValueError, RuntimeError) as error:  # RuntimeError: `~name` of a user not there
        raise InvalidSettings(f"{path}: sync: {name}: {error}") from error

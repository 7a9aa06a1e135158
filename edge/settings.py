"""The daemon's settings: the only module that reads the environment or a config file.

Order: default < `intentd.toml` < environment (`INTENTD_…`) < command line.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from edge.embedded import DEFAULT_INTENTS, STARTER
from edge.errors import InvalidSettings

__all__ = [
    "DEBUG_VARIABLE",
    "Settings",
    "default_config_path",
    "default_socket",
    "default_state_dir",
    "find_admin_socket",
    "find_socket",
    "load_settings",
    "shows_tracebacks",
]

ENV_PREFIX = "INTENTD_"
APP = "intentd"
DEBUG_VARIABLE = f"{ENV_PREFIX}DEBUG"
"""Not a setting of the daemon: it makes the command line show the traceback of a bug."""
SYSTEM_SOCKET = Path("/run") / APP / "api.sock"
"""Where the systemd unit puts the socket."""
SYSTEM_STATE = Path("/var/lib") / APP
ADMIN_SOCKET = "admin.sock"
LOG_LEVELS = ("debug", "info", "warning", "error")
CHOICES = {"log_level": LOG_LEVELS, "predictions": ("text", "hash", "off")}
MODES = frozenset({"socket_mode", "admin_socket_mode"})
MODELS = "models"
FOREIGN_TABLES = frozenset({"sync"})
"""Tables of the config file that other parts of intentd read."""

_MODE = re.compile(r"(0|0o)?[0-7]{3}")
_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path: "a path",
}
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def default_socket(environ: Mapping[str, str] | None = None) -> Path:
    """The socket's path, in the first of three directories that there is.

    `$RUNTIME_DIRECTORY` (systemd), `$XDG_RUNTIME_DIR/intentd`, a directory of this user in /tmp.
    """
    environment = os.environ if environ is None else environ
    if runtime := environment.get("RUNTIME_DIRECTORY"):
        return Path(runtime.split(":")[0]) / "api.sock"  # systemd may pass several
    if xdg := environment.get("XDG_RUNTIME_DIR"):
        return Path(xdg) / APP / "api.sock"
    return Path("/tmp") / f"{APP}-{os.getuid()}" / "api.sock"  # noqa: S108 — the listener makes it private


def find_socket() -> Path:
    """Where a client finds the daemon.

    `$INTENTD_SOCKET`, else `default_socket()` (this user's own daemon), else the socket of the
    system's daemon if only that one exists.
    """
    if given := os.environ.get(f"{ENV_PREFIX}SOCKET"):
        return Path(given).expanduser()
    own = default_socket()
    return SYSTEM_SOCKET if SYSTEM_SOCKET.exists() and not own.exists() else own


def find_admin_socket() -> Path:
    """Where a client finds the admin's socket: `$INTENTD_ADMIN_SOCKET`, else beside the other."""
    if given := os.environ.get(f"{ENV_PREFIX}ADMIN_SOCKET"):
        return Path(given).expanduser()
    return find_socket().with_name(ADMIN_SOCKET)


def default_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where corrections are kept.

    `$STATE_DIRECTORY` (systemd), `$XDG_STATE_HOME/intentd`, `~/.local/state/intentd`; without a
    home, /var/lib/intentd.
    """
    environment = os.environ if environ is None else environ
    if state := environment.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])  # systemd may pass several
    if xdg := environment.get("XDG_STATE_HOME"):
        return Path(xdg) / APP
    home = environment.get("HOME")
    return Path(home) / ".local" / "state" / APP if home else SYSTEM_STATE


def shows_tracebacks() -> bool:
    """Whether `$INTENTD_DEBUG` asks for tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def default_config_path(environ: Mapping[str, str] | None = None) -> Path:
    """`$XDG_CONFIG_HOME/intentd/intentd.toml` for a user, `/etc/intentd/intentd.toml` for root."""
    environment = os.environ if environ is None else environ
    home = environment.get("HOME")
    base = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "/etc")
    return Path("/etc" if os.geteuid() == 0 else base) / APP / "intentd.toml"


def _setting(default: Any, doc: str, low: float | None = None, high: float | None = None) -> Any:
    metadata = {"doc": doc, "low": low, "high": high}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every knob of the daemon, with its default and its range."""

    socket: Path = _setting(default_socket, "Unix socket that apps talk to.")
    socket_mode: str = _setting("0660", "Permission bits of the socket, octal.")
    socket_group: str = _setting("", "Group that owns the socket; empty means the daemon's own.")
    admin_socket: Path = _setting(
        Path(), "Unix socket for the admin: erasure, the outbox, all corrections."
    )
    admin_socket_mode: str = _setting("0660", "Permission bits of the admin's socket, octal.")
    admin_socket_group: str = _setting(
        "", "Group that owns the admin's socket; empty means the daemon's own."
    )
    bundle: Path = _setting(STARTER, "Directory of the bundle to serve.")
    intents: Path = _setting(DEFAULT_INTENTS, "The default label set.")
    latency_budget_ms: int = _setting(
        0,
        "Milliseconds that reading a text may take: what this machine cannot read in time is left "
        "out, and the answer says so; 0 reads the whole window.",
        0,
        600_000,
    )
    repeat_cache: int = _setting(
        1024,
        "Questions whose scores are kept in memory, a kilobyte each and without the texts, for "
        "when they come again; 0 keeps none.",
        0,
        65536,
    )
    threads: int = _setting(
        0,
        "Threads for one model run; 0 means physical cores within the cgroup, and one for the "
        "starter.",
        0,
        1024,
    )
    parallel_runs: int = _setting(
        0,
        "Texts that the model reads at once, with the same scores; 0 means one for each core, four "
        "at most for fixed labels, and one alone for zero-shot NLI, whose runs are large.",
        0,
        64,
    )
    spinning: bool = _setting(False, "Let idle model threads burn CPU while they wait.")
    arena: bool = _setting(False, "Keep freed model memory for later runs.")
    max_body_bytes: int = _setting(1 << 20, "Largest request body.", 1 << 10, 1 << 30)
    max_texts: int = _setting(256, "Most texts in one request.", 1, 4096)
    queue_size: int = _setting(
        64, "Requests that may wait; more are turned away with 429.", 1, 65536
    )
    max_connections: int = _setting(
        256, "Open connections; more are turned away with 503.", 1, 65536
    )
    header_timeout_s: float = _setting(
        5.0, "Seconds a client may take to send its headers.", 0.05, 10
    )
    body_timeout_s: float = _setting(10.0, "Seconds a client may take to send its body.", 0.05, 10)
    idle_timeout_s: float = _setting(10.0, "Seconds an idle connection is kept.", 0.05, 10)
    drain_timeout_s: float = _setting(
        10.0, "Seconds given to requests in flight at a stop.", 0.0, 600
    )
    log_level: str = _setting("info", "debug, info, warning or error.")
    state_dir: Path = _setting(
        default_state_dir, "Directory of corrections and recent predictions; private."
    )
    corrections_apply: bool = _setting(
        True, "Answer a text that was corrected, under the same labels, with its correction."
    )
    predictions: str = _setting(
        "text",
        "What is kept of recent answers: text (for review and correction by id), hash or off.",
    )
    predictions_days: int = _setting(30, "Days that recent answers are kept.", 1, 3650)
    predictions_mb: int = _setting(64, "Megabytes that recent answers may take.", 1, 65536)
    trusted_keys: Path = _setting(
        Path(),
        "Public keys (a file, or a directory of .pub and .pem files), one of which must have "
        "signed a bundle that is installed; empty takes bundles without a signature.",
    )
    max_bundle_bytes: int = _setting(
        2 << 30, "Largest archive that can be installed.", 1 << 10, 1 << 40
    )
    trial_timeout_s: float = _setting(
        600.0, "Seconds that the trial of a bundle may take, a full window included.", 1, 86_400
    )
    trial_memory_mb: int = _setting(
        0,
        "Megabytes that the trial of a bundle may take; 0 means most of what is free.",
        0,
        1 << 20,
    )
    probation_requests: int = _setting(
        50, "Texts that a new bundle is compared on before it is committed.", 0, 100_000
    )
    probation_s: float = _setting(
        30.0,
        "Seconds of waiting for live texts; then recent ones stand in for those that are missing.",
        0,
        604_800,
    )
    probation_agreement: float = _setting(
        0.5, "Share of texts on which a new bundle must give the old one's label.", 0, 1
    )
    probation_slowdown: float = _setting(
        4.0,
        "How many times slower (p95) a new bundle of the same task may be than the old one.",
        1,
        1000,
    )
    idle_unload_s: float = _setting(
        0.0,
        "Seconds without a request after which the model leaves memory; 0 keeps it.",
        0,
        604_800,
    )

    def __post_init__(self) -> None:
        """Put the admin's socket beside the other, wherever that is."""
        if self.admin_socket == Path():
            object.__setattr__(self, "admin_socket", self.socket.with_name(ADMIN_SOCKET))

    @property
    def models_dir(self) -> Path:
        """Where installed bundles are kept."""
        return self.state_dir / MODELS

    @property
    def mode_bits(self) -> int:
        """`socket_mode` as a number."""
        return int(self.socket_mode, 8)

    @property
    def admin_mode_bits(self) -> int:
        """`admin_socket_mode` as a number."""
        return int(self.admin_socket_mode, 8)


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Merge defaults, file, environment and overrides.

    Args:
        config: The TOML file; None means the default path, where it may be absent.
        overrides: From the command line; None values mean "not given".
        environ: The environment to read; None means the process's own.

    Returns:
        The settings, and for each field where its value came from.

    Raises:
        InvalidSettings: A key that is unknown, or a value of the wrong type or out of range.
    """
    environment = os.environ if environ is None else environ
    values: dict[str, Any] = {
        "socket": default_socket(environment),
        "state_dir": default_state_dir(environment),
    }
    origins = {f.name: "default" for f in fields(Settings)}
    path = config or default_config_path(environment)
    for origin, layer in (
        (str(path), _read_config(path, required=config is not None)),
        ("environment", _read_environment(environment)),
        ("command line", {k: v for k, v in (overrides or {}).items() if v is not None}),
    ):
        for name, raw in layer.items():
            values[name] = _convert(name, raw, origin)
            origins[name] = origin
    return Settings(**values), origins


def _read_config(path: Path, required: bool) -> dict[str, Any]:
    try:
        read = tomllib.loads(path.read_text("utf-8-sig"))  # some editors write a byte-order mark
    except FileNotFoundError:
        if required:
            raise InvalidSettings(f"{path}: expected a config file, found none") from None
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidSettings(f"{path}: cannot read the config file: {error}") from error
    return {k: v for k, v in read.items() if k not in FOREIGN_TABLES or not isinstance(v, dict)}


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        k.removeprefix(ENV_PREFIX).lower(): v
        for k, v in environ.items()
        if k.startswith(ENV_PREFIX) and k != DEBUG_VARIABLE
    }


def _convert(name: str, raw: Any, origin: str) -> Any:
    known = {f.name: f for f in fields(Settings)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
        raise InvalidSettings(f"{origin}: unknown setting {name!r}{hint}")
    kind = get_type_hints(Settings)[name]
    try:
        value = _parse(kind, raw)
        _check(known[name].metadata, name, value)
    except (ValueError, OverflowError) as error:
        raise InvalidSettings(f"{origin}: {name}: {error}") from error
    return value


def _parse(kind: type, raw: Any) -> Any:
    """One value: typed (from TOML), or a string (from the environment)."""
    value = raw
    if isinstance(raw, (str, Path)) and kind is not str:
        value = _from_text(kind, str(raw))
    elif kind is float and type(raw) is int:
        value = float(raw)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ValueError(f"expected {_EXPECTED[kind]}, found {raw!r}")
    return value


def _from_text(kind: type, text: str) -> Any:
    """The value that the text spells; None if it spells none."""
    if kind is bool:
        word = text.lower()
        return word in _TRUE if word in _TRUE | _FALSE else None
    if kind is Path and not text:
        return None
    try:
        return Path(text).expanduser() if kind is Path else kind(text)
    except (ValueError, RuntimeError):  # RuntimeError: `~name` of a user that is not there
        return None


def _check(metadata: Mapping[str, Any], name: str, value: Any) -> None:
    low, high = metadata["low"], metadata["high"]
    if low is not None and not low <= value <= high:
        raise ValueError(f"expected {low:g} to {high:g}, found {value}")
    if name in MODES and not (_MODE.fullmatch(value) and int(value, 8)):
        raise ValueError(f"expected octal permission bits such as 0660, found {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"expected one of {', '.join(CHOICES[name])}, found {value!r}")

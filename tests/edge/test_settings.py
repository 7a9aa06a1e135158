"""`edge.settings`: four layers, one order, and an error for everything that is not a setting."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import settings as module
from edge.errors import InvalidSettings
from edge.settings import (
    DEBUG_VARIABLE,
    LOG_LEVELS,
    Settings,
    default_config_path,
    default_socket,
    default_state_dir,
    find_admin_socket,
    find_socket,
    load_settings,
    shows_tracebacks,
)

FIELDS = dataclasses.fields(Settings)
NUMBERS = [field for field in FIELDS if field.metadata["low"] is not None]
SAMPLE: dict[str, Any] = {
    "socket": Path("/run/x.sock"),
    "socket_mode": "0600",
    "socket_group": "apps",
    "bundle": Path("/srv/bundle"),
    "intents": Path("/etc/intents.toml"),
    "threads": 3,
    "latency_budget_ms": 40,
    "repeat_cache": 5,
    "parallel_runs": 4,
    "spinning": True,
    "arena": True,
    "max_body_bytes": 2048,
    "max_texts": 7,
    "queue_size": 8,
    "max_connections": 9,
    "header_timeout_s": 1.5,
    "body_timeout_s": 2.5,
    "idle_timeout_s": 3.5,
    "drain_timeout_s": 4.5,
    "log_level": "debug",
    "admin_socket": Path("/run/y.sock"),
    "admin_socket_mode": "0600",
    "admin_socket_group": "admins",
    "state_dir": Path("/srv/state"),
    "corrections_apply": False,
    "predictions": "hash",
    "predictions_days": 7,
    "predictions_mb": 8,
    "trusted_keys": Path("/etc/intentd/keys"),
    "max_bundle_bytes": 1 << 20,
    "trial_timeout_s": 30.0,
    "trial_memory_mb": 500,
    "probation_requests": 7,
    "probation_s": 5.0,
    "probation_agreement": 0.75,
    "probation_slowdown": 2.0,
    "idle_unload_s": 900.0,
}


def load(
    folder: Path, toml: str = "", environ: Mapping[str, str] | None = None, **overrides: Any
) -> tuple[Settings, dict[str, str]]:
    """Settings from a file with this content, this environment and this command line."""
    path = folder / "intentd.toml"
    path.write_text(toml, encoding="utf-8")
    return load_settings(path, overrides, environ or {})


def as_toml(values: Mapping[str, Any]) -> str:
    """A config file with these values."""
    lines = []
    for name, value in values.items():
        bare = isinstance(value, (bool, int, float))
        lines.append(f"{name} = {str(value).lower()}" if bare else f'{name} = "{value}"')
    return "\n".join(lines)


def as_environ(values: Mapping[str, Any]) -> dict[str, str]:
    """An environment with these values."""
    return {f"INTENTD_{name.upper()}": str(value) for name, value in values.items()}


def test_the_sample_covers_every_field_with_another_value_than_the_default() -> None:
    """A new setting must join the tests of the layers."""
    defaults = Settings()

    assert set(SAMPLE) == {field.name for field in FIELDS}
    assert all(getattr(defaults, name) != value for name, value in SAMPLE.items())


def test_without_anything_every_value_is_its_default(tmp_path: Path) -> None:
    """And says so."""
    settings, origins = load(tmp_path)

    assert settings == Settings(socket=default_socket({}), state_dir=default_state_dir({}))
    assert origins == {field.name: "default" for field in FIELDS}


@pytest.mark.parametrize("name", SAMPLE)
def test_each_layer_overrides_those_before_it(tmp_path: Path, name: str) -> None:
    """Default < file < environment < command line, and each tells where its value came from."""
    one = {name: SAMPLE[name]}
    file, path = as_toml(one), str(tmp_path / "intentd.toml")

    from_file, file_origin = load(tmp_path, file)
    from_environ, environ_origin = load(tmp_path, "", as_environ(one))
    from_command, command_origin = load(tmp_path, "", {}, **one)

    for settings, origins, origin in (
        (from_file, file_origin, path),
        (from_environ, environ_origin, "environment"),
        (from_command, command_origin, "command line"),
    ):
        assert getattr(settings, name) == SAMPLE[name]
        assert type(getattr(settings, name)) is type(getattr(Settings(), name))
        assert origins == dict.fromkeys(origins, "default") | {name: origin}


def test_the_last_layer_wins(tmp_path: Path) -> None:
    """All four at once, one field for each layer that may have the last word."""
    file = "queue_size = 2\nmax_texts = 2\nthreads = 2"
    environ = {"INTENTD_QUEUE_SIZE": "3", "INTENTD_MAX_TEXTS": "3"}

    settings, origins = load(tmp_path, file, environ, queue_size=4, max_texts=None)

    assert (settings.queue_size, settings.max_texts, settings.threads) == (4, 3, 2)
    assert origins["queue_size"] == "command line"
    assert origins["max_texts"] == "environment"
    assert origins["threads"] == str(tmp_path / "intentd.toml")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_is_documented_and_its_default_passes_its_own_check(
    tmp_path: Path, field: Any
) -> None:
    """What `config show` prints can be pasted into a file."""
    default = getattr(Settings(), field.name)

    assert field.metadata["doc"].endswith(".")
    assert getattr(load(tmp_path, as_toml({field.name: default}))[0], field.name) == default or (
        field.name.endswith("socket_group") and default == ""
    )


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_numbers_have_two_ends_and_both_belong_to_the_range(tmp_path: Path, field: Any) -> None:
    """Just beyond an end is refused, with the range in the message."""
    low, high = field.metadata["low"], field.metadata["high"]
    kind = get_type_hints(Settings)[field.name]

    for value in (kind(low), kind(high)):
        assert getattr(load(tmp_path, as_toml({field.name: value}))[0], field.name) == value
    for value in (kind(low) - 1, kind(high) + 1, kind(high) * 1000):
        with pytest.raises(InvalidSettings, match=rf"{field.name}: expected {low:g} to"):
            load(tmp_path, as_toml({field.name: value}))


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
@pytest.mark.parametrize(
    "value", ["true", "nan", "inf", "-inf", '"many"', "[1]", "{}", "1979-05-27"]
)
def test_numbers_are_numbers(tmp_path: Path, field: Any, value: str) -> None:
    """A truth value, an infinity or a date is an error that names the setting."""
    with pytest.raises(InvalidSettings, match=rf"intentd\.toml: {field.name}: expected"):
        load(tmp_path, f"{field.name} = {value}")


@pytest.mark.parametrize("value", ["1.5", "1e2", "2.0"])
def test_a_fraction_is_no_count(tmp_path: Path, value: str) -> None:
    """It is refused, not cut to a whole number behind the admin's back."""
    with pytest.raises(InvalidSettings, match="threads: expected a whole number"):
        load(tmp_path, f"threads = {value}")
    with pytest.raises(InvalidSettings, match="threads: expected a whole number"):
        load(tmp_path, "", {"INTENTD_THREADS": value})


def test_a_whole_number_of_seconds_is_a_number(tmp_path: Path) -> None:
    """Nobody should have to write `5.0`."""
    value = load(tmp_path, "idle_timeout_s = 5")[0].idle_timeout_s

    assert (value, type(value)) == (5.0, float)


def test_numbers_too_large_for_the_machine_are_refused(tmp_path: Path) -> None:
    """Four hundred digits are a typo, not a crash."""
    for text in ("9" * 400, "9" * 5000):
        with pytest.raises(InvalidSettings):
            load(tmp_path, f"idle_timeout_s = {text}")
        with pytest.raises(InvalidSettings):
            load(tmp_path, "", {"INTENTD_THREADS": text})


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("False", False),
        ("no", False),
        ("OFF", False),
    ],
)
def test_truth_values_from_the_environment_are_words(
    tmp_path: Path, word: str, value: bool
) -> None:
    """The words that people write in unit files and compose files."""
    assert load(tmp_path, "", {"INTENTD_ARENA": word})[0].arena is value


@pytest.mark.parametrize("word", ["", "2", "maybe", "truee", " "])
def test_other_words_are_no_truth_values(tmp_path: Path, word: str) -> None:
    """`INTENTD_ARENA=flase` must not count as true."""
    with pytest.raises(InvalidSettings, match="environment: arena: expected true or false"):
        load(tmp_path, "", {"INTENTD_ARENA": word})


@pytest.mark.parametrize("value", ["1", "0", "1.0", "[]"])
def test_truth_values_in_a_file_are_typed(tmp_path: Path, value: str) -> None:
    """TOML has a type for them; a number is none."""
    with pytest.raises(InvalidSettings, match="arena: expected true or false"):
        load(tmp_path, f"arena = {value}")


@pytest.mark.parametrize("value", ["1", "true", "[]", "1.5"])
def test_texts_and_paths_in_a_file_are_strings(tmp_path: Path, value: str) -> None:
    """A mode written as a number would be read in the wrong base."""
    with pytest.raises(InvalidSettings, match="socket_mode: expected a string"):
        load(tmp_path, f"socket_mode = {value}")
    with pytest.raises(InvalidSettings, match="bundle: expected a path"):
        load(tmp_path, f"bundle = {value}")


@pytest.mark.parametrize(
    ("mode", "bits"), [("0660", 0o660), ("660", 0o660), ("0o600", 0o600), ("0777", 0o777)]
)
def test_the_mode_is_octal(tmp_path: Path, mode: str, bits: int) -> None:
    """In any of the three ways that people write it."""
    assert load(tmp_path, "", {"INTENTD_SOCKET_MODE": mode})[0].mode_bits == bits


@pytest.mark.parametrize("mode", ["", "0", "000", "0888", "1777", "0x1ff", "-660", "rw-rw----"])
def test_what_is_no_mode_is_refused(tmp_path: Path, mode: str) -> None:
    """A socket that nobody can open, or special bits, are mistakes."""
    with pytest.raises(InvalidSettings, match="expected octal permission bits such as 0660"):
        load(tmp_path, "", {"INTENTD_SOCKET_MODE": mode})


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_log_levels_are_a_closed_set(tmp_path: Path, level: str) -> None:
    """The documented ones pass, and no other."""
    assert load(tmp_path, "", {"INTENTD_LOG_LEVEL": level})[0].log_level == level
    with pytest.raises(InvalidSettings, match="expected one of debug, info, warning, error"):
        load(tmp_path, "", {"INTENTD_LOG_LEVEL": level + "s"})


def test_paths_expand_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell would; a user that is not there, or no path at all, is an error."""
    monkeypatch.setenv("HOME", "/home/me")

    assert load(tmp_path, 'bundle = "~/model"')[0].bundle == Path("/home/me/model")
    for value in ("~nobody-of-that-name/x", ""):
        with pytest.raises(InvalidSettings, match="bundle: expected a path"):
            load(tmp_path, "", {"INTENTD_BUNDLE": value})


@pytest.mark.parametrize(
    ("name", "hint"),
    [("thread", "did you mean threads?"), ("sokcet", "did you mean socket?"), ("zzz", "known are")],
)
def test_unknown_settings_are_errors_with_the_nearest_name(
    tmp_path: Path, name: str, hint: str
) -> None:
    """A typo that is silently ignored is a setting that silently does not hold."""
    for toml, environ, origin in (
        (f"{name} = 1", {}, "intentd.toml"),
        ("", {f"INTENTD_{name.upper()}": "1"}, "environment"),
    ):
        with pytest.raises(InvalidSettings) as caught:
            load(tmp_path, toml, environ)
        assert f"{origin}: unknown setting '{name}'; {hint}" in str(caught.value)
    with pytest.raises(InvalidSettings, match="command line: unknown setting"):
        load(tmp_path, "", {}, **{name: 1})


def test_other_programs_variables_are_not_ours(tmp_path: Path) -> None:
    """Only the prefix makes a variable ours."""
    environ = {"THREADS": "9", "MY_INTENTD_THREADS": "9", "intentd_threads": "9"}

    assert load(tmp_path, "", environ)[0].threads == 0


@pytest.mark.parametrize(
    "content", [b"threads = ", b"\xff", b"threads = 1\nthreads = 2", b"a = " + b"[" * 50_000]
)
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error names the file, and says where in it."""
    path = tmp_path / "intentd.toml"
    path.write_bytes(content)

    with pytest.raises(InvalidSettings, match=r"intentd\.toml: cannot read the config file"):
        load_settings(path, environ={})


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Some editors write one, and nobody sees it."""
    assert load(tmp_path, "\ufeffthreads = 2")[0].threads == 2


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    """The default one may be absent; a directory is never one."""
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    assert load_settings(None, None, environ)[1]["threads"] == "default"
    with pytest.raises(InvalidSettings, match="expected a config file, found none"):
        load_settings(tmp_path / "none.toml", environ={})
    with pytest.raises(InvalidSettings, match="cannot read the config file"):
        load_settings(tmp_path, environ={})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"RUNTIME_DIRECTORY": "/run/intentd"}, "/run/intentd/api.sock"),
        ({"RUNTIME_DIRECTORY": "/run/intentd:/run/other"}, "/run/intentd/api.sock"),
        ({"RUNTIME_DIRECTORY": "/run/a", "XDG_RUNTIME_DIR": "/run/user/1"}, "/run/a/api.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/1"}, "/run/user/1/intentd/api.sock"),
        ({"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": ""}, f"/tmp/intentd-{os.getuid()}/api.sock"),
        ({}, f"/tmp/intentd-{os.getuid()}/api.sock"),
    ],
)
def test_the_socket_lies_where_the_system_keeps_sockets(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    """The directory of systemd (the first of several), else the user's, else one in /tmp."""
    assert default_socket(environ) == Path(expected)
    assert load(tmp_path, "", environ)[0].socket == Path(expected)


@pytest.mark.parametrize(
    ("uid", "environ", "expected"),
    [
        (0, {"HOME": "/root", "XDG_CONFIG_HOME": "/x"}, "/etc/intentd/intentd.toml"),
        (1000, {"HOME": "/home/me"}, "/home/me/.config/intentd/intentd.toml"),
        (1000, {"HOME": "/home/me", "XDG_CONFIG_HOME": "/x"}, "/x/intentd/intentd.toml"),
        (64_000, {}, "/etc/intentd/intentd.toml"),
    ],
)
def test_the_config_file_lies_where_the_user_looks_for_it(
    monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str], expected: str
) -> None:
    """A container's user without a home directory reads the system's file."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)

    assert default_config_path(environ) == Path(expected)


def test_a_client_finds_the_socket_of_a_daemon_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was named, else this user's own, else the system's if only that one exists."""
    own, system = tmp_path / "own" / "intentd" / "api.sock", tmp_path / "system.sock"
    monkeypatch.setattr(module, "SYSTEM_SOCKET", system)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("INTENTD_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "own"))

    assert find_socket() == own
    system.touch()
    assert find_socket() == system
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_socket() == own
    monkeypatch.setenv("INTENTD_SOCKET", "/elsewhere.sock")
    assert find_socket() == Path("/elsewhere.sock")


@pytest.mark.parametrize(("value", "shows"), [("", False), ("0", False), ("1", True)])
def test_the_debug_variable_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, shows: bool
) -> None:
    """It has our prefix, and is read by the command line alone."""
    monkeypatch.setenv(DEBUG_VARIABLE, value)

    assert shows_tracebacks() is shows
    assert load(tmp_path, "", {DEBUG_VARIABLE: value})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/h"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/intentd"),
        ({"HOME": "/h"}, "/h/.local/state/intentd"),
        ({}, "/var/lib/intentd"),
    ],
)
def test_corrections_lie_where_the_system_keeps_state(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    """The service manager's, else the user's, else the system's."""
    assert default_state_dir(environ) == Path(expected)
    assert load(tmp_path, "", environ)[0].state_dir == Path(expected)


def test_the_admins_socket_lies_beside_the_other(tmp_path: Path) -> None:
    """Unless it is told where to lie, in any layer."""
    beside, _ = load(tmp_path, "", {}, socket=Path("/run/a/s"))
    told, _ = load(tmp_path, "", {"INTENTD_ADMIN_SOCKET": "/b"}, socket=Path("/run/a/s"))

    assert beside.admin_socket == Path("/run/a/admin.sock")
    assert told.admin_socket == Path("/b")
    assert load(tmp_path, 'admin_socket_mode = "0600"')[0].admin_mode_bits == 0o600


def test_a_client_finds_the_admins_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the socket that it would use, or where it is told."""
    monkeypatch.setenv("INTENTD_SOCKET", "/run/a/s")
    monkeypatch.delenv("INTENTD_ADMIN_SOCKET", raising=False)

    assert find_admin_socket() == Path("/run/a/admin.sock")
    monkeypatch.setenv("INTENTD_ADMIN_SOCKET", "/b")
    assert find_admin_socket() == Path("/b")


def test_other_parts_have_tables_of_their_own(tmp_path: Path) -> None:
    """`[sync]` is read elsewhere; a value of that name, or another table, is a mistake."""
    settings, origins = load(tmp_path, 'threads = 3\n[sync]\nupstream = "https://x"')

    assert (settings.threads, "sync" in origins) == (3, False)
    for wrong in ("sync = 1", "[snyc]\na = 1"):
        with pytest.raises(InvalidSettings, match="unknown setting"):
            load(tmp_path, wrong)


@pytest.mark.parametrize("word", ["", "none", "TEXT", "all"])
def test_what_is_kept_of_predictions_is_a_closed_set(tmp_path: Path, word: str) -> None:
    """A typing error must not keep texts that somebody wanted hashed."""
    with pytest.raises(InvalidSettings, match="predictions: expected one of text, hash, off"):
        load(tmp_path, f'predictions = "{word}"')


def test_importing_the_module_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment counts when settings are loaded, not when the module was."""
    monkeypatch.setenv("INTENTD_THREADS", "5")
    path = tmp_path / "intentd.toml"
    path.write_text("")

    assert load_settings(path)[0].threads == 5


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(name=st.sampled_from([field.name for field in FIELDS]), raw=toml_values)
def test_whatever_a_value_is_it_is_converted_or_refused(name: str, raw: Any) -> None:
    """Every value that gets through has its field's type and range; all others end as one error."""
    try:
        settings, _ = load_settings(Path(os.devnull), {name: raw}, {})
    except InvalidSettings as error:
        assert_names(error, name)
        return
    value, field = getattr(settings, name), next(f for f in FIELDS if f.name == name)

    assert isinstance(value, get_type_hints(Settings)[name])
    assert isinstance(value, bool) == (get_type_hints(Settings)[name] is bool)
    if field.metadata["low"] is not None:
        assert field.metadata["low"] <= value <= field.metadata["high"]


def assert_names(error: InvalidSettings, name: str) -> None:
    """The error says which setting is at fault."""
    assert str(error).startswith(f"command line: {name}: ")


def test_all_is_what_is_public() -> None:
    """Every function and class of this module without an underscore is exported."""
    public = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }

    assert public <= set(module.__all__)

"""The table [sync], the token, the schedule and what is remembered between runs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidSettings, InvalidValue, Unavailable
from edge.settings import load_settings
from edge.sync.assemble import open_target
from edge.sync.retry import MAX_RETRY_AFTER_S
from edge.sync.schedule import parse_interval, seconds_to_next, splay
from edge.sync.settings import SyncSettings, Tier, load_sync_settings
from edge.sync.state import SyncState
from edge.sync.token import CREDENTIAL, read_token

WHOLE = """
log_level = "debug"
[sync]
upstream = "https://collector.example"
token_file = "/etc/token"
ca_file = "/etc/ca.pem"
tier = "labels"
deny = ["Falke", "/x+/"]
regions = ["DE"]
batch_records = 7
"""
TOKEN = "abc.DEF-123"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with every setting."""
    path = tmp_path / "intentd.toml"
    path.write_text(WHOLE)
    return path


def test_every_setting_is_read(config: Path) -> None:
    """And the daemon, which reads the same file, does not mind."""
    assert load_sync_settings(config) == SyncSettings(
        upstream="https://collector.example",
        token_file=Path("/etc/token"),
        ca_file=Path("/etc/ca.pem"),
        tier=Tier.LABELS,
        deny=("Falke", "/x+/"),
        regions=("DE",),
        batch_records=7,
        config=config,
    )
    assert load_settings(config)[0].log_level == "debug"


def test_command_line_has_its_way(config: Path) -> None:
    """Over the file."""
    settings = load_sync_settings(config, "/mnt/out", Tier.COUNTS)

    assert (settings.upstream, settings.tier) == ("/mnt/out", Tier.COUNTS)


def test_no_file_means_off(tmp_path: Path) -> None:
    """Nothing leaves without somebody's word; the message says where to give it."""
    settings = load_sync_settings(tmp_path / "none.toml")

    assert settings.upstream == ""
    with pytest.raises(InvalidSettings, match=r"sync is off.*none\.toml"):
        open_target(settings)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('upstraem = "x"', "did you mean upstream"),
        ('token = "secret"', "unknown setting"),
        ("upstream = 5", "expected a string"),
        ('tier = "all"', "counts, labels, redacted"),
        ('deny = "word"', "list of strings"),
        ("batch_records = 0", "1 to 1000"),
        ('token_file = ""', "a path"),
        ("upstream = ", "cannot read"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, line: str, said: str) -> None:
    """With the file, the key and what is expected."""
    path = tmp_path / "intentd.toml"
    path.write_text(f"[sync]\n{line}\n")

    with pytest.raises(InvalidSettings, match=said) as caught:
        load_sync_settings(path)
    assert str(path) in str(caught.value)


def _token_file(path: Path, mode: int, content: str = f"{TOKEN}\n") -> Path:
    path.touch(mode=0o600)
    path.write_text(content)
    path.chmod(mode)
    return path


def test_token_is_read_from_a_private_file(tmp_path: Path) -> None:
    """Without the line's end."""
    assert read_token(_token_file(tmp_path / "token", 0o600), {}) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_token_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the mode that was found and the command that mends it; never with the token."""
    path = _token_file(tmp_path / "token", mode)

    with pytest.raises(InvalidSettings, match=f"{mode:04o}.*chmod 600") as caught:
        read_token(path, {})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n", "two words", "tok\ten", "émile", "x" * 5000])
def test_token_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """A header cannot hold it."""
    with pytest.raises(InvalidSettings, match="one token"):
        read_token(_token_file(tmp_path / "token", 0o600, content), {})


def test_token_of_systemd_is_found(tmp_path: Path) -> None:
    """Where it grants access by an ACL, the group's bits say nothing."""
    _token_file(tmp_path / CREDENTIAL, 0o440)

    assert read_token(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == TOKEN


def test_missing_token_says_what_to_do(tmp_path: Path) -> None:
    """No setting, or no file."""
    with pytest.raises(InvalidSettings, match="intentd-collect device add"):
        read_token(None, {})
    with pytest.raises(InvalidSettings, match="No such file"):
        read_token(tmp_path / "none", {})
    with pytest.raises(InvalidSettings):
        read_token(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "seconds"), [("15m", 900), ("10s", 10), ("6h", 21600), ("7d", 604800)]
)
def test_intervals(text: str, seconds: float) -> None:
    """A number and a unit."""
    assert parse_interval(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "9s", "8d", "-5m", "1.5h", "1w"])
def test_intervals_out_of_reach_are_refused(text: str) -> None:
    """Too often, too seldom, or unclear."""
    with pytest.raises(InvalidValue, match="--every"):
        parse_interval(text)


@given(st.floats(0, 4e9), st.floats(10, 604800), st.uuids())
def test_each_box_has_its_turn_once_an_interval(now: float, interval: float, box: object) -> None:
    """At the same offset whenever it is asked, and never at once."""
    offset = splay(str(box), interval)
    wait = seconds_to_next(now, interval, offset)

    assert 0 <= offset < interval
    assert 0 < wait <= interval
    beside = (now + wait - offset) % interval
    assert min(beside, interval - beside) < 1e-3


def test_fleet_is_spread_evenly() -> None:
    """500 boxes after an outage: no minute of fifteen has more than twice its share."""
    turns = [splay(f"box-{n}", 900) for n in range(500)]
    minutes = [sum(60 * m <= turn < 60 * (m + 1) for turn in turns) for m in range(15)]

    assert max(minutes) < 2 * 500 / 15
    assert min(minutes) > 0


def test_quiet_time_is_remembered_and_bounded(tmp_path: Path) -> None:
    """By another process too; a clock that was set back cannot make it longer than six hours."""
    now = [1e9]
    state = SyncState(tmp_path / "sync", lambda: now[0])
    assert state.quiet_s() == 0
    with state.locked():
        state.keep_quiet(600)
    now[0] += 100
    assert SyncState(tmp_path / "sync", lambda: now[0]).quiet_s() == pytest.approx(500)
    now[0] += 500
    assert state.quiet_s() == 0
    now[0] = 0
    assert state.quiet_s() == MAX_RETRY_AFTER_S


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    """The second is told; the lock ends with the run."""
    first, second = SyncState(tmp_path / "sync"), SyncState(tmp_path / "sync")
    with first.locked(), pytest.raises(Unavailable, match="another"), second.locked():
        pass
    with second.locked():
        pass


def test_key_is_private_and_stays(tmp_path: Path) -> None:
    """Made once."""
    state = SyncState(tmp_path / "sync")
    key = state.read_key()

    assert len(key) == 32
    assert SyncState(tmp_path / "sync").read_key() == key
    assert stat.S_IMODE((tmp_path / "sync" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "sync").stat().st_mode) == 0o700

"""Settings: one file, overrides on top, and no word that is not understood."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.daemons import ROOT
from training.errors import InvalidConfig
from training.settings import Settings, load_settings


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    """Default < file < --set."""
    path = tmp_path / "train.toml"
    path.write_text("[build]\nseed = 3\ndev = 0.2\n")
    found = load_settings(path, ["build.dev=0.3", "build.intents=mine.toml", "work_dir=x"])

    assert (found.build.seed, found.build.dev) == (3, 0.3)
    assert (found.build.intents, found.work_dir) == ("mine.toml", "x")
    assert found.augment == Settings().augment


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("build.near_dupliate=1", "did you mean build.near_duplicate"),
        ("build.dev=2", "build.dev"),
        ("build={dev = 0.6, calibration = 0.4}", "less than 1 together$"),
        ("build.leaks=ignore", "fail"),
        ("build", "section.key=value"),
        ("a.b.c=1", "section.key=value"),
        ("work_dir.x=1", "work_dir"),
    ],
)
def test_what_is_not_understood_is_refused(override: str, said: str) -> None:
    """One line, with the nearest name."""
    with pytest.raises(InvalidConfig, match=said):
        load_settings(None, [override])


def test_every_setting_is_in_the_documented_file_and_on_the_command_line() -> None:
    """docs/train.toml holds each with its default, and --set takes each."""
    path = ROOT / "docs" / "train.toml"
    written = tomllib.loads(path.read_text("utf-8"))
    assert load_settings(path) == Settings()
    known = asdict(Settings())
    assert known["export"].pop("licence") is None  # which TOML cannot write
    assert json.dumps(written, sort_keys=True) == json.dumps(known, sort_keys=True)

    sections = {name: values for name, values in written.items() if isinstance(values, dict)}
    for section, values in sections.items():
        for key, value in values.items():
            assert load_settings(None, [f"{section}.{key}={json.dumps(value)}"]) == Settings()


@pytest.mark.parametrize("text", ["[build", "build = 3", "\x00"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    """Named, in one line."""
    path = tmp_path / "train.toml"
    path.write_text(text)

    with pytest.raises(InvalidConfig, match=r"train\.toml"):
        load_settings(path)

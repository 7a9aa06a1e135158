"""The reference page says what the code does: every command, option, setting and error code."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from edge.protocol import REFUSALS
from edge.settings import Settings
from tests.daemons import ROOT
from tests.reference import PAGE, commands, error_classes, render

CLI = PAGE.read_text("utf-8")


def test_the_generated_parts_are_what_the_code_has_now() -> None:
    """`python -m tests.reference` writes them anew."""
    assert render(CLI) == CLI


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_and_option_is_documented(name: str, command: object) -> None:
    """Under a heading of its own."""
    section = CLI.split(f"\n### {name}\n")[1].split("\n### ")[0]

    for parameter in getattr(command, "params", []):
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert f"`{option}`" in section or option == "--help"


@pytest.mark.parametrize("setting", [setting.name for setting in fields(Settings)])
def test_every_setting_is_documented(setting: str) -> None:
    """By its name in the file and by its variable."""
    assert f"| `{setting}` | `INTENTD_{setting.upper()}` |" in CLI


@pytest.mark.parametrize(
    "code", [*(kind.code for kind in error_classes()), *(code for code, _ in REFUSALS.values())]
)
def test_every_error_code_is_documented(code: str) -> None:
    """With its status and what it means."""
    assert f"| `{code}` | " in CLI


@pytest.mark.parametrize("code", sorted({kind.exit_code for kind in error_classes()} | {0, 130}))
def test_every_exit_code_is_documented(code: int) -> None:
    """In the table of exit codes."""
    table = CLI.split("## Exit codes")[1].split("\n## ")[0]

    assert f"| {code} | " in table


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there."""
    text = page.read_text("utf-8")

    for part in text.split("](")[1:]:
        target = part.split(")")[0].split("#")[0]
        assert not target or "://" in target or (page.parent / target).exists(), target

"""Reads unit files, and what systemd-analyze knows of them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.daemons import ROOT

__all__ = ["SHIPPED", "allowed_calls", "analyze", "directives", "needs", "values"]

SHIPPED = ROOT / "systemd"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not on this machine: {', '.join(missing)}")


def analyze(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    command = ["systemd-analyze", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=check)


def directives(unit: Path, section: str = "Service") -> list[tuple[str, str]]:
    """The `Name=value` lines of one section, in order; a name may come more than once."""
    found, here = [], ""
    for line in unit.read_text("utf-8").splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif here == section and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.append((name, value))
    return found


def values(unit: Path, name: str, section: str = "Service") -> list[str]:
    """Every value of a directive."""
    return [value for key, value in directives(unit, section) if key == name]


def allowed_calls(unit: Path) -> frozenset[str]:
    """The system calls that the unit's SystemCallFilter= lines allow, as systemd reads them."""
    allowed: set[str] = set()
    for line in values(unit, "SystemCallFilter"):
        named = {call for word in line.lstrip("~").split() for call in _expand(word)}
        allowed = allowed - named if line.startswith("~") else allowed | named
    return frozenset(allowed)


def _expand(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    return {call for part in _sets()[word] for call in _expand(part)}


@cache
def _sets() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    members: list[str] = []
    for line in analyze("syscall-filter").stdout.splitlines():
        word = line.split("#")[0].strip()
        if word and not line[0].isspace():
            members = found.setdefault(word, [])
        elif word:
            members.append(word)
    return found

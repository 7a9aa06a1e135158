"""`edge.swap.warmth`: what a load leaves in memory goes back to the kernel once it is over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge.settings import Settings
from edge.swap import warmth
from tests.edge.house import house

QUIET_S = 0.05


def test_free_memory_is_given_back_once_after_each_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that nobody asks does nothing."""
    trims: list[None] = []
    monkeypatch.setattr(warmth, "QUIET_S", QUIET_S)
    monkeypatch.setattr(warmth, "release_memory", lambda: trims.append(None))

    async def until_trimmed(times: int) -> None:
        async with asyncio.timeout(30):
            while len(trims) < times:
                await asyncio.sleep(QUIET_S)
        await asyncio.sleep(5 * QUIET_S)
        assert len(trims) == times

    async def act() -> None:
        async with house(tmp_path / "state", Settings().bundle) as home:
            await until_trimmed(1)
            await home.ask()
            await home.ask("leeks")
            await until_trimmed(2)

    asyncio.run(act())

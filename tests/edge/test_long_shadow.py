"""`edge.swap.long_shadow`: what is refused, and what a start leaves alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from edge.bundle import Bundle
from edge.errors import InvalidValue, NotFound
from edge.models.versions import VersionStore
from edge.swap.long_shadow import FILE, MAX_TRIES
from edge.wire.models import CONFIGURED, ActivationState
from tests.edge.house import house
from tests.edge.models import graphs
from tests.edge.models.candidates import make_candidate


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What answers."""
    return make_candidate(tmp_path_factory.mktemp("served") / "a", version="1")


def keep(state: Path, digest: str, tries: int) -> Path:
    """What a daemon wrote that was ended so often without a stop."""
    path = state / "models" / FILE
    path.write_text(json.dumps({"digest": digest, "since_utc": "then", "tries": tries}))
    return path


@pytest.mark.parametrize("tries", [MAX_TRIES - 1, MAX_TRIES])
def test_shadow_that_ended_the_daemon_twice_is_left_off(
    tmp_path: Path, served: Bundle, tries: int
) -> None:
    """It may be the shadow that crashes it; a start in good order begins to count anew."""
    other = make_candidate(tmp_path / "b", version="2")
    digest = VersionStore(tmp_path / "state" / "models").install(other.path).digest
    path = keep(tmp_path / "state", digest, tries)

    async def live() -> None:
        async with house(tmp_path / "state", served.path) as home:
            told = home.desk.shadow.tell()
            assert told.digest == digest
            assert (told.state == "off") == (tries >= MAX_TRIES)
            if tries < MAX_TRIES:
                assert json.loads(path.read_text())["tries"] == tries + 1
            else:
                assert "ended 2 times with it" in told.detail

    asyncio.run(live())
    assert json.loads(path.read_text())["tries"] == (0 if tries < MAX_TRIES else MAX_TRIES)


def test_bad_bundle_does_not_come_into_the_shadow(tmp_path: Path, served: Bundle) -> None:
    """Its trial comes first; what answers is not touched."""
    bad = graphs.make_model(tmp_path / "bad", graphs.not_a_number(), version="9")

    async def live() -> None:
        async with house(tmp_path / "state", served.path) as home:
            shadow = home.desk.shadow
            with pytest.raises(NotFound):
                await shadow.start("0" * 64)
            with pytest.raises(InvalidValue, match="does not answer already"):
                await shadow.start(CONFIGURED)
            await shadow.start(home.store.install(bad.path).digest)
            assert shadow._task is not None
            await shadow._task
            told = shadow.tell()
            assert (told.state, home.service.observers) == ("off", set())
            assert "no number" in told.detail
            assert (await home.ask()).model.digest == served.digest

    asyncio.run(live())


def test_activation_ends_the_shadow(tmp_path: Path, served: Bundle) -> None:
    """It needs the memory, and the comparison is over anyway."""
    other = make_candidate(tmp_path / "b", version="2")

    async def live() -> None:
        async with house(tmp_path / "state", served.path) as home:
            digest = home.store.install(other.path).digest
            await home.desk.shadow.start(digest)
            assert home.desk.shadow.is_on
            assert (await home.activate(digest)).state is ActivationState.COMMITTED
            assert home.desk.shadow.tell().state == "off"
            assert not (tmp_path / "state" / "models" / FILE).exists()

    asyncio.run(live())

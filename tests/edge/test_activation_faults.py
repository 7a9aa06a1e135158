"""What goes wrong in the middle of a swap: a model answers all the same, and the next one works."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from edge.bundle import CARD, MODEL, STARTER, Bundle, seal_bundle
from edge.errors import SwapInProgress
from edge.models.versions import VersionStore
from edge.wire.models import CONFIGURED, ActivateRequest, ActivationState, SwapMode
from tests.e2e.talk import PATIENCE_S
from tests.edge.house import House, house
from tests.edge.models import graphs
from tests.edge.models.bundles import tiny_graph
from tests.edge.models.candidates import contrary, make_candidate, stubborn

COMMITTED, ROLLED_BACK = ActivationState.COMMITTED, ActivationState.ROLLED_BACK
REFUSED, PROBATION = ActivationState.REFUSED, ActivationState.PROBATION


@pytest.fixture(scope="module")
def a(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What the settings name."""
    return make_candidate(tmp_path_factory.mktemp("a") / "a", version="1")


@pytest.fixture(scope="module")
def b(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Says the same."""
    return make_candidate(tmp_path_factory.mktemp("b") / "b", version="2", threshold=0.3)


def install(home: House, bundle: Bundle) -> str:
    """Install it; its digest."""
    return home.store.install(bundle.path, allow_older=True).digest


async def digest_of(home: House) -> str:
    """What answers."""
    return (await home.ask()).model.digest


async def unloaded(home: House) -> None:
    """Wait until the idle model has left memory."""
    async with asyncio.timeout(PATIENCE_S):
        while home.service.slot.model is not None:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("mode", ["available", "low-memory"])
def test_model_that_fails_in_this_process_alone_is_refused(
    tmp_path: Path, a: Bundle, b: Bundle, mode: str
) -> None:
    """Its trial went well, and the runtime raises here: as where memory runs out meanwhile."""
    bad = make_candidate(tmp_path / "bad", stubborn("warm up"), version="9")

    async def act() -> None:
        async with house(tmp_path / "state", a.path) as home:
            ended = await home.activate(install(home, bad), mode=SwapMode(mode))
            assert (ended.state, "the graph fails" in ended.detail) == (REFUSED, True), ended
            assert await digest_of(home) == a.digest
            assert (await home.activate(install(home, b))).state is COMMITTED
            assert await digest_of(home) == b.digest

    asyncio.run(act())


def test_bug_in_the_middle_leaves_the_old_model_and_the_next_swap_possible(
    tmp_path: Path, a: Bundle, b: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is; the log says where."""

    async def act() -> None:
        async with house(tmp_path / "state", a.path) as home:
            load = home.service.load

            async def fail_once(path: Path) -> None:
                monkeypatch.setattr(home.service, "load", load)
                raise ZeroDivisionError("a bug")

            digest = install(home, b)
            monkeypatch.setattr(home.service, "load", fail_once)
            ended = await home.activate(digest, mode=SwapMode.LOW_MEMORY)
            assert (ended.state, await digest_of(home)) == (REFUSED, a.digest)
            assert (await home.activate(digest)).state is COMMITTED

    asyncio.run(act())


def test_candidate_is_compared_though_the_idle_model_was_unloaded(
    tmp_path: Path, a: Bundle
) -> None:
    """It is loaded again for that: a swap at night is judged as one at noon."""
    bad = make_candidate(tmp_path / "bad", contrary(), version="9")

    async def act() -> None:
        async with house(tmp_path / "state", a.path, idle_unload_s=0.05) as home:
            for text in ("gulls", "leeks", "boats"):
                await home.ask(text)
            digest = install(home, bad)
            await unloaded(home)
            ended = await home.activate(digest)
            assert (ended.state, "found 0% of 3" in ended.detail) == (ROLLED_BACK, True), ended
            assert await digest_of(home) == a.digest

    asyncio.run(act())


def test_unloaded_model_is_swapped_in_a_small_memory_too(
    tmp_path: Path, a: Bundle, b: Bundle
) -> None:
    """There is nothing to make room for."""

    async def act() -> None:
        async with house(tmp_path / "state", a.path, idle_unload_s=0.05) as home:
            digest = install(home, b)
            await unloaded(home)
            assert (await home.activate(digest, mode=SwapMode.LOW_MEMORY)).state is COMMITTED
            assert await digest_of(home) == digest

    asyncio.run(act())


def test_way_back_that_was_damaged_meanwhile_ends_at_the_settings_bundle(
    tmp_path: Path, a: Bundle, b: Bundle
) -> None:
    """The candidate failed, and what it replaced cannot be read any more."""
    bad = make_candidate(tmp_path / "bad", version="9")

    async def act() -> None:
        async with house(tmp_path / "state", a.path) as home:
            good, digest = install(home, b), install(home, bad)
            assert (await home.activate(good)).state is COMMITTED
            request = ActivateRequest(digest=digest, mode=SwapMode.LOW_MEMORY, manual=True)
            await home.desk.activate(request)
            await home.until(PROBATION, lambda: asyncio.sleep(0))
            card = home.store.directory / "versions" / good / CARD
            card.chmod(0o600)
            card.write_text("damaged")
            assert (await home.desk.roll_back()).state is ROLLED_BACK
            assert await digest_of(home) == a.digest
            assert (home.store.current(), home.store.journal().pending) == (None, None)

    asyncio.run(act())


def test_start_where_neither_version_can_be_loaded_serves_the_settings_bundle(
    tmp_path: Path, a: Bundle
) -> None:
    """As after an update of the runtime that can read neither."""
    store = VersionStore(tmp_path / "state" / "models")
    for version in ("8", "9"):
        bad = tmp_path / version
        shutil.copytree(a.path, bad)
        (bad / MODEL).write_bytes(tiny_graph())
        seal_bundle(bad, a.manifest.model_copy(update={"version": version}))
        digest = store.install(bad).digest
        store.begin(digest)
        if version == "8":
            store.commit()

    async def act() -> None:
        async with house(tmp_path / "state", a.path) as home:
            assert await digest_of(home) == a.digest

    asyncio.run(act())


def test_reload_during_an_activation_is_told_and_changes_nothing(
    tmp_path: Path, a: Bundle, b: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """The admin who signals just then finds it in the log."""

    async def act() -> None:
        async with house(tmp_path / "state", a.path) as home:
            await home.desk.activate(ActivateRequest(digest=install(home, b), manual=True))
            await home.until(PROBATION, lambda: asyncio.sleep(0))
            with pytest.raises(SwapInProgress):
                await home.desk.activator.reload()
            await home.desk.reload()
            assert "reload: another activation goes on" in caplog.text
            assert (await home.desk.activator.commit()).state is COMMITTED
            assert await digest_of(home) == b.digest

    asyncio.run(act())


def test_labels_that_were_given_up_speak_against_no_candidate(tmp_path: Path, a: Bundle) -> None:
    """From free labels to fixed ones that are others: what was agreed to is no disagreement."""

    async def act() -> None:
        async with house(tmp_path / "state", STARTER) as home:
            for text in ("gulls", "leeks"):
                await home.ask(text)
            await home.ask("boats", labels=["music", "weather"])
            digest = install(home, a)
            ended = await home.activate(digest, force=True)
            assert ended.state is COMMITTED, ended
            assert ended.report is not None
            assert (ended.report.requests, ended.report.agreement) == (3, None)
            back = await home.activate(CONFIGURED, force=True)
            assert back.state is COMMITTED, back

    asyncio.run(act())


@pytest.mark.parametrize("way", ["rollback", "reload"])
def test_every_way_to_another_model_ends_the_shadow(
    tmp_path: Path, a: Bundle, b: Bundle, way: str
) -> None:
    """It needs the memory, and would be compared with itself."""

    async def act() -> None:
        async with house(tmp_path / "state", a.path) as home:
            digest = install(home, b)
            await home.activate(digest)
            await home.desk.roll_back()
            await home.desk.shadow.start(digest)
            if way == "rollback":
                await home.desk.roll_back()
            else:
                (home.store.directory / "current").symlink_to(f"versions/{digest}")
                await home.desk.reload()
            assert await digest_of(home) == digest
            assert home.desk.shadow.tell().state == "off"

    asyncio.run(act())


def test_trial_that_is_refused_leaves_the_shadow_of_nobody(tmp_path: Path, a: Bundle) -> None:
    """A bundle that fails its trial neither answers nor stays in the way of the next one."""
    bad = graphs.make_model(tmp_path / "bad", graphs.not_a_number(), version="9")

    async def act() -> None:
        async with house(tmp_path / "state", a.path) as home:
            digest = install(home, bad)
            for _ in range(2):
                assert (await home.activate(digest)).state is REFUSED
                assert (home.store.current(), await digest_of(home)) == (None, a.digest)

    asyncio.run(act())

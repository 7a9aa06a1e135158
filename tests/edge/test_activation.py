"""Activation with real bundles, children and threads: what answers, and what is refused."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import MODEL, STARTER, Bundle, read_bundle, seal_bundle
from edge.errors import (
    InvalidValue,
    ModelFailed,
    NotFound,
    NotReady,
    StoreUnavailable,
    SwapInProgress,
    UnknownLabel,
)
from edge.models.recovery import recover
from edge.models.verdict import TrialFailure
from edge.models.versions import VersionStore
from edge.wire import ClassifyRequest, CorrectionRequest, Reason
from edge.wire.models import CONFIGURED, ActivateRequest, ActivationState, SwapMode
from tests.edge.house import House, house
from tests.edge.models import graphs
from tests.edge.models.bundles import tiny_graph
from tests.edge.models.candidates import (
    FATAL_TEXT,
    contrary,
    make_candidate,
    slow,
    treacherous,
)

COMMITTED, ROLLED_BACK = ActivationState.COMMITTED, ActivationState.ROLLED_BACK
REFUSED, PROBATION = ActivationState.REFUSED, ActivationState.PROBATION
Make = Callable[..., Bundle]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Gives a bundle by the name of its kind; each is made once."""
    root = tmp_path_factory.mktemp("bundles")
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "a": lambda: {"version": "1"},
        "b": lambda: {"version": "2", "threshold": 0.3},
        "contrary": lambda: {"version": "3", "model": contrary()},
        "treacherous": lambda: {"version": "4", "model": treacherous()},
        "slow": lambda: {"version": "5", "model": slow(300_000)},
    }

    @cache
    def get(kind: str) -> Bundle:
        return make_candidate(root / kind, **kinds[kind]())

    return get


def run(directory: Path, bundle: Bundle, act: Callable[[House], Any], **settings: Any) -> None:
    """Let `act` do something in a house that starts on this bundle."""

    async def live() -> None:
        async with house(directory / "state", bundle.path, **settings) as home:
            await act(home)

    asyncio.run(live())


def install(home: House, bundle: Bundle) -> str:
    """Install it; its digest."""
    return home.store.install(bundle.path, allow_older=True).digest


@pytest.mark.parametrize("mode", ["available", "low-memory"])
def test_activation_ends_with_the_new_model_answering(
    tmp_path: Path, made: Make, mode: str
) -> None:
    """What answers, what the API says, and what the next start finds are the same."""

    async def act(home: House) -> None:
        digest = install(home, made("b"))
        ended = await home.activate(digest, mode=SwapMode(mode))
        assert (ended.state, ended.mode) == (COMMITTED, mode)
        assert (await home.ask()).model.digest == digest
        assert home.service.describe_model().model.digest == digest
        assert home.store.current() == home.store.journal().last_good == digest
        assert ended.report is not None
        agreement = 1.0 if mode == "available" else None  # nobody said what the old one says
        assert (ended.report.requests, ended.report.agreement) == (3, agreement)

    run(tmp_path, made("a"), act)

    async def act_again(home: House) -> None:
        assert (await home.ask()).model.digest == made("b").digest

    run(tmp_path, made("a"), act_again)


def test_requests_keep_the_model_that_they_began_with(tmp_path: Path, made: Make) -> None:
    """A batch that began before the switch ends on the old model; nothing is mixed."""

    async def act(home: House) -> None:
        digest = install(home, made("b"))
        texts = [f"text {number}" for number in range(256)]

        async def never() -> bool:
            return False

        batch = asyncio.create_task(home.service.classify(ClassifyRequest(texts=texts), never))
        await asyncio.sleep(0)  # it has its model from here on
        candidate = await home.service.load(home.store.find(digest).path)
        before = home.service.switch(candidate)
        assert (await home.ask()).model.digest == digest
        assert before is not None
        await before.retire(30.0)
        answers = await batch
        assert {answer.model.digest for answer in answers} == {made("a").digest}
        assert {answer.label_set.version for answer in answers} == {"1"}

    run(tmp_path, made("a"), act)


BAD: dict[TrialFailure, tuple[Callable[[], bytes], dict[str, Any]]] = {
    TrialFailure.NOT_A_NUMBER: (graphs.not_a_number, {}),
    TrialFailure.TIMEOUT: (graphs.endless, {"trial_timeout_s": 4.0}),
    TrialFailure.MEMORY: (lambda: graphs.hungry(30_000_000), {"trial_memory_mb": 300}),
    TrialFailure.SELF_TEST: (contrary, {}),
    TrialFailure.LABELS: (lambda: graphs.linear(3), {}),
}


@pytest.mark.parametrize("reason", list(BAD))
def test_bad_model_is_refused_and_the_old_one_answers_all_the_while(
    tmp_path: Path, made: Make, reason: TrialFailure
) -> None:
    """It is tried in a child process; requests meanwhile know nothing of it."""
    make_graph, settings = BAD[reason]
    bad = graphs.make_model(tmp_path / "bad", make_graph(), version="9")

    async def act(home: House) -> None:
        digest = install(home, bad)
        await home.desk.activate(ActivateRequest(digest=digest))
        digests = set()

        async def ask() -> None:
            digests.add((await home.ask()).model.digest)

        await home.until(REFUSED, ask)
        ended = await home.end()
        assert ended.detail.startswith(f"{reason}: ")
        assert "answers on" in ended.detail
        assert digests == {made("a").digest}
        assert home.store.current() is None
        assert home.store.journal().pending is None

    run(tmp_path, made("a"), act, **settings)


@pytest.mark.parametrize("mode", ["available", "low-memory"])
def test_contrary_candidate_is_rolled_back_and_disputed_texts_are_for_review(
    tmp_path: Path, made: Make, mode: str
) -> None:
    """It passes its own self-test, and says the opposite of every recent answer."""

    async def act(home: House) -> None:
        for text in ("gulls", "leeks", "boats"):
            assert (await home.ask(text)).label == "A"
        ended = await home.activate(install(home, made("contrary")), mode=SwapMode(mode))
        assert ended.state is ROLLED_BACK
        assert "found 0% of 3" in ended.detail
        assert ended.report is not None
        assert ended.report.replayed == ended.report.disagreements == 3
        assert (await home.ask()).model.digest == made("a").digest
        assert home.store.current() is None
        items = await asyncio.wrap_future(home.ledger.predictions.review(10))
        assert {item.prediction.model for item in items} == {made("a").digest}
        assert "disagreement" in {item.why for item in items} or mode == "low-memory"

    run(tmp_path, made("a"), act)


def test_candidate_that_fails_in_the_shadow_never_answers_anybody(
    tmp_path: Path, made: Make
) -> None:
    """With both in memory the old model answers until the report is good."""

    async def act(home: House) -> None:
        digest = install(home, made("treacherous"))
        await home.desk.activate(ActivateRequest(digest=digest, probation_requests=1000))
        answers = []

        async def ask() -> None:
            answers.append(await home.ask(FATAL_TEXT))

        await home.until(ROLLED_BACK, ask)
        assert {answer.model.digest for answer in answers} == {made("a").digest}
        assert "it failed on 1 of" in (await home.end()).detail

    run(tmp_path, made("a"), act, probation_s=600.0)


def test_candidate_that_fails_while_it_answers_is_taken_back(tmp_path: Path, made: Make) -> None:
    """In a small memory it answers on probation: its first failure ends that."""

    async def act(home: House) -> None:
        digest = install(home, made("treacherous"))
        request = ActivateRequest(digest=digest, mode=SwapMode.LOW_MEMORY, probation_requests=1000)
        await home.desk.activate(request)
        turned_away = []

        async def ask() -> None:
            try:
                await home.ask("gulls")
            except NotReady as error:
                turned_away.append(error.retry_after_s)
                await asyncio.sleep(0)

        await home.until(PROBATION, ask)
        assert home.service.describe_model().probation
        assert turned_away
        assert min(turned_away) >= 1
        with pytest.raises(ModelFailed):
            await home.ask(FATAL_TEXT)
        await home.until(ROLLED_BACK, ask)
        assert (await home.ask(FATAL_TEXT)).model.digest == made("a").digest
        assert not home.service.describe_model().probation

    run(tmp_path, made("a"), act, probation_s=600.0)


def test_slow_candidate_is_rolled_back(tmp_path: Path, made: Make) -> None:
    """Of the same task it may be slower, but not by much."""

    async def act(home: House) -> None:
        for number in range(10):
            await home.ask(f"text {number}")
        ended = await home.activate(install(home, made("slow")), probation_requests=10)
        assert ended.state is ROLLED_BACK
        assert "expected a p50 of at most 4 times" in ended.detail

    run(tmp_path, made("a"), act)


def test_manual_probation_waits_for_a_word(tmp_path: Path, made: Make) -> None:
    """However good the report, a person decides; and may decide against it."""

    async def act(home: House) -> None:
        digest = install(home, made("b"))
        activator = home.desk.activator
        for word, state in ((activator.roll_back, ROLLED_BACK), (activator.commit, COMMITTED)):
            await home.desk.activate(ActivateRequest(digest=digest, manual=True))
            await home.until(PROBATION, lambda: asyncio.sleep(0))
            for number in range(5):
                assert (await home.ask(f"text {number}")).model.digest == made("a").digest
            assert home.desk.activator.is_busy
            assert (await word()).state is state
        assert (await home.ask()).model.digest == digest

    run(tmp_path, made("a"), act)


def test_one_activation_at_a_time(tmp_path: Path, made: Make) -> None:
    """The second one is told so, whoever sends it."""

    async def act(home: House) -> None:
        digest = install(home, made("b"))
        requests = [home.desk.activate(ActivateRequest(digest=digest)) for _ in range(4)]
        begun = await asyncio.gather(*requests, return_exceptions=True)
        assert sum(isinstance(one, SwapInProgress) for one in begun) == 3
        assert (await home.end()).state is COMMITTED

    run(tmp_path, made("a"), act)


def test_rollback_goes_to_the_previous_model_and_back(tmp_path: Path, made: Make) -> None:
    """Without an activation under way it is the previous one that answers again."""

    async def act(home: House) -> None:
        with pytest.raises(InvalidValue, match="no model to go back to"):
            await home.desk.activator.roll_back()
        await home.activate(install(home, made("b")))
        for expected in ("a", "b", "a"):
            assert (await home.desk.activator.roll_back()).state is ROLLED_BACK
            assert (await home.ask()).model.digest == made(expected).digest

    run(tmp_path, made("a"), act)


def test_trial_can_be_taken_back(tmp_path: Path, made: Make) -> None:
    """A rollback ends the child, and the daemon does not wait for its time to pass."""
    endless = graphs.make_model(tmp_path / "endless", graphs.endless(), version="9")

    async def act(home: House) -> None:
        await home.desk.activate(ActivateRequest(digest=install(home, endless)))
        assert (await home.desk.activator.roll_back()).state is REFUSED
        assert (await home.activate(install(home, made("b")))).state is COMMITTED

    run(tmp_path, made("a"), act, trial_timeout_s=3600.0)


def test_unknown_bundle_is_not_activated(tmp_path: Path, made: Make) -> None:
    """Nor is what answers already, unless forced."""

    async def act(home: House) -> None:
        with pytest.raises(NotFound):
            await home.desk.activate(ActivateRequest(digest="0" * 64))
        with pytest.raises(InvalidValue, match="answers already"):
            await home.desk.activate(ActivateRequest(digest=CONFIGURED))

    run(tmp_path, made("a"), act)


def test_swap_between_fixed_and_free_labels_says_what_breaks(tmp_path: Path, made: Make) -> None:
    """It needs force; then labels that the model lacks get a clear 422, and others an answer."""

    async def act(home: House) -> None:
        digest, free = install(home, made("a")), ["music", "weather"]
        assert (await home.ask(labels=free)).model.phase == "starter"
        request = ActivateRequest(digest=digest, probation_requests=0)
        with pytest.raises(InvalidValue, match="say force"):
            await home.desk.activate(request)
        ended = await home.activate(digest, probation_requests=0, force=True)
        assert ended.state is COMMITTED
        assert ended.changes.fixes_labels
        assert "SUMMARIZE" in ended.changes.labels_vanished
        assert [intent.name for intent in home.service.describe_intents().intents] == ["A", "B"]
        with pytest.raises(UnknownLabel, match="fixed-label bundle, which has A, B"):
            await home.ask(labels=free)
        assert (await home.ask(labels=["B", "A"])).model.digest == digest
        back = await home.activate(CONFIGURED, probation_requests=0, force=True)
        assert back.changes.frees_labels
        assert (await home.ask(labels=free)).model.phase == "starter"

    run(tmp_path, read_bundle(STARTER), act)


def test_corrections_hold_under_their_label_set_alone(tmp_path: Path, made: Make) -> None:
    """A swap to a model with other labels neither applies nor loses them."""

    async def act(home: House) -> None:
        desk = home.desk
        corrections = home.service._corrections
        assert corrections is not None
        answered = await home.ask("gulls")
        said = CorrectionRequest(prediction_id=answered.id, label="B")
        made_one, _ = await corrections.correct(said, home.service.label_set)
        assert (await home.ask("gulls")).reason is Reason.CORRECTED
        await home.activate(install(home, made("b")))  # the same labels
        assert (await home.ask("gulls")).reason is Reason.CORRECTED
        await desk.activate(ActivateRequest(digest=install(home, other), force=True))
        await home.end()
        assert (await home.ask("gulls")).reason is not Reason.CORRECTED
        await home.desk.activator.roll_back()
        assert (await home.ask("gulls")).label == "B"
        stored = await asyncio.wrap_future(home.ledger.store.find(made_one.id))
        assert getattr(stored, "model", None) == made("a").digest
        assert getattr(stored, "label_set", None) == answered.label_set.digest

    other = make_candidate(
        tmp_path / "other", graphs.linear(2), name="other", labels=("A", "C"), version="1"
    )
    run(tmp_path, made("a"), act, probation_agreement=0.0)


def test_reload_serves_what_the_link_points_to(tmp_path: Path, made: Make) -> None:
    """An admin may turn `current` by hand; what fails its trial is not served."""
    bad = graphs.make_model(tmp_path / "bad", graphs.not_a_number(), version="9")

    def turn(store: VersionStore, digest: str) -> None:
        fresh = store.directory / "turned"
        fresh.symlink_to(f"versions/{digest}")
        fresh.replace(store.directory / "current")

    async def act(home: House) -> None:
        digest, broken = install(home, made("b")), install(home, bad)
        turn(home.store, digest)
        await home.desk.reload()
        assert (await home.ask()).model.digest == digest
        turn(home.store, broken)
        await home.desk.reload()
        assert (await home.ask()).model.digest == digest
        assert home.store.current() == home.store.journal().last_good == digest

    run(tmp_path, made("a"), act)


def test_start_on_a_pending_model_goes_on_with_its_probation(tmp_path: Path, made: Make) -> None:
    """As after a crash in the middle: it answers, and is committed when it has proved itself."""
    store = VersionStore(tmp_path / "state" / "models")
    digest = store.install(made("b").path).digest
    store.begin(digest)

    async def act(home: House) -> None:
        assert (await home.ask()).model.digest == digest
        assert (await home.end()).state is COMMITTED
        assert home.store.journal().pending is None

    run(tmp_path, made("a"), act)


def test_start_survives_a_pending_model_that_cannot_be_loaded(tmp_path: Path, made: Make) -> None:
    """It is whole, but its graph names an input that nobody gives: the one before it is served."""
    bad = tmp_path / "bad"
    shutil.copytree(made("b").path, bad)
    (bad / MODEL).write_bytes(tiny_graph())
    digest = seal_bundle(bad, made("b").manifest.model_copy(update={"version": "9"})).digest
    store = VersionStore(tmp_path / "state" / "models")
    store.install(bad)
    store.begin(digest)

    async def act(home: House) -> None:
        assert (await home.ask()).model.digest == made("a").digest
        assert home.store.current() is None
        assert home.store.journal().pending is None

    run(tmp_path, made("a"), act)


def test_crashing_model_is_given_up_after_two_starts(tmp_path: Path, made: Make) -> None:
    """Starts that ended without a commit count, whatever ended them."""
    store = VersionStore(tmp_path / "state" / "models")
    digest = store.install(made("b").path).digest
    store.begin(digest)
    for _ in range(2):
        assert recover(store, made("a").path).digest == digest

    async def act(home: House) -> None:
        assert (await home.ask()).model.digest == made("a").digest

    run(tmp_path, made("a"), act)


def test_broken_store_leaves_the_configured_model(tmp_path: Path, made: Make) -> None:
    """Where no models can be kept, the daemon classifies all the same, and says so when asked."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "models").write_text("in the way")

    async def act(home: House) -> None:
        assert (await home.ask()).model.digest == made("a").digest
        assert [one.origin for one in (await home.desk.list()).models] == ["configured"]
        with pytest.raises(StoreUnavailable, match="no models can be kept"):
            home.desk.catalog.choose("0" * 64)

    run(tmp_path, made("a"), act)

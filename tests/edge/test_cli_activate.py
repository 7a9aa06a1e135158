"""Watching an activation: to its end, and through a restart of the daemon; how it then reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from edge.admin_client import AdminClient
from edge.commands import activate as cli_activate
from edge.commands.activate import _watch
from edge.commands.bundles import report_facts, write_changes, written_size
from edge.errors import DaemonUnreachable, EdgeError, InvalidValue, NotFound, Unavailable
from edge.wire import (
    CONFIGURED,
    ActivationAnswer,
    ActivationState,
    BundleFacts,
    ComparisonReport,
    DiffAnswer,
    ModelsAnswer,
)

NEW, OLD = "b" * 64, "a" * 64
NO_CHANGE: dict[str, Any] = {
    "labels_added": [],
    "labels_vanished": [],
    "fixes_labels": False,
    "frees_labels": False,
    "changes": [],
    "breaks_clients": False,
}


def activation(state: str, compared: int | None = None, **changes: Any) -> ActivationAnswer:
    """One on its way from OLD to NEW; of 50 texts so many are compared."""
    report = None if compared is None else comparison(compared)
    fields: dict[str, Any] = {
        "digest": NEW,
        "from": OLD,
        "state": state,
        "mode": "available",
        "manual": False,
        "started_utc": "2026-11-22T20:00:00Z",
        "detail": "",
        "changes": NO_CHANGE,
        "report": report,
    }
    return ActivationAnswer.model_validate(fields | changes)


def comparison(compared: int, **changes: Any) -> ComparisonReport:
    """Of 50 texts so many are compared."""
    fields: dict[str, Any] = {
        "requests": compared,
        "wanted": 50,
        "agreement": 0.96 if compared else None,
        "disagreements": 2,
        "old_p50_ms": 3.14,
        "new_p50_ms": 2.0,
        "old_p95_ms": None,
        "new_p95_ms": None,
        "new_errors": 0,
    }
    return ComparisonReport.model_validate(fields | changes)


def bundle(digest: str, state: str, origin: str = "installed") -> BundleFacts:
    """One of the daemon's list."""
    return BundleFacts(
        digest=digest,
        name="tiny",
        version="1",
        task="sequence-classification",
        phase="B",
        labels=["A"],
        max_tokens=16,
        bytes=1,
        recipe="fp32",
        origin=origin,
        state=state,
        installed_utc=None,
    )


class FakeClient:
    """A daemon that tells these, one each time it is asked; the last again and again."""

    def __init__(
        self, told: Sequence[ActivationAnswer | EdgeError], serving: BundleFacts | None = None
    ) -> None:
        self._told = _repeating_last(told)
        self._serving = serving or bundle(NEW, "serving")

    def activation(self) -> ActivationAnswer:
        """The next."""
        told = next(self._told)
        if isinstance(told, EdgeError):
            raise told
        return told

    def model(self, digest: str) -> BundleFacts:
        """What serves, which is all there is."""
        assert digest == self._serving.digest
        return self._serving

    def models(self) -> ModelsAnswer:
        """The same, in the list."""
        return ModelsAnswer(
            serving=self._serving.digest, previous=None, models=[self._serving], activation=None
        )


def _repeating_last(
    told: Sequence[ActivationAnswer | EdgeError],
) -> Iterator[ActivationAnswer | EdgeError]:
    yield from told
    while True:
        yield told[-1]


def watch(
    begun: ActivationAnswer, *told: ActivationAnswer | EdgeError, serving: BundleFacts | None = None
) -> ActivationAnswer:
    """What watching ends with."""
    return _watch(cast(AdminClient, FakeClient(told, serving)), begun)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once."""
    monkeypatch.setattr(cli_activate, "POLL_S", 0.0)


@pytest.mark.parametrize("end", ["committed", "rolled_back", "refused"])
def test_watching_ends_with_the_activation(end: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each state is told once where there is no terminal."""
    steps = [activation("trial"), activation("trial"), activation("switching")]
    ended = watch(*steps, activation("probation", 7), activation("probation", 50), activation(end))

    assert ended.state == end
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[0].rstrip(":") for line in told] == ["trial", "switching", "probation"]
    assert "7 of 50 texts compared, 96% agree" in told[-1]


def test_by_hand_watching_ends_when_there_is_something_to_decide() -> None:
    """Not before: the report is what is decided by."""
    ended = watch(
        activation("probation", 0, manual=True),
        activation("probation", 49, manual=True),
        activation("probation", 50, manual=True),
    )

    assert ended.report is not None
    assert (ended.state, ended.report.requests) == ("probation", 50)


@pytest.mark.parametrize("absence", [DaemonUnreachable("gone"), Unavailable("starting")])
def test_a_restart_is_waited_for(
    absence: EdgeError, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon goes on by itself after a start; a dead one is not waited for forever."""
    assert watch(activation("trial"), absence, absence, activation("committed")).state
    assert capsys.readouterr().err.count("waiting for its restart") == 1

    monkeypatch.setattr(cli_activate, "RESTART_S", 0.0)
    with pytest.raises(type(absence)):
        watch(activation("trial"), absence)


@pytest.mark.parametrize(
    ("wanted", "serving", "state"),
    [
        (NEW, bundle(NEW, "serving"), ActivationState.COMMITTED),
        (NEW, bundle(OLD, "serving"), ActivationState.ROLLED_BACK),
        (CONFIGURED, bundle(NEW, "serving", "built-in"), ActivationState.COMMITTED),
        (CONFIGURED, bundle(NEW, "serving"), ActivationState.ROLLED_BACK),
    ],
)
def test_what_serves_after_a_restart_tells_how_it_ended(
    wanted: str, serving: BundleFacts, state: ActivationState
) -> None:
    """The daemon remembers what it serves, not how that came about."""
    begun = activation("switching", digest=wanted)

    assert watch(begun, NotFound("none"), serving=serving).state == state


def test_somebody_elses_activation_is_not_taken_for_ours() -> None:
    """Its end says nothing of the one that was asked for."""
    with pytest.raises(InvalidValue, match="somebody else"):
        watch(activation("trial"), activation("committed", digest=OLD))


def test_changes_are_shown_worst_first(capsys: pytest.CaptureFixture[str]) -> None:
    """What breaks says so; what nobody notices says that."""
    changed = DiffAnswer.model_validate(
        NO_CHANGE
        | {
            "labels_added": ["URGENT"],
            "labels_vanished": ["REASON"],
            "fixes_labels": True,
            "breaks_clients": True,
            "changes": [
                {"name": "threshold", "old": 0.5, "new": 0.25},
                {"name": "hypothesis_template", "old": "It is {}.", "new": None},
            ],
        }
    )
    write_changes(changed)
    lines = capsys.readouterr().out.splitlines()

    assert [line.startswith("breaks: ") for line in lines] == [True, True, False, False, False]
    assert lines[1].endswith("REASON")
    assert lines[3:] == ["threshold: 0.5 → 0.25", "hypothesis_template: It is {}. → –"]

    write_changes(DiffAnswer.model_validate(NO_CHANGE))
    assert capsys.readouterr().out == "clients notice nothing but other scores\n"


def test_a_report_shows_what_was_measured_and_nothing_else() -> None:
    """No agreement of no texts, no p95 of too few."""
    facts = report_facts(comparison(50, rss_bytes=150_200_000, replayed=3))

    assert facts["compared"] == "50 of 50 texts, 3 of them not live"
    assert facts["agreement"].startswith("96.0%")
    assert facts["p50"] == "3.1 → 2.0 ms"
    assert "p95" not in facts
    assert facts["memory"] == "150 MB"
    assert "agreement" not in report_facts(comparison(0))


@pytest.mark.parametrize(
    ("size", "written"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (2**31, "2.1 GB")],
)
def test_sizes_are_written_as_people_read_them(size: int, written: str) -> None:
    """In powers of 1000, as disks are sold."""
    assert written_size(size) == written

"""The shadow: who is better on golden rows, where both part on logged ones, and what people get."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import STARTER, read_bundle
from edge.predictor import Predictor
from edge.wire import ShadowAnswer
from edge.wire.models import ComparisonReport
from tests.models import TinyModel, change_bundle
from tests.training.judged import TEXTS, freeze_told
from tests.training.samples import (
    LABELS,
    QUIET,
    collected,
    lines_of,
    real_rows,
    run_train,
    settings_for,
)
from tests.training.test_logged import box, prediction
from training.errors import DataRefused, InvalidConfig
from training.golden import open_log, to_review
from training.rows import read_rows
from training.shadow import DISAGREEMENTS, shadow
from training.stage import read_manifest

Load = Callable[[Path], Predictor]
LOGGED = TEXTS[24:]


@pytest.fixture
def bundle(tiny: Callable[[str], TinyModel]) -> Path:
    """A quantised bundle of four labels."""
    return tiny("intents").int8


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """What a box was asked: texts that no golden row holds, but for one."""
    rows = [prediction(str(n), text, labels=LABELS) for n, text in enumerate(LOGGED)]
    return box(tmp_path / "box", [*rows, prediction("g", TEXTS[0], labels=LABELS)])


def found_in(work_dir: Path) -> dict[str, Any]:
    """shadow.json."""
    found: dict[str, Any] = json.loads((work_dir / "shadow" / "shadow.json").read_text())
    return found


def seen_live(bundle: Path, errors: int = 0) -> str:
    """What `intentd shadow status --json` prints of a bundle."""
    report = ComparisonReport(
        requests=90,
        wanted=0,
        agreement=0.8,
        disagreements=18,
        old_p50_ms=3.0,
        new_p50_ms=2.0,
        old_p95_ms=5.0,
        new_p95_ms=4.0,
        new_errors=errors,
    )
    digest = read_bundle(bundle).digest
    answer = ShadowAnswer(
        state="on", digest=digest, since_utc="2026-11-28T00:00:00Z", report=report
    )
    return answer.model_dump_json()


def test_a_better_candidate_is_called_better(
    work_dir: Path, bundle: Path, load: Load, logged: Path
) -> None:
    """The golden rows are what it says; the champion, which takes any labels, says otherwise."""
    freeze_told(work_dir, load(bundle))
    done = run_train(work_dir, "shadow", str(logged), "--bundle", str(bundle))
    found = found_in(work_dir)

    assert done.returncode == 0, done.stderr
    assert (found["verdict"], found["golden"]["candidate"]["accuracy"]["value"]) == ("better", 1.0)
    assert found["champion"] == read_bundle(STARTER).digest
    assert found["candidate"] == load(bundle).bundle.digest
    test, gains = found["mcnemar"], found["bootstrap"]
    wrong = round(24 * (1 - found["golden"]["champion"]["accuracy"]["value"]))
    assert (test["only_first"], test["only_second"]) == (0, wrong)
    assert gains["accuracy"]["low"] > 0
    assert gains["macro_f1"]["low"] > 0
    assert found["logged"]["texts"] == len(LOGGED)
    assert found["logged"]["skipped"] == {"the same text once more": 1}
    assert found["cost"]["champion"]["bytes"] > 10 * found["cost"]["candidate"]["bytes"]
    assert all(found["cost"][side]["p50_ms"] > 0 for side in ("champion", "candidate"))
    assert (work_dir / "shadow" / "report.html").is_file()


def test_a_worse_candidate_exits_with_one(work_dir: Path, bundle: Path, load: Load) -> None:
    """In one clear line; and what nobody logged is no error."""
    freeze_told(work_dir, load(bundle))
    done = run_train(work_dir, "shadow", "--champion", str(bundle), "--bundle", str(STARTER))

    assert done.returncode == 1
    assert "shadow: the candidate is worse: 0 rows right" in done.stderr
    assert found_in(work_dir)["logged"]["agreement"] is None
    assert "No text could be compared" in (work_dir / "shadow" / "report.md").read_text()


def test_two_that_answer_alike_are_not_worse(work_dir: Path, bundle: Path, load: Load) -> None:
    """The same weights under another version."""
    freeze_told(work_dir, load(bundle))
    other = change_bundle(bundle, work_dir / "other", version="2").path
    settings = settings_for(work_dir, f"shadow.champion={bundle}")
    outcome = shadow(settings, QUIET, other)

    assert outcome.manifest["counts"]["verdict"] == "not worse"
    assert lines_of(work_dir / "shadow" / DISAGREEMENTS) == []
    assert shadow(settings, QUIET, other).skipped


def test_disagreements_go_to_the_people_who_judge(
    work_dir: Path, bundle: Path, load: Load, logged: Path
) -> None:
    """Every one, the surest first; without a label, so that nobody's word is made up."""
    freeze_told(work_dir, load(bundle))
    run_train(work_dir, "shadow", str(logged), "--bundle", str(bundle))
    path = work_dir / "shadow" / DISAGREEMENTS
    rows, found = lines_of(path), found_in(work_dir)
    new = [row for row in rows if row["origin"] == "shadow"]

    assert len(new) == found["logged"]["disagreements"] > 0
    assert all(row["label"] is None and row["text"] in LOGGED for row in new)
    assert all(row["champion"]["raw_label"] != row["candidate"]["raw_label"] for row in rows)
    surest = [min(row["champion"]["score"], row["candidate"]["score"]) for row in rows]
    assert surest == sorted(surest, reverse=True)
    assert len(list(read_rows(path))) == len(rows)

    done = run_train(work_dir, "golden", "import", str(path), "--unlabelled", "--who", "ann")
    assert f"{len(new)} candidates added" in done.stdout, done.stderr
    waiting = {c.row.id for c in to_review(open_log(work_dir), "ann") if not c.judgements}
    assert waiting == {row["id"] for row in new}


def test_what_nobody_judged_is_no_label(
    work_dir: Path, bundle: Path, load: Load, logged: Path
) -> None:
    """Imported as if it were labelled it is not judged, and a build takes none of it."""
    freeze_told(work_dir, load(bundle))
    run_train(work_dir, "shadow", str(logged), "--bundle", str(bundle))
    path = work_dir / "shadow" / DISAGREEMENTS
    run_train(work_dir, "golden", "import", str(path), "--who", "ann")
    collected(work_dir, real_rows())
    done = run_train(work_dir, "build", "--set", f'build.extra=["{path}"]')

    assert any(not c.judgements for c in open_log(work_dir).candidates.values())
    assert done.returncode == 1
    assert "golden import --unlabelled" in done.stderr


def test_a_live_shadow_is_merged(work_dir: Path, bundle: Path, load: Load, tmp_path: Path) -> None:
    """From a file or from stdin; errors there outweigh what golden rows say."""
    freeze_told(work_dir, load(bundle))
    path = tmp_path / "live.json"
    path.write_text(seen_live(bundle))
    words = ("shadow", "--bundle", str(bundle), "--live")
    assert run_train(work_dir, *words, str(path)).returncode == 0
    live = found_in(work_dir)["live"]
    assert (live["requests"], live["agreement"], live["disagreements"]) == (90, 0.8, 18)
    assert "80.0%" in (work_dir / "shadow" / "report.md").read_text()

    done = run_train(work_dir, *words, "-", stdin=seen_live(bundle, errors=2))
    assert done.returncode == 1
    assert "failed on 2 of 90 live texts" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "expected what `intentd shadow status"),
        ('{"state": "off"}', "expected a bundle in the shadow, found none"),
        (None, "expected what was seen of the candidate"),
    ],
)
def test_a_live_shadow_of_something_else_is_refused(
    work_dir: Path, bundle: Path, load: Load, tmp_path: Path, content: str | None, said: str
) -> None:
    """One line, and no folder."""
    freeze_told(work_dir, load(bundle))
    path = tmp_path / "live.json"
    path.write_text(seen_live(STARTER) if content is None else content)
    done = run_train(work_dir, "shadow", "--bundle", str(bundle), "--live", str(path))

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (work_dir / "shadow").exists()


def test_one_bundle_is_not_compared_with_itself(work_dir: Path, bundle: Path, load: Load) -> None:
    """Which one serves is to be said."""
    freeze_told(work_dir, load(bundle))

    with pytest.raises(InvalidConfig, match="on both sides"):
        shadow(settings_for(work_dir, f"shadow.champion={bundle}"), QUIET, bundle)


def test_a_champion_of_other_labels_is_refused(
    work_dir: Path, tiny: Callable[[str], TinyModel], bundle: Path, load: Load
) -> None:
    """They have nothing to be compared by."""
    freeze_told(work_dir, load(bundle))
    spam = tiny("spam").int8

    with pytest.raises(DataRefused, match="--champion"):
        shadow(settings_for(work_dir, f"shadow.champion={spam}"), QUIET, bundle)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [("absent.db", None, 3), ("bad.parquet", b"PAR1 torn", 2), ("bad.jsonl", b"[]\n", 2)],
)
def test_bad_logs_are_one_line(
    work_dir: Path, bundle: Path, load: Load, tmp_path: Path, name: str, data: bytes, code: int
) -> None:
    """Which names the file; nothing is half-written."""
    freeze_told(work_dir, load(bundle))
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    done = run_train(work_dir, "shadow", str(path), "--bundle", str(bundle))

    assert (done.returncode, done.stdout) == (code, "")
    assert name in done.stderr
    assert not (work_dir / "shadow").exists()
    assert not (work_dir / ".shadow.partial").exists()


def test_a_full_disk_leaves_the_last_run(
    work_dir: Path, bundle: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, and what was there still is."""
    freeze_told(work_dir, load(bundle))
    assert run_train(work_dir, "shadow", "--bundle", str(bundle)).returncode == 0
    before = read_manifest(work_dir / "shadow")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "shadow.json")

    monkeypatch.setattr("training.shadow.write_shadow", full)
    done = run_train(work_dir, "shadow", "--bundle", str(bundle), "--force")
    assert (done.returncode, "No space left" in done.stderr) == (3, True)
    assert read_manifest(work_dir / "shadow") == before

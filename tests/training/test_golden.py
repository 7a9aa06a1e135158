"""The golden set: judged twice, frozen under its hash, and honest about what it can prove."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.samples import LABELS, collected, lines_of, real_rows, run_train, settings_for
from training.errors import DataRefused, InvalidRows, StageMissing
from training.golden import freeze, open_log, read_frozen, read_status, stratify, to_review
from training.golden_log import GoldenLog, Standing
from training.rows import Row, write_rows
from training.settings import GoldenSettings

SMALL = GoldenSettings(min_per_class=2)


def agreed_log(work_dir: Path, per_class: int = 3) -> GoldenLog:
    """Candidates of every label that two people judged alike, and one out of scope."""
    log = open_log(work_dir)
    rows = real_rows(per_class)
    outside = Row(id="oos", text="sing me a song", label=None, origin="public")  # type: ignore[arg-type]  # pydantic reads the text
    log.add_rows([*rows, outside])
    for row in [*rows, outside]:
        for who in ("ann", "ben"):
            log.judge(row.id, who, row.label)
    return log


def test_agreement_takes_two_and_a_dispute_a_third(work_dir: Path) -> None:
    """New, once, disputed, agreed: whatever a later reader sees."""
    log = open_log(work_dir)
    log.add_rows(real_rows(1))
    seen = []
    for who, label in (("", ""), ("ann", "REASON"), ("ben", "EXTRACT"), ("cy", "REASON")):
        if who:
            log.judge("REASON-0", who, label)
        seen.append(open_log(work_dir).candidates["REASON-0"].standing)

    assert seen == [Standing.NEW, Standing.ONCE, Standing.DISPUTED, Standing.AGREED]
    assert open_log(work_dir).candidates["REASON-0"].label == "REASON"


def test_nobody_judges_twice_but_in_a_second_pass(work_dir: Path) -> None:
    """What one person judged waits for another, or for their own second pass."""
    log = open_log(work_dir)
    log.add_rows(real_rows(1))
    log.judge("REASON-0", "ann", "REASON")

    assert "REASON-0" not in {c.row.id for c in to_review(log, "ann")}
    assert to_review(log, "ben")[0].row.id == "REASON-0"  # what was judged once comes first
    assert "REASON-0" in {c.row.id for c in to_review(log, "ann", second_pass=True)}


def test_a_torn_line_is_left_out_and_written_over(work_dir: Path) -> None:
    """The power went while a judgement was written."""
    log = open_log(work_dir)
    log.add_rows(real_rows(1))
    with log.path.open("ab") as stream:
        stream.write(b'{"event": "judgement", "id": "REA')
    again = open_log(work_dir)
    again.judge("REASON-0", "ann", "REASON")

    assert open_log(work_dir).candidates["REASON-0"].passes_of("ann") == 1


def test_two_who_judge_at_the_same_time_lose_nothing(work_dir: Path) -> None:
    """Both opened the log before either had said a word; candidates added meanwhile are kept."""
    rows = real_rows(1)
    open_log(work_dir).add_rows(rows[:3])
    ann, ben = open_log(work_dir), open_log(work_dir)
    for row in rows[:3]:
        ann.judge(row.id, "ann", row.label)
    assert ann.add_rows(rows) == 1
    assert ben.add_rows(rows) == 0
    for row in rows:
        ben.judge(row.id, "ben", row.label)

    found = open_log(work_dir).candidates
    assert [found[row.id].passes_of("ben") for row in rows] == [1, 1, 1, 1]
    assert [found[row.id].standing for row in rows[:3]] == [Standing.AGREED] * 3


def test_a_log_of_something_else_is_named(work_dir: Path) -> None:
    """With the line."""
    (work_dir / "golden").mkdir()
    (work_dir / "golden" / "log.jsonl").write_text('{"event": "rain"}\n')

    with pytest.raises(InvalidRows, match=r"log\.jsonl:1"):
        open_log(work_dir)


def test_freezing_makes_versions_that_do_not_change(work_dir: Path) -> None:
    """The same rows are the same version; more rows are the next one, beside the first."""
    log = agreed_log(work_dir)
    first, is_new = freeze(work_dir, SMALL)
    assert (first.name, is_new) == ("golden-1.jsonl", True)
    assert freeze(work_dir, SMALL) == (first, False)
    assert read_frozen(work_dir) == first
    before = first.read_bytes()

    log.add_rows(real_rows(4))
    for who in ("ann", "ben"):
        log.judge("REASON-3", who, "REASON")
    second, is_new = freeze(work_dir, SMALL)
    assert (second.name, is_new, first.read_bytes()) == ("golden-2.jsonl", True, before)
    assert len(lines_of(second)) == len(lines_of(first)) + 1


def test_only_what_is_agreed_is_frozen_and_keeps_its_lineage(work_dir: Path) -> None:
    """A disputed row waits; what is out of scope has its place; what was erased has none."""
    log = agreed_log(work_dir)
    log.judge("REASON-0", "cy", "EXTRACT")
    log.judge("REASON-0", "dan", "EXTRACT")
    collected(work_dir, [], erased=["EXTRACT-1"])
    rows = {r["id"]: r for r in lines_of(freeze(work_dir, SMALL)[0])}

    assert not {"REASON-0", "EXTRACT-1"} & rows.keys()
    assert rows["oos"]["label"] is None
    assert all(r["origin"] == "golden" and r["root"] == id for id, r in rows.items())


def test_a_frozen_set_that_was_touched_is_refused(work_dir: Path) -> None:
    """Its hash is in the manifest."""
    agreed_log(work_dir)
    path, _ = freeze(work_dir, SMALL)
    path.chmod(0o600)
    path.write_text(path.read_text().replace("REASON", "EXTRACT"))

    with pytest.raises(StageMissing, match="found another"):
        read_frozen(work_dir)


@pytest.mark.parametrize(("per_class", "least", "said"), [(0, 1, "2 labels"), (3, 4, "REASON 3")])
def test_too_small_a_set_is_refused(work_dir: Path, per_class: int, least: int, said: str) -> None:
    """With the numbers, and no file is left."""
    agreed_log(work_dir, per_class)

    with pytest.raises(DataRefused, match=said):
        freeze(work_dir, GoldenSettings(min_per_class=least))
    assert not list(work_dir.glob("golden/golden-*"))


def test_status_says_what_the_size_can_prove(work_dir: Path) -> None:
    """Twelve rows prove nothing about 90 %; forty-eight do, where nearly all are right."""
    agreed_log(work_dir, 3)
    assert read_status(work_dir, SMALL).needed_right is None
    agreed_log(work_dir, 12)
    found = read_status(work_dir, SMALL)

    assert (found.in_scope, found.needed_right, found.rows_for_perfect) == (48, 48, 35)
    assert found.per_label == dict.fromkeys(sorted(LABELS), 12) | {None: 1}


def test_strata_are_of_one_size(work_dir: Path) -> None:
    """At most so many of each label, whatever the file's order."""
    rows = real_rows(6)

    assert len(stratify(rows, 2, 0)) == 8
    assert {r.id for r in stratify(rows, 2, 0)} == {r.id for r in stratify(rows[::-1], 2, 0)}


def test_the_commands_make_a_golden_set(work_dir: Path) -> None:
    """Import, add, review by another person, status, freeze."""
    source = work_dir / "mine.jsonl"
    write_rows(source, real_rows(3))
    small = ("--set", "golden.min_per_class=3")
    done = run_train(work_dir, "golden", "import", str(source), "--who", "ann")
    assert "12 candidates added" in done.stdout, done.stderr
    run_train(work_dir, "golden", "add", "sing me a song", "--out-of-scope", "--who", "ann")
    assert run_train(work_dir, "golden", "freeze", *small).returncode == 1

    waiting = to_review(open_log(work_dir), "ben")
    answers = [str(LABELS.index(c.label) + 1) if c.label else "0" for c in waiting]
    stopped = run_train(
        work_dir, "golden", "review", "--who", "ben", stdin="x\n" + answers[0] + "\nq\n"
    )
    assert "1 judged, 12 left" in stopped.stderr
    done = run_train(work_dir, "golden", "review", "--who", "ben", stdin="\n".join(answers[1:]))
    assert "12 judged, 0 left" in done.stderr

    status = json.loads(run_train(work_dir, "golden", "status", "--json").stdout)
    assert status["standings"] == {"agreed": 13}
    assert "12 agreed rows cannot prove 90%" in run_train(work_dir, "golden", "status").stdout
    done = run_train(work_dir, "golden", "freeze", *small)
    assert (done.returncode, len(lines_of(work_dir / "golden/golden-1.jsonl"))) == (0, 13)


@pytest.mark.parametrize("action", [("add", "x y z", "--label", "DANCE"), ("import", "{file}")])
def test_a_label_outside_the_set_is_refused(work_dir: Path, action: tuple[str, ...]) -> None:
    """Before anything is noted."""
    source = work_dir / "mine.jsonl"
    write_rows(source, [r.model_copy(update={"label": "DANCE"}) for r in real_rows(1)])
    done = run_train(work_dir, "golden", *(word.format(file=source) for word in action))

    assert done.returncode == 2
    assert "DANCE" in done.stderr
    assert not (work_dir / "golden").exists()


def test_settings_reach_the_golden_commands(work_dir: Path) -> None:
    """The gate is a setting."""
    assert settings_for(work_dir, "golden.gate=0.8").golden.gate == 0.8

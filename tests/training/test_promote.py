"""`intentd-train promote`: only what was earned, only by a person, and always on the record."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import ROOT
from tests.edge.models.bundles import files_of
from tests.terminals import on_terminal
from tests.training.promotions import (
    WHY,
    assessed,
    exported,
    produce,
    promote,
    ready,
    shadowed,
    write_stage,
)
from tests.training.samples import QUIET, lines_of, run_train
from training import audit
from training.audit import AuditLog, Outcome, State
from training.errors import PromotionRefused, RegistryUnreachable
from training.promote import AUDIT, carry_out, propose_rollback
from training.settings import Settings, load_settings
from training.tracking import Registry

_numbers = count()


@pytest.fixture(params=["sqlite", "server"])
def place(request: pytest.FixtureRequest, work_dir: Path) -> tuple[Path, tuple[str, ...]]:
    """A working directory, and the options that name its registry, of either kind."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_dir"), ()
    uri = request.getfixturevalue("mlflow_server")
    return work_dir, named(uri)


def named(uri: str) -> tuple[str, ...]:
    """A server, and a model there that no other test knows."""
    model = f"test-{next(_numbers)}"
    return ("--set", f"promote.tracking_uri={uri}", "--set", f"promote.model={model}")


def settings_of(work_dir: Path, options: tuple[str, ...] = ()) -> Settings:
    """The settings that these options make."""
    given = [f'work_dir="{work_dir}"', *(word for word in options if word != "--set")]
    return load_settings(None, given)


def status(work_dir: Path, *words: str) -> dict[str, Any]:
    """What promote says without being asked for anything."""
    done = run_train(work_dir, "promote", "--json", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def digests(work_dir: Path, *words: str) -> dict[str, str]:
    """Alias → digest."""
    return {alias: one["digest"] for alias, one in status(work_dir, *words)["aliases"].items()}


def test_candidate_goes_to_staging_and_then_to_production(
    place: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    """What was there becomes previous; the registry holds the very bytes, and says who and why."""
    work_dir, options = place
    first = ready(work_dir, "1")
    bytes_of_first = files_of(first.path)
    produce(work_dir, first, *options)
    assert digests(work_dir, *options) == {"production": first.digest}
    second = ready(work_dir, "2")
    produce(work_dir, second, *options)

    found = status(work_dir, *options)
    assert digests(work_dir, *options) == {"production": second.digest, "previous": first.digest}
    tags = found["aliases"]["production"]["tags"]
    assert tags["intentd.gates"] == "passed"
    assert tags["gate.accuracy"] == "passed: expected 0.9, found 0.93"
    assert (tags["intentd.approved_by"], tags["intentd.approved_why"]) == ("ann", WHY[1])
    registry = Registry(settings_of(work_dir, options))
    kept = registry.download(registry.version(1), tmp_path)
    assert files_of(kept) == bytes_of_first


def test_every_decision_is_in_the_audit_and_in_mlflow(
    place: tuple[Path, tuple[str, ...]],
) -> None:
    """The same row in both, written before the aliases move, with who, when and why."""
    work_dir, options = place
    produce(work_dir, ready(work_dir), *options)
    rows = lines_of(work_dir / AUDIT)
    entries = [row for row in rows if "outcome" not in row]
    tags = status(work_dir, *options)["aliases"]["production"]["tags"]

    assert [row["action"] for row in entries] == ["staging", "production"]
    assert [row["outcome"] for row in rows if "outcome" in row] == ["done", "done"]
    assert {(row["who"], row["why"]) for row in entries} == {("ann", WHY[1])}
    kept = [json.loads(value) for name, value in tags.items() if name.startswith("intentd.audit.")]
    assert sorted(row["id"] for row in kept) == sorted(row["id"] for row in entries)
    assert all(row in entries for row in kept)
    assert set(entries[1]["evidence"]) == {"assess/assessment.json", "shadow/shadow.json"}


def test_rollback_restores_what_was_there(sqlite_dir: Path) -> None:
    """And the one that was taken back is previous then; it is on the record too."""
    first = ready(sqlite_dir, "1")
    produce(sqlite_dir, first)
    second = ready(sqlite_dir, "2")
    produce(sqlite_dir, second)
    done = run_train(sqlite_dir, "promote", "--rollback", *WHY)

    assert done.returncode == 0, done.stderr
    assert digests(sqlite_dir) == {"production": first.digest, "previous": second.digest}
    assert status(sqlite_dir)["history"][-1]["action"] == "rollback"


def test_rollback_without_a_previous_one_is_a_no(sqlite_dir: Path) -> None:
    """Neither in an empty registry nor with one model."""
    empty = run_train(sqlite_dir, "promote", "--rollback", *WHY)
    produce(sqlite_dir, ready(sqlite_dir))
    alone = run_train(sqlite_dir, "promote", "--rollback", *WHY)

    assert (empty.returncode, alone.returncode) == (1, 1)
    assert "found none" in empty.stderr
    assert len(lines_of(sqlite_dir / AUDIT)) == 4


def test_what_is_there_already_stays_and_writes_no_row(sqlite_dir: Path) -> None:
    """To repeat a call does no harm."""
    bundle = ready(sqlite_dir)
    promote(sqlite_dir)
    assert "unchanged" in promote(sqlite_dir).stdout
    promote(sqlite_dir, "--confirm", bundle.digest, to="production")
    rows = lines_of(sqlite_dir / AUDIT)

    assert "unchanged" in promote(sqlite_dir, to="production").stdout
    assert "unchanged" in promote(sqlite_dir).stdout
    assert lines_of(sqlite_dir / AUDIT) == rows


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        ("gate", "accuracy"),
        ("shadow", "intentd-train shadow"),
        ("shadow of another", "intentd-train shadow"),
        ("verdict", "worse"),
        ("staging", "--to staging"),
    ],
)
def test_production_is_refused_without_all_that_it_takes(
    sqlite_dir: Path, lack: str, said: str
) -> None:
    """Exit code 1, what is missing, and nothing moved."""
    bundle = exported(sqlite_dir)
    assessed(sqlite_dir, bundle.digest, accuracy=0.5 if lack == "gate" else 0.95)
    if lack != "shadow":
        digest = "d" * 64 if lack == "shadow of another" else bundle.digest
        shadowed(sqlite_dir, digest, "worse" if lack == "verdict" else "not worse")
    if lack != "staging":
        assert promote(sqlite_dir).returncode == 0
    before = digests(sqlite_dir)
    done = promote(sqlite_dir, "--confirm", bundle.digest, to="production")

    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert digests(sqlite_dir) == before


@pytest.mark.parametrize("change", ["assessment of another", "edited", "none", "old", "bundle"])
def test_evidence_must_be_of_this_bundle_and_untouched(sqlite_dir: Path, change: str) -> None:
    """Exit code 2, one line; nothing is registered."""
    bundle = ready(sqlite_dir)
    path = sqlite_dir / "assess" / "assessment.json"
    if change == "assessment of another":
        assessed(sqlite_dir, "d" * 64)
    elif change == "edited":
        path.write_text(path.read_text().replace("0.93", "0.99"))
    elif change == "none":
        path.unlink()
    elif change == "old":
        write_stage(sqlite_dir, "assess", {"assessment.json": {"bundle": bundle.digest}})
    else:
        (bundle.path / "model.onnx").write_bytes(b"another")
    done = promote(sqlite_dir)

    assert done.returncode in (2, 3), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert status(sqlite_dir)["aliases"] == {}


def test_production_wants_the_digest_typed(sqlite_dir: Path) -> None:
    """Without a terminal, and with another digest, nothing moves."""
    bundle = ready(sqlite_dir)
    promote(sqlite_dir)
    silent = promote(sqlite_dir, to="production")
    short = promote(sqlite_dir, "--confirm", bundle.digest[:7], to="production")
    other = promote(sqlite_dir, "--confirm", "0" * 64, to="production")

    assert (silent.returncode, short.returncode, other.returncode) == (2, 1, 1)
    assert "--confirm" in silent.stderr
    assert digests(sqlite_dir) == {"staging": bundle.digest}


def test_a_person_types_it_on_a_terminal(sqlite_dir: Path) -> None:
    """They see what speaks for it first."""
    bundle = ready(sqlite_dir)
    promote(sqlite_dir)
    command = [sys.executable, "-m", "training.cli", "promote", "--to", "production", *WHY]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with on_terminal([*command, "--work-dir", str(sqlite_dir)], env=env) as person:
        shown = person.see("Type the first 8 digits")
        person.type(bundle.digest[:8] + "\n")
        code = person.wait()

    assert "1 of 1 passed" in shown
    assert code == 0, person.shown
    assert set(digests(sqlite_dir)) == {"production"}


def test_a_reason_is_demanded_and_the_login_is_the_default(sqlite_dir: Path) -> None:
    """Usage without --why; blanks are none."""
    ready(sqlite_dir)
    none = run_train(sqlite_dir, "promote", "--to", "staging")
    blank = run_train(sqlite_dir, "promote", "--to", "staging", "--why", "  \t ")
    both = run_train(sqlite_dir, "promote", "--to", "staging", "--rollback", *WHY)
    assert (none.returncode, blank.returncode, both.returncode) == (2, 2, 2)
    assert not (sqlite_dir / AUDIT).exists()

    done = run_train(sqlite_dir, "promote", "--to", "staging", "--why", "try\x1b[2J it")
    (entry, _) = lines_of(sqlite_dir / AUDIT)
    assert done.returncode == 0, done.stderr
    assert entry["who"]
    assert entry["why"] == "try [2J it"


def test_a_dry_run_moves_nothing(sqlite_dir: Path) -> None:
    """It says what speaks for the candidate."""
    ready(sqlite_dir)
    done = run_train(sqlite_dir, "promote", "--to", "staging", "--dry-run")

    assert (done.returncode, "1 of 1 passed" in done.stderr) == (0, True), done.stderr
    assert status(sqlite_dir)["aliases"] == {}


class Died(BaseException):
    """The process is gone: nothing of ours handles it."""


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_what_a_crash_cuts_short_is_settled_by_the_next_call(
    sqlite_dir: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was moved: it is dropped, and said. Something was, or all of it: it is finished."""
    first = ready(sqlite_dir, "1")
    produce(sqlite_dir, first)
    second = ready(sqlite_dir, "2")
    promote(sqlite_dir)
    with monkeypatch.context() as patched:
        dying_after(patched, moves)
        with pytest.raises(Died):
            promote(sqlite_dir, "--confirm", second.digest, to="production")
    done = run_train(sqlite_dir, "promote", "--json")
    history = json.loads(done.stdout)["history"]

    assert "was cut short" in done.stderr
    if moves:
        assert digests(sqlite_dir) == {"production": second.digest, "previous": first.digest}
        assert history[-1]["outcome"] == "done"
    else:
        assert digests(sqlite_dir) == {"production": first.digest, "staging": second.digest}
        assert history[-1]["outcome"] == "dropped"
    assert "cut short" not in run_train(sqlite_dir, "promote").stderr


def test_mlflow_that_goes_away_meanwhile_is_one_line(
    sqlite_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two moves; when it is there again, the next call finishes what was begun."""
    for version in ("1", "2"):
        bundle = ready(sqlite_dir, version)
        promote(sqlite_dir)
        if version == "1":
            promote(sqlite_dir, "--confirm", bundle.digest, to="production")
    with monkeypatch.context() as patched:
        dying_after(patched, 1, RegistryUnreachable("gone"))
        done = promote(sqlite_dir, "--confirm", bundle.digest, to="production")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (3, "intentd-train: gone")
    assert digests(sqlite_dir)["production"] == bundle.digest


def dying_after(
    patched: pytest.MonkeyPatch, moves: int, death: BaseException | type[BaseException] = Died
) -> None:
    """Die instead of the move after so many; after all three, before they are written down."""
    real, left = Registry.move, [moves]

    def move(self: Registry, alias: str, number: int | None) -> None:
        if not left[0]:
            raise death
        left[0] -= 1
        real(self, alias, number)

    def tag(self: Registry, number: int, tags: dict[str, str]) -> None:
        if moves and not left[0]:
            raise death
        real_tag(self, number, tags)

    real_tag = Registry.tag
    patched.setattr(Registry, "move", move)
    patched.setattr(Registry, "tag", tag)


def test_what_others_moved_since_is_left_as_it_is(sqlite_dir: Path) -> None:
    """The row that never ended is closed as overtaken."""
    first = ready(sqlite_dir, "1")
    produce(sqlite_dir, first)
    second = ready(sqlite_dir, "2")
    produce(sqlite_dir, second)
    path = sqlite_dir / AUDIT
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))  # never ended
    Registry(settings_of(sqlite_dir)).move("previous", 2)
    Registry(settings_of(sqlite_dir)).move("production", 1)
    Registry(settings_of(sqlite_dir)).move("staging", 1)

    assert "others have moved" in run_train(sqlite_dir, "promote").stderr
    assert status(sqlite_dir)["history"][-1]["outcome"] == "overtaken"


def test_two_at_once_lose_no_row(sqlite_dir: Path) -> None:
    """Rollbacks from several processes: each that says it is done has its row, and none is torn."""
    for version in ("1", "2"):
        produce(sqlite_dir, ready(sqlite_dir, version))
    before = len(status(sqlite_dir)["history"])
    command = [sys.executable, "-m", "training.cli", "promote", "--rollback", *WHY]
    processes = [
        subprocess.Popen(
            [*command, "--work-dir", str(sqlite_dir)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=100)[1] for process in processes]
    codes = [process.returncode for process in processes]
    history = status(sqlite_dir)["history"]

    assert set(codes) <= {0, 1}, errors  # 1: the aliases were moved since they were shown
    assert 0 in codes
    assert len(history) == before + codes.count(0)
    assert {row["outcome"] for row in history} == {"done"}
    assert len({row["id"] for row in history}) == len(history)


def test_what_was_shown_is_what_is_done(sqlite_dir: Path) -> None:
    """Moved by somebody else between the look and the word: refused."""
    for version in ("1", "2"):
        produce(sqlite_dir, ready(sqlite_dir, version))
    settings = settings_of(sqlite_dir)
    proposal = propose_rollback(settings, QUIET)
    assert run_train(sqlite_dir, "promote", "--rollback", *WHY).returncode == 0
    before = status(sqlite_dir)

    with pytest.raises(PromotionRefused, match="moved meanwhile"):
        carry_out(settings, proposal, "ann", "why", QUIET)
    assert status(sqlite_dir) == before


def test_a_disk_that_is_full_moves_nothing(
    sqlite_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row comes before the move; half a row is none, and the same call goes through later."""
    bundle = ready(sqlite_dir)
    with monkeypatch.context() as patched:
        patched.setattr(audit, "_write_all", half_written)
        done = promote(sqlite_dir)
    assert (done.returncode, "No space left" in done.stderr) == (3, True), done.stderr
    assert digests(sqlite_dir) == {}

    assert promote(sqlite_dir).returncode == 0
    assert digests(sqlite_dir) == {"staging": bundle.digest}
    assert len(status(sqlite_dir)["history"]) == 1


def half_written(descriptor: int, data: bytes) -> None:
    """As a full disk does it."""
    os.write(descriptor, data[: len(data) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        (
            "http://ann:secret@127.0.0.1:9",
            3,
            "http://127.0.0.1:9: expected MLflow to do as asked, "
            "found: Connection refused; check promote.tracking_uri",
        ),
        ("mlruns", 2, "MLflow keeps no registry in a directory"),
        ("file:///tmp/mlruns", 2, "MLflow keeps no registry in a directory"),
        ("sqlite:////proc/none/mlflow.db", 3, "sqlite:////proc/none/mlflow.db"),
        ("postgresql://ann:secret@127.0.0.1:9/x", 3, "postgresql://127.0.0.1:9/x"),
    ],
)
def test_a_registry_that_does_not_answer_is_one_line(
    work_dir: Path, uri: str, code: int, said: str
) -> None:
    """No row, nothing half done, no password; when it answers, the same call goes through."""
    ready(work_dir)
    done = promote(work_dir, "--set", f"promote.tracking_uri={uri}")

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (work_dir / AUDIT).exists()


def test_a_damaged_audit_is_not_written_over(sqlite_dir: Path) -> None:
    """A torn end is no row; a line that somebody changed is an error."""
    ready(sqlite_dir)
    promote(sqlite_dir)
    path = sqlite_dir / AUDIT
    with path.open("a") as stream:
        stream.write('{"id":"0000')
    assert len(status(sqlite_dir)["history"]) == 1
    ready(sqlite_dir, "2")
    assert promote(sqlite_dir).returncode == 0
    assert [row["outcome"] for row in status(sqlite_dir)["history"]] == ["done", "done"]

    path.write_text(path.read_text().replace('"why"', '"wy"', 1))
    done = promote(sqlite_dir)
    assert (done.returncode, f"{path}:1" in done.stderr) == (2, True)


def test_a_run_tells_how_the_bundle_was_fitted(place: tuple[Path, tuple[str, ...]]) -> None:
    """Its settings and the history of its metrics; the version belongs to that run."""
    work_dir, options = place

    from training.stage import Stage

    def work(folder: Path) -> dict[str, Any]:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        history = [{"epoch": n, "loss": 1 / n, "eval_accuracy": 0.5, "note": "x"} for n in (1, 2)]
        (folder / "history.jsonl").write_text("".join(json.dumps(h) + "\n" for h in history))
        return {}

    Stage("fit", work_dir / "fit", {}, {"epochs": 2, "lr": 3e-5}, ("rows.py",)).run(work)
    ready(work_dir)
    assert promote(work_dir, *options).returncode == 0
    registry = Registry(settings_of(work_dir, options))
    version = registry.version(1)

    from mlflow import MlflowClient

    uri = settings_of(work_dir, options).promote.tracking_uri
    client = MlflowClient(uri or f"sqlite:///{work_dir}/mlflow/mlflow.db")
    run = client.get_run(version.run_id)
    assert run.data.params == {"epochs": "2", "lr": "3e-05"}
    assert [m.value for m in client.get_metric_history(version.run_id, "loss")] == [1.0, 0.5]
    assert registry.log_fit(work_dir / "fit") == version.run_id


def test_nothing_but_the_answer_is_printed(sqlite_dir: Path) -> None:
    """MLflow and its migrations are talkative: as a process of its own, without a database yet."""
    ready(sqlite_dir)
    (sqlite_dir / "mlflow" / "mlflow.db").unlink()
    command = [sys.executable, "-W", "default", "-m", "training.cli", "promote", "--to", "staging"]
    done = subprocess.run(
        [*command, *WHY, "--work-dir", str(sqlite_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0
    assert done.stdout == "staging: version 1\n"
    assert [line.split("  ")[0] for line in done.stderr.splitlines()][:2] == ["to", "digest"]
    assert "mlflow" not in done.stderr.lower()
    assert "warning" not in done.stderr.lower()


def test_one_at_a_time_holds_the_audit(tmp_path: Path) -> None:
    """The second says that it waits, and goes on when the first has ended."""
    order: list[str] = []
    first = AuditLog(tmp_path / AUDIT)
    waits = threading.Event()

    def second() -> None:
        with AuditLog(tmp_path / AUDIT).hold(waits.set):
            order.append("second")

    with first.hold():
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_threads_do_not_tear_rows(tmp_path: Path) -> None:
    """The file itself, without MLflow: each row is whole."""
    log = AuditLog(tmp_path / AUDIT)

    def write(number: int) -> None:
        for n in range(20):
            log.append(Outcome(id=f"{number}-{n}", utc="", outcome=State.DONE, note="x" * 3000))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row["id"] for row in lines_of(tmp_path / AUDIT)}) == 80

"""From a correction on a box to a model that answers right by itself on another one: all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.cli import main as intentd
from edge.client import Client
from export.sign import make_keys
from tests.commands import Done, run_command
from tests.daemons import Daemon, clean_environment, running_daemon
from tests.edge.sync.world import World, running_world
from tests.training.asking import (
    ASKED,
    CORRECTED,
    corrections,
    golden_rows,
    public_rows,
    write_encoder,
)
from tests.training.samples import frozen, run_train
from tests.training.served import served
from training.rows import write_rows

STAGES = ("collect", "build", "augment", "fit", "export", "assess", "shadow")


@pytest.mark.timeout(600)  # 50 s of work; the rest is a busy machine
def test_a_correction_on_a_box_becomes_the_model_of_another(work_dir: Path, tmp_path: Path) -> None:
    """Box, collector, every stage, registry, publication, pull, activation; nothing is made up."""
    key, share = tmp_path / "release.key", tmp_path / "share"
    public = make_keys(key)
    with running_world() as world:
        correct_there(world)
        words = prepare(work_dir, f"sqlite:///{world.home}/collector.db")
        ends_at_the_first_no(work_dir, words)
        goes_on_where_it_ended(work_dir, words)
    digest = decide(work_dir)
    published = run_train(work_dir, "publish", str(share), "--key", str(key))
    assert published.returncode == 0, published.stderr

    trusted = {"INTENTD_TRUSTED_KEYS": str(public)}
    # Of the self-test's texts, which stand in for live ones, a model this small knows nothing.
    lenient = ("--probation-s", "0", "--probation-agreement", "0")
    with served(share) as url, running_daemon(*lenient, env=trusted) as box:
        for command in (("pull", url, "intents"), ("activate", digest[:12], "--yes")):
            done = on_box(box, trusted, "model", *command)
            assert done.returncode == 0, done.stderr + box.log
        with Client(box.socket) as client:
            answer = client.classify(ASKED)
    assert (answer.label, answer.model.digest) == (CORRECTED, digest)


def correct_there(world: World) -> None:
    """A person corrects what the starter gets wrong, and the box sends it upstream."""
    with Client(world.daemon.socket) as client:
        assert client.classify(ASKED).raw_label != CORRECTED
        for text in corrections():
            client.correct(CORRECTED, text=text)
    sent = world.sync()
    assert sent.returncode == 0, sent.stderr


def prepare(work_dir: Path, collector: str) -> list[str]:
    """Public rows and a golden set beside the corrections; the words that `run` is called with."""
    write_rows(work_dir / "public.jsonl", public_rows())
    frozen(work_dir, golden_rows())
    settings = {
        "build.extra": [str(work_dir / "public.jsonl")],
        "build.seeds": False,
        "augment.target": 125,
        "fit.encoder": str(write_encoder(work_dir / "encoder")),
        "fit.head": "frozen",
    }
    words = [collector]
    for name, value in settings.items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    return words


def ends_at_the_first_no(work_dir: Path, words: list[str]) -> None:
    """A gate that nothing can pass: exit code 1, no shadow, and no way into production."""
    strict = [*words, "--set", "assess.ece=0"]
    refused = run_train(work_dir, "run", *strict, "--json")
    assert (refused.returncode, refused.stdout != "") == (1, True), refused.stderr
    assert list(json.loads(refused.stdout)) == list(STAGES[:-1])
    early = run_train(work_dir, "promote", "--to", "production", "--why", "x", "--dry-run")
    assert (early.returncode, "ece" in early.stderr) == (1, True), early.stderr


def goes_on_where_it_ended(work_dir: Path, words: list[str]) -> None:
    """Nothing is done twice; and nothing was promoted."""
    planned = run_train(work_dir, "run", *words, "--dry-run", "--json")
    assert list(json.loads(planned.stdout).items())[-2:] == [
        ("assess", "to be run"),
        ("shadow", "to be run"),
    ]
    for done in (STAGES[:-2], STAGES):
        ran = run_train(work_dir, "run", *words, "--json")
        assert ran.returncode == 0, ran.stderr
        steps = json.loads(ran.stdout)
        assert tuple(name for name, step in steps.items() if step["skipped"]) == done
    told = run_train(work_dir, "run", *words).stdout
    assert f"report: {work_dir / 'shadow' / 'report.html'}" in told
    assert "None" not in told
    assert json.loads(run_train(work_dir, "promote", "--json").stdout)["aliases"] == {}


def decide(work_dir: Path) -> str:
    """A person lets it in; returns its digest."""
    manifest = json.loads((work_dir / "export" / "manifest.json").read_text())
    digest = str(manifest["counts"]["digest"])
    for to in ("staging", "production"):
        words = ("--to", to, "--why", "end to end", "--confirm", digest)
        done = run_train(work_dir, "promote", *words)
        assert done.returncode == 0, done.stderr
    return digest


def on_box(box: Daemon, env: dict[str, str], *words: str) -> Done:
    """Run `intentd` there."""
    sockets = {"INTENTD_SOCKET": str(box.socket), "INTENTD_ADMIN_SOCKET": str(box.admin_socket)}
    home = {"HOME": str(box.socket.parent)}
    return run_command(
        intentd, "intentd", *words, env=clean_environment(box.socket.parent) | sockets | env | home
    )


def test_a_run_needs_something_to_judge_by(work_dir: Path) -> None:
    """Said before anything is collected."""
    write_rows(work_dir / "public.jsonl", public_rows())
    done = run_train(work_dir, "run", "--set", f'build.extra=["{work_dir}/public.jsonl"]')

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "intentd-train golden" in done.stderr
    assert not (work_dir / "build").exists()


def test_the_first_no_ends_a_run(work_dir: Path) -> None:
    """A golden row among those to be trained on: exit code 1, and nothing after it is begun."""
    frozen(work_dir, golden_rows())
    write_rows(work_dir / "public.jsonl", [*public_rows(), *golden_rows()[:1]])
    done = run_train(work_dir, "run", "--set", f'build.extra=["{work_dir}/public.jsonl"]')

    assert done.returncode == 1
    assert "gives the golden set away" in done.stderr
    assert not (work_dir / "augment").exists()


def test_a_plan_says_what_would_be_done(work_dir: Path) -> None:
    """Without a source, collect has no part; nothing is written."""
    write_rows(work_dir / "public.jsonl", public_rows())
    files = ("--set", f'build.extra=["{work_dir}/public.jsonl"]')
    from_files = run_train(work_dir, "run", *files, "--dry-run")
    from_source = run_train(work_dir, "run", "corrections.db", "--dry-run", "--json")
    nothing = run_train(work_dir, "run", "--dry-run")

    lines = from_files.stdout.splitlines()
    assert lines == [f"{name}: to be run" for name in STAGES[1:]]
    assert list(json.loads(from_source.stdout)) == list(STAGES)
    assert json.loads(from_source.stdout)["collect"].startswith("to be asked")
    assert (nothing.returncode, "collect.sources" in nothing.stderr) == (2, True)
    assert {path.name for path in work_dir.iterdir()} == {"public.jsonl"}

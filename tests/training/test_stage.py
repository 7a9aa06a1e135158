"""A stage is whole or absent, and is run again exactly when something it depends on changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.errors import StageBusy, StageMissing
from training.stage import Stage, read_manifest, require


def new_stage(work_dir: Path, **changes: Any) -> Stage:
    """A stage with one input."""
    source = work_dir / "in.txt"
    if not source.exists():
        source.write_text("one")
    known: dict[str, Any] = {"inputs": {"in": source}, "config": {"a": 1}, "code": ("rows.py",)}
    return Stage("demo", work_dir / "demo", **known | changes)


def writes(text: str = "made") -> Callable[[Path], dict[str, Any]]:
    """Work that writes one file."""

    def work(folder: Path) -> dict[str, Any]:
        (folder / "out.txt").write_text(text)
        return {"n": 1}

    return work


def test_an_unchanged_stage_is_skipped(work_dir: Path) -> None:
    """The second run does nothing, and says what the first one counted."""
    first = new_stage(work_dir).run(writes())
    second = new_stage(work_dir).run(writes("never"))

    assert (first.skipped, second.skipped) == (False, True)
    assert second.manifest == first.manifest
    assert (work_dir / "demo" / "out.txt").read_text() == "made"


@pytest.mark.parametrize("what", ["input", "config", "code", "output", "force"])
def test_a_change_runs_it_again(work_dir: Path, what: str) -> None:
    """An input, a setting, the code, or an output changed by hand."""
    new_stage(work_dir).run(writes())
    if what == "input":
        (work_dir / "in.txt").write_text("two")
    if what == "output":
        (work_dir / "demo" / "out.txt").write_text("touched")
    changes: dict[str, Any] = {"config": {"a": 2}} if what == "config" else {}
    changes |= {"code": ("fold.py",)} if what == "code" else {}
    again = new_stage(work_dir, **changes).run(writes("again"), force=what == "force")

    assert not again.skipped
    assert (work_dir / "demo" / "out.txt").read_text() == "again"


def test_a_failing_stage_leaves_the_old_one(work_dir: Path) -> None:
    """Half a stage is no stage."""
    new_stage(work_dir).run(writes())

    def fails(folder: Path) -> dict[str, Any]:
        (folder / "out.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_stage(work_dir).run(fails, force=True)
    assert (work_dir / "demo" / "out.txt").read_text() == "made"
    assert sorted(p.name for p in work_dir.iterdir()) == ["demo", "in.txt"]


def test_two_do_not_run_a_stage_at_once(work_dir: Path) -> None:
    """The second one is told, and takes nothing from the first, which goes on."""

    def work(folder: Path) -> dict[str, Any]:
        (folder / "begun").touch()
        with pytest.raises(StageBusy, match="another intentd-train at work"):
            new_stage(work_dir).run(writes())
        assert (folder / "begun").exists()
        return {"n": 1}

    assert not new_stage(work_dir).run(work).skipped
    assert new_stage(work_dir).run(writes("never")).skipped


def test_a_swap_cut_in_two_is_put_right(work_dir: Path) -> None:
    """The power went after the old folder had moved and before the new one had."""
    new_stage(work_dir).run(writes())
    (work_dir / "demo").rename(work_dir / ".demo.old")

    assert new_stage(work_dir).run(writes("never")).skipped
    assert (work_dir / "demo" / "out.txt").read_text() == "made"


def test_a_resumable_stage_finds_its_files_again(work_dir: Path) -> None:
    """What an interrupted run left is there for the next."""

    def fails(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_stage(work_dir, resumable=True).run(fails)
    found = new_stage(work_dir, resumable=True).run(
        lambda folder: {"seen": [path.name for path in folder.iterdir()]}
    )
    assert found.manifest["counts"] == {"seen": ["checkpoint"]}


def test_a_changed_output_is_not_taken(work_dir: Path) -> None:
    """The next stage refuses what was edited by hand, and what is not there."""
    with pytest.raises(StageMissing, match="run it first"):
        read_manifest(work_dir / "demo")
    new_stage(work_dir).run(writes())

    assert require(work_dir / "demo", "out.txt").name == "out.txt"
    (work_dir / "demo" / "out.txt").write_text("touched")
    with pytest.raises(StageMissing, match="found another"):
        require(work_dir / "demo", "out.txt")


def test_a_missing_input_is_named(work_dir: Path) -> None:
    """Nothing is made of nothing."""
    with pytest.raises(StageMissing, match="absent"):
        new_stage(work_dir, inputs={"in": work_dir / "absent"}).run(writes())
    assert not (work_dir / "demo").exists()

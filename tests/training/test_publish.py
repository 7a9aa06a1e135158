"""`intentd-train publish`: what was promoted lies where `intentd model pull` finds it, whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import MANIFEST, SIGNATURE, Bundle
from edge.commands.install import choose
from edge.models.pull import INDEX, pull_bundle, read_index
from export.sign import make_keys
from tests.commands import Done, run_command
from tests.edge.models.bundles import files_of
from tests.fake_s3 import FakeS3, running_s3
from tests.training.promotions import WHY, produce, promote, ready
from tests.training.samples import run_train
from tests.training.served import served
from training.cli import main


def publish(work_dir: Path, to: Path | str, *words: str) -> Done:
    """Run it, and see it succeed."""
    done = run_train(work_dir, "publish", str(to), *words)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def promoted(sqlite_dir: Path) -> Bundle:
    """A bundle in production."""
    bundle = ready(sqlite_dir)
    produce(sqlite_dir, bundle)
    return bundle


def test_published_bundle_is_pulled_from_a_directory_and_over_http(
    sqlite_dir: Path, promoted: Bundle, tmp_path: Path
) -> None:
    """The very bytes that were exported; the index tells name, alias, sizes and digest."""
    out = tmp_path / "out"
    publish(sqlite_dir, out)
    with served(out) as url:
        for n, location in enumerate((out.as_uri(), url)):
            (found,) = read_index(location)
            pulled = pull_bundle(location, found.digest, tmp_path / f"cache-{n}")
            assert files_of(pulled) == files_of(promoted.path)
            assert (found.name, found.alias, found.signature) == ("tiny", "production", False)
            assert found.files == promoted.manifest.files


def test_publishing_again_changes_nothing(
    sqlite_dir: Path, promoted: Bundle, tmp_path: Path
) -> None:
    """Not a byte, nor a time of a file."""
    out = tmp_path / "out"
    publish(sqlite_dir, out)
    index = json.loads((out / INDEX).read_text())
    index["bundles"][0]["published_utc"] = "2026-11-01T00:00:00Z"  # some time ago
    (out / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    done = publish(sqlite_dir, out)

    assert "unchanged" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_what_is_missing_or_damaged_is_laid_again(
    sqlite_dir: Path, promoted: Bundle, tmp_path: Path
) -> None:
    """As after a run that was cut short, or a disk that rots."""
    out = tmp_path / "out"
    publish(sqlite_dir, out)
    folder = out / "bundles" / promoted.digest
    (folder / "model.onnx").write_bytes(b"rot")
    (folder / MANIFEST).unlink()
    done = publish(sqlite_dir, out, "--json")

    names = {name.rpartition("/")[2] for name in json.loads(done.stdout)["written"]}
    assert names == {"model.onnx", MANIFEST}
    pull_bundle(out.as_uri(), promoted.digest, tmp_path / "cache")


def test_index_comes_last_and_never_names_half_a_bundle(
    sqlite_dir: Path, promoted: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is cut short; the next call completes it."""
    from training.place import Place

    real, left = Place.write, [0]

    def write(self: Place, name: str, source: bytes | Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, name, source)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Place, "write", write)
        for n in range(5):
            left[0] = n and 1  # one file more each time
            assert run_train(sqlite_dir, "publish", str(out)).returncode
            assert not (out / INDEX).exists()
    publish(sqlite_dir, out)
    pull_bundle(out.as_uri(), promoted.digest, tmp_path / "cache")


def test_signed_bundle_is_taken_by_who_trusts_the_key(
    sqlite_dir: Path, promoted: Bundle, tmp_path: Path
) -> None:
    """Published without a key later, the signature stays."""
    key, out = tmp_path / "release.key", tmp_path / "out"
    public = make_keys(key)
    publish(sqlite_dir, out)
    publish(sqlite_dir, out, "--key", str(key))
    assert "unchanged" in publish(sqlite_dir, out, "--key", str(key)).stdout
    assert "unchanged" in publish(sqlite_dir, out).stdout
    pulled = pull_bundle(out.as_uri(), promoted.digest, tmp_path / "cache", trusted_keys=public)

    assert (pulled / SIGNATURE).exists()


def test_name_means_what_is_in_production(sqlite_dir: Path, tmp_path: Path) -> None:
    """Also after a rollback, whatever the versions say; staging is had by NAME@staging."""
    out = tmp_path / "out"
    first = ready(sqlite_dir, "2")
    produce(sqlite_dir, first)
    publish(sqlite_dir, out)
    second = ready(sqlite_dir, "1")
    promote(sqlite_dir)
    publish(sqlite_dir, out, "--alias", "staging")
    assert choose(read_index(out.as_uri()), "tiny").digest == first.digest
    assert choose(read_index(out.as_uri()), "tiny@staging").digest == second.digest

    produce(sqlite_dir, second)
    publish(sqlite_dir, out)
    assert choose(read_index(out.as_uri()), "tiny").digest == second.digest
    assert run_train(sqlite_dir, "promote", "--rollback", *WHY).returncode == 0
    publish(sqlite_dir, out)
    assert choose(read_index(out.as_uri()), "tiny").digest == first.digest
    assert [one.alias for one in read_index(out.as_uri())] == ["production", ""]


def test_what_others_published_stays(sqlite_dir: Path, promoted: Bundle, tmp_path: Path) -> None:
    """With what a later program says of it; and an index that is none is not written over."""
    out = tmp_path / "out"
    out.mkdir()
    other = {
        "name": "letters",
        "version": "1",
        "digest": "a" * 64,
        "files": {},
        "created_utc": "2026",
        "alias": "production",
        "colour": "red",
    }
    (out / INDEX).write_text(json.dumps({"schema_version": 1, "bundles": [other], "by": "ann"}))
    publish(sqlite_dir, out)
    index = json.loads((out / INDEX).read_text())
    assert index["by"] == "ann"
    assert other in index["bundles"]

    (out / INDEX).write_text('{"schema_version": 2}')
    done = run_train(sqlite_dir, "publish", str(out))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 3), done.stderr
    assert (out / INDEX).read_text() == '{"schema_version": 2}'


def test_dry_run_writes_nothing(sqlite_dir: Path, promoted: Bundle, tmp_path: Path) -> None:
    """It lists what it would write."""
    done = publish(sqlite_dir, tmp_path / "out", "--dry-run")

    assert f"would write {INDEX}" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("https://models.example/x",), 2, "the directory that it serves"),
        (("nosuch://x",), 2, "s3://"),
        ((), 2, "publish.to"),
        (("/proc/none",), 3, "/proc/none"),
        (("{tmp}/out", "--alias", "staging"), 1, "--to staging"),
        (("{tmp}/out", "--key", "{tmp}/absent.key"), 2, "absent.key"),
    ],
)
def test_what_cannot_be_published_is_one_line(
    sqlite_dir: Path, promoted: Bundle, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    """Said at once, and nothing is left behind."""
    given = [word.replace("{tmp}", str(tmp_path)) for word in words]
    done = run_train(sqlite_dir, "publish", *given)
    lines = [line for line in done.stderr.splitlines() if not line.endswith("…")]

    assert (done.returncode, said in done.stderr, len(lines)) == (code, True, 1), done.stderr
    assert not list(sqlite_dir.glob(".publish*"))


def test_a_bundle_that_was_changed_in_the_registry_is_not_published(
    sqlite_dir: Path, promoted: Bundle, tmp_path: Path
) -> None:
    """Neither damaged, nor another one in its place."""
    (model,) = (sqlite_dir / "mlflow" / "artifacts").rglob("model.onnx")
    other = ready(sqlite_dir, "9")
    for name, data in files_of(other.path).items():
        (model.parent / name).write_bytes(data)
    changed = run_train(sqlite_dir, "publish", str(tmp_path / "out"))
    model.write_bytes(b"rot")
    damaged = run_train(sqlite_dir, "publish", str(tmp_path / "out"))

    assert (changed.returncode, "its files were changed" in changed.stderr) == (1, True)
    assert damaged.returncode in (2, 3), damaged.stderr
    shutil.rmtree(model.parent)
    gone = run_train(sqlite_dir, "publish", str(tmp_path / "out"))
    assert (gone.returncode, "check that the files are there" in gone.stderr) == (3, True)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """An object store on this machine, for this process too."""
    pytest.importorskip("s3fs", reason="no S3: pip install 'intentd[s3]'")
    from s3fs import S3FileSystem

    with running_s3() as fake:
        for name, value in fake.environment.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield fake
        S3FileSystem.clear_instance_cache()


def on_s3(fake: FakeS3, work_dir: Path, *words: str) -> Done:
    """Publish there."""
    place = ("s3://models/boxes", "--work-dir", str(work_dir))
    env: dict[str, Any] = fake.environment | {"PATH": os.environ["PATH"]}
    return run_command(main, "intentd-train", "publish", *place, *words, env=env)


def test_published_bundle_is_pulled_from_s3(
    sqlite_dir: Path, promoted: Bundle, s3: FakeS3, tmp_path: Path
) -> None:
    """The manifest after the files, the index at the end; again, nothing is written."""
    done = on_s3(s3, sqlite_dir)
    assert done.returncode == 0, done.stderr
    location = "s3://models/boxes"
    (found,) = read_index(location)
    pulled = pull_bundle(location, found.digest, tmp_path / "cache")
    assert files_of(pulled) == files_of(promoted.path)
    assert [key.rpartition("/")[2] for key in s3.puts][-2:] == [MANIFEST, INDEX]

    written = len(s3.puts)
    assert "unchanged" in on_s3(s3, sqlite_dir).stdout
    assert len(s3.puts) == written


def test_s3_that_refuses_is_one_line(sqlite_dir: Path, promoted: Bundle, s3: FakeS3) -> None:
    """Exit code 3."""
    s3.refuse = 403
    done = on_s3(s3, sqlite_dir)
    lines = [line for line in done.stderr.splitlines() if not line.endswith("…")]

    assert (done.returncode, len(lines)) == (3, 1), done.stderr
    assert not s3.objects

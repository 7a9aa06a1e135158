"""`edge.models.versions`: what is taken in, pointed to and removed, and what a power cut leaves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from edge.bundle import CARD, MANIFEST, MODEL, Bundle
from edge.errors import (
    BundleCorrupt,
    BundleIncompatible,
    BundleOlder,
    InvalidValue,
    NotFound,
    StoreUnavailable,
)
from edge.models.journal import JOURNAL, Journal, read_journal, write_journal
from edge.models.recovery import MAX_TRIES, recover
from edge.models.tarball import pack_tar
from edge.models.versions import VersionStore
from tests.edge.models.bundles import make_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    """An empty store."""
    return VersionStore(tmp_path / "models")


@pytest.fixture
def configured(tmp_path: Path) -> Bundle:
    """The bundle that the settings name."""
    return make_bundle(tmp_path / "configured", "0")


@pytest.fixture
def a(tmp_path: Path) -> Bundle:
    """Version 1."""
    return make_bundle(tmp_path / "a", "1")


@pytest.fixture
def b(tmp_path: Path) -> Bundle:
    """Version 2."""
    return make_bundle(tmp_path / "b", "2")


def damage(path: Path) -> None:
    """Change a byte of a version."""
    card = path / CARD
    card.chmod(0o600)
    card.write_bytes(card.read_bytes().replace(b"t", b"T", 1))


def test_installed_bundle_is_the_one_that_was_given(store: VersionStore, a: Bundle) -> None:
    """Under its digest, read-only, verified; nothing stays behind."""
    found = store.install(a.path)

    assert found.digest == a.digest == found.path.name
    assert store.verify(a.digest).manifest == a.manifest
    assert {path.stat().st_mode & 0o777 for path in found.path.iterdir()} == {0o444}
    assert found.path.stat().st_mode & 0o777 == 0o700
    assert not list((store.directory / "incoming").iterdir())


def test_listing_says_what_is_served(store: VersionStore, a: Bundle, b: Bundle) -> None:
    """Current, pending, previous, sizes and versions."""
    for bundle in (a, b):
        store.install(bundle.path)
        store.begin(bundle.digest)
    store.commit()
    found = {version.digest: version for version in store.versions()}

    assert found[b.digest].is_current
    assert not found[b.digest].is_pending
    assert not found[a.digest].is_current
    assert found[a.digest].manifest == a.manifest
    assert found[a.digest].size == sum(file.size for file in a.manifest.files.values())
    assert found[a.digest].installed_utc.endswith("Z")


def test_damaged_version_is_listed_with_its_problem(store: VersionStore, a: Bundle) -> None:
    """It does not keep the others from being listed."""
    path = store.install(a.path).path / MANIFEST
    path.chmod(0o600)
    path.write_text("{")

    (version,) = store.versions()
    assert version.manifest is None
    assert version.problem
    assert "manifest" in version.problem


def test_version_is_found_by_the_start_of_its_digest(store: VersionStore, a: Bundle) -> None:
    """As people type it; too few digits, and unknown ones, are told."""
    store.install(a.path)

    assert store.find(a.digest[:8]).digest == a.digest
    with pytest.raises(InvalidValue, match="at least 6"):
        store.find(a.digest[:3])
    with pytest.raises(NotFound):
        store.find("000000")


def test_install_again_changes_nothing(store: VersionStore, a: Bundle) -> None:
    """The one that is there is kept, down to the inode."""
    first = store.install(a.path)
    inode = (first.path / MODEL).stat().st_ino

    assert store.install(a.path) == first
    assert (first.path / MODEL).stat().st_ino == inode


def test_install_again_repairs_a_damaged_version(store: VersionStore, a: Bundle) -> None:
    """The sound copy takes its place."""
    damage(store.install(a.path).path)
    with pytest.raises(BundleCorrupt):
        store.verify(a.digest)

    store.install(a.path)
    assert store.verify(a.digest).digest == a.digest


def test_older_version_needs_an_explicit_word(store: VersionStore, a: Bundle, b: Bundle) -> None:
    """And with it, becomes the newest: a version that runs far ahead does not block the way."""
    store.install(b.path)
    with pytest.raises(BundleOlder, match=r"expected tiny 2 or newer, found 1.*--allow-older"):
        store.install(a.path)
    assert [version.digest for version in store.versions()] == [b.digest]

    store.install(a.path, allow_older=True)
    assert store.install(a.path).digest == a.digest


def test_removed_version_still_counts_as_seen(store: VersionStore, a: Bundle, b: Bundle) -> None:
    """Removing the newest opens no door to older ones."""
    store.install(b.path)
    store.remove(b.digest)

    with pytest.raises(BundleOlder, match="allow-older"):
        store.install(a.path)


def test_other_models_have_versions_of_their_own(
    store: VersionStore, b: Bundle, tmp_path: Path
) -> None:
    """Version 1 of one model is not older than version 2 of another."""
    store.install(b.path)
    other = make_bundle(tmp_path / "other", "1", name="other")

    assert store.install(other.path).digest == other.digest


def test_damaged_journal_does_not_forget_what_is_installed(
    store: VersionStore, a: Bundle, b: Bundle
) -> None:
    """The newest versions are read from the bundles; what is served is read from the link."""
    store.install(b.path)
    store.begin(b.digest)
    store.commit()
    (store.directory / JOURNAL).write_text("{torn")

    with pytest.raises(BundleOlder, match="allow-older"):
        store.install(a.path)
    assert recover(store, a.path).digest == b.digest


def test_what_is_in_use_cannot_be_removed(store: VersionStore, a: Bundle, b: Bundle) -> None:
    """Served, on probation, or the one below: each is refused."""
    for bundle in (a, b):
        store.install(bundle.path)
    store.begin(a.digest)
    store.commit()
    store.begin(b.digest)

    for digest in (a.digest, b.digest):
        with pytest.raises(InvalidValue, match="in use"):
            store.remove(digest)


def test_removing_the_previous_gives_up_the_way_back(
    store: VersionStore, a: Bundle, b: Bundle
) -> None:
    """A rollback then goes to the settings' own bundle; nothing points to what is gone."""
    for bundle in (a, b):
        store.install(bundle.path)
        store.begin(bundle.digest)
        store.commit()
    store.remove(a.digest)

    assert [version.digest for version in store.versions()] == [b.digest]
    assert store.journal().previous is None
    with pytest.raises(NotFound):
        store.remove(a.digest)
    assert store.rollback() is None


@pytest.mark.parametrize("digest", ["..", ".", "", "../..", "x" * 64])
def test_digests_are_no_paths(store: VersionStore, digest: str) -> None:
    """What is no digest of an installed bundle reaches no file."""
    with pytest.raises(NotFound):
        store.remove(digest)
    with pytest.raises((NotFound, InvalidValue)):
        store.find(digest)
    with pytest.raises(BundleCorrupt):
        store.begin(digest)
    assert store.current() is None


def test_rollback_goes_back_and_forth(store: VersionStore, a: Bundle, b: Bundle) -> None:
    """From B to A, and from A to B again: both are known to be good."""
    for bundle in (a, b):
        store.install(bundle.path)
        store.begin(bundle.digest)
        store.commit()

    assert store.rollback() == a.digest == store.current()
    assert store.rollback() == b.digest == store.current()
    assert store.journal().pending is None


def test_rollback_during_probation_returns_to_the_last_good(
    store: VersionStore, a: Bundle, b: Bundle
) -> None:
    """And the failed one is no way back."""
    for bundle in (a, b):
        store.install(bundle.path)
    store.begin(a.digest)
    store.commit()
    store.begin(b.digest)

    assert store.rollback() == a.digest == store.current()
    assert store.rollback() is None  # the settings' bundle, which was served before A


def test_rollback_of_the_same_model_ends_its_probation(store: VersionStore, a: Bundle) -> None:
    """Activated anew by force, and not good any more: it stays, since nothing else was before."""
    store.install(a.path)
    store.begin(a.digest)
    store.commit()
    store.begin(a.digest)

    assert store.rollback() == a.digest
    assert store.journal().pending is None
    assert store.current() == a.digest


def test_rollback_without_a_way_back_is_told(store: VersionStore) -> None:
    """A fresh store serves the settings' bundle, and knows no other."""
    with pytest.raises(InvalidValue, match="no model to go back to"):
        store.rollback()


def test_the_settings_bundle_can_be_returned_to(store: VersionStore, a: Bundle) -> None:
    """Without probation, and with a way back."""
    store.install(a.path)
    store.begin(a.digest)
    store.commit()
    store.begin(None)

    assert store.current() is None
    assert store.rollback() == a.digest


def test_activating_the_same_again_keeps_the_way_back(
    store: VersionStore, a: Bundle, b: Bundle
) -> None:
    """B after B still leads back to A."""
    for bundle in (a, b):
        store.install(bundle.path)
    for digest in (a.digest, b.digest, b.digest):
        store.begin(digest)
        store.commit()

    assert store.rollback() == a.digest


def test_damaged_version_is_not_pointed_to(store: VersionStore, a: Bundle) -> None:
    """Neither forward nor back."""
    damage(store.install(a.path).path)

    with pytest.raises(BundleCorrupt):
        store.begin(a.digest)
    assert store.current() is None
    assert store.journal() == Journal(newest={"tiny": "1"})


def test_start_serves_the_settings_bundle_at_first(store: VersionStore, configured: Bundle) -> None:
    """A fresh store points nowhere."""
    found = recover(store, configured.path)

    assert (found.bundle, found.digest, found.on_probation) == (configured, None, False)
    assert found.notes == ()


def test_crash_loop_ends_on_the_last_good_model(
    store: VersionStore, configured: Bundle, a: Bundle, b: Bundle
) -> None:
    """The pending version gets two starts; the third serves the one before."""
    for bundle in (a, b):
        store.install(bundle.path)
    store.begin(a.digest)
    store.commit()
    store.begin(b.digest)
    starts = [recover(store, configured.path) for _ in range(MAX_TRIES + 2)]

    assert [start.digest for start in starts] == [b.digest] * 2 + [a.digest] * 2
    assert [start.on_probation for start in starts] == [True, True, False, False]
    assert "started 2 times without being committed" in starts[2].notes[0]
    assert starts[3].notes == ()


def test_commit_ends_the_counting(store: VersionStore, configured: Bundle, a: Bundle) -> None:
    """A committed version may be started as often as one likes."""
    store.install(a.path)
    store.begin(a.digest)
    recover(store, configured.path)
    store.commit()

    assert {recover(store, configured.path).digest for _ in range(5)} == {a.digest}


@pytest.mark.parametrize("is_pending", [True, False])
def test_start_passes_over_a_damaged_model(
    store: VersionStore, configured: Bundle, a: Bundle, b: Bundle, is_pending: bool
) -> None:
    """Bit rot in what is served: the one before it is, and the log says why."""
    for bundle in (a, b):
        store.install(bundle.path)
        store.begin(bundle.digest)
        if bundle is a or not is_pending:
            store.commit()
    damage(store.directory / "versions" / b.digest)
    start = recover(store, configured.path)

    assert start.digest == a.digest == store.current()
    assert "another model is served instead" in start.notes[0]
    assert recover(store, configured.path).notes == ()


def test_start_with_every_version_gone_serves_the_settings_bundle(
    store: VersionStore, configured: Bundle, a: Bundle
) -> None:
    """Whatever was done to the directory by hand."""
    store.install(a.path)
    store.begin(a.digest)
    store.commit()
    shutil.rmtree(store.directory / "versions")

    assert recover(VersionStore(store.directory), configured.path).bundle == configured


def test_link_turned_by_hand_is_followed(
    store: VersionStore, configured: Bundle, a: Bundle, b: Bundle
) -> None:
    """An admin may turn `current`; the rollback leads back to what was served."""
    for bundle in (a, b):
        store.install(bundle.path)
    store.begin(a.digest)
    store.commit()
    link = store.directory / "current"
    link.unlink()
    link.symlink_to(f"versions/{b.digest}")

    assert recover(store, configured.path).digest == b.digest
    assert store.rollback() == a.digest


@pytest.mark.parametrize("target", ["/etc", "versions/../../etc", "versions", "nowhere"])
def test_link_to_elsewhere_is_not_followed(
    store: VersionStore, configured: Bundle, target: str
) -> None:
    """Only what the store installed is served from it."""
    (store.directory / "current").symlink_to(target)

    assert recover(store, configured.path).bundle == configured


def test_start_without_any_usable_bundle_says_so(store: VersionStore, tmp_path: Path) -> None:
    """There is nothing to fall back to any more."""
    with pytest.raises(BundleCorrupt, match="found no manifest"):
        recover(store, tmp_path / "nowhere")


def test_start_leaves_running_installs_alone(
    store: VersionStore, configured: Bundle, a: Bundle
) -> None:
    """What a dead process left is removed, what a live one is writing is not."""
    (store.directory / "incoming" / "dead").mkdir()
    reached, go_on = threading.Event(), threading.Event()
    stream = Held(b"".join(pack_tar(a.path)), reached, go_on)
    with ThreadPoolExecutor(1) as pool:
        install = pool.submit(store.install, stream)
        try:
            assert reached.wait(20)
            recover(VersionStore(store.directory), configured.path)
            left = [path.name for path in (store.directory / "incoming").iterdir()]
        finally:
            go_on.set()

        assert install.result(20).digest == a.digest
    assert len(left) == 1
    assert left != ["dead"]


class Held:
    """A stream that waits in its middle."""

    def __init__(self, data: bytes, reached: threading.Event, go_on: threading.Event) -> None:
        self._file, self._reached, self._go_on = BytesIO(data), reached, go_on

    def read(self, size: int, /) -> bytes:
        """The next bytes, the later ones only when told to."""
        if self._file.tell() > 512:
            self._reached.set()
            assert self._go_on.wait(20)
        return self._file.read(size)


def test_concurrent_installs_do_not_meet(store: VersionStore, tmp_path: Path) -> None:
    """Eight threads, two of each bundle: every one is there once, whole."""
    made = [make_bundle(tmp_path / str(i), str(i), name=f"m{i}") for i in range(4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda bundle: store.install(bundle.path), made * 2))

    assert [bundle.digest for bundle in found] == [bundle.digest for bundle in made * 2]
    assert {store.verify(bundle.digest).digest for bundle in made} == {b.digest for b in made}
    assert len(store.versions()) == 4
    assert not list((store.directory / "incoming").iterdir())


def test_concurrent_processes_do_not_meet(store: VersionStore, tmp_path: Path) -> None:
    """Two processes install and switch at once; the pointers stay consistent."""
    made = [make_bundle(tmp_path / str(i), "1", licence=f"L{i}") for i in range(2)]
    script = (
        "import sys; from pathlib import Path; from edge.models.versions import VersionStore\n"
        "store = VersionStore(Path(sys.argv[1]))\n"
        "for _ in range(15):\n"
        "    store.begin(store.install(Path(sys.argv[2])).digest); store.commit()\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, store.directory, bundle.path])
        for bundle in made
    ]
    assert [process.wait(60) for process in running] == [0, 0]

    journal = store.journal()
    assert store.current() in {bundle.digest for bundle in made}
    assert (journal.pending, journal.tries) == (None, 0)
    assert journal.last_good == store.current()


def test_journal_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field of it."""
    digests = [letter * 64 for letter in "abc"]
    journal = Journal(
        pending=digests[0],
        tries=1,
        last_good=digests[1],
        previous=digests[2],
        newest={"tiny": "1", "other": "2026-11-22"},
    )
    write_journal(tmp_path, journal)

    assert read_journal(tmp_path) == journal


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tries": -1}', '{"pending": "../x"}', "\x00"])
def test_damaged_journal_is_told_from_none(tmp_path: Path, text: str) -> None:
    """It is not read as an empty one."""
    assert read_journal(tmp_path) == Journal()
    (tmp_path / JOURNAL).write_text(text)

    assert read_journal(tmp_path) is None


def cut_power(scenario: str, times: int, *options: str) -> dict[str, object]:
    """Run the program that kills itself at every step; see `tests.edge.models.cuts`."""
    command = [sys.executable, "-m", "tests.edge.models.cuts", scenario, str(times), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("scenario", "steps"), [("install", 30), ("begin", 10)])
def test_power_cut_at_each_step_leaves_a_complete_model(scenario: str, steps: int) -> None:
    """Twenty cuts at every step of installing and switching, each losing what was not fsynced."""
    found = cut_power(scenario, 20)

    assert found["faults"] == []
    assert found["cuts"] == 20 * int(str(found["steps"])) >= 20 * steps


@pytest.mark.parametrize(
    "scenario",
    ["repair", "first", "commit", "fall back", "roll back", "release", "give up", "remove"],
)
def test_power_cut_during_other_work_leaves_a_complete_model(scenario: str) -> None:
    """Every step of every other change, a few times each."""
    assert cut_power(scenario, 3)["faults"] == []


def test_power_cuts_are_noticed_where_nothing_is_fsynced() -> None:
    """The negative control: with a disk that forgets, the same program finds half a model."""
    assert cut_power("install", 4, "--no-fsync")["faults"]


@pytest.fixture(scope="module")
def may_mount() -> None:
    """Skips the test where a small disk cannot be mounted."""
    command = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt"]
    with suppress(OSError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
    pytest.skip("user and mount namespaces are not allowed here: no small disk to fill")


FULL_DISK = """
import json, sys
from pathlib import Path
from edge.errors import StoreUnavailable
from edge.models.recovery import recover
from edge.models.versions import VersionStore
disk, a, big = Path("/mnt"), Path(sys.argv[1]), Path(sys.argv[2])
store = VersionStore(disk / "models")
digest = store.install(a).digest
store.begin(digest)
store.commit()
def refused(work):
    try:
        work()
    except StoreUnavailable as error:
        return str(error)
facts = {"install": refused(lambda: store.install(big))}
facts["left"] = [str(path) for path in (disk / "models" / "incoming").iterdir()]
second = store.install(Path(sys.argv[3])).digest
store.begin(second)
filler = (disk / "filler").open("wb", buffering=0)
try:
    while filler.write(bytes(4096)) == 4096:
        pass
except OSError:
    pass
facts["commit"] = refused(store.commit)
facts["begin"] = refused(lambda: store.begin(digest))
facts["current"] = store.current() == second
start = recover(store, a)
facts["start"] = start.digest == digest
facts["notes"] = list(start.notes)
filler.close()
(disk / "filler").unlink()
store.commit()
facts["after"] = store.install(Path(sys.argv[3])).digest == second
print(json.dumps(facts))
"""


@pytest.mark.usefixtures("may_mount")
def test_full_disk_leaves_nothing_half_written(a: Bundle, b: Bundle, tmp_path: Path) -> None:
    """Install is refused, switches too; the daemon starts on the last good one all the same."""
    big = make_bundle(tmp_path / "big", "3")
    (big.path / MODEL).write_bytes((big.path / MODEL).read_bytes() + bytes(3 << 20))
    inner = f'mount -t tmpfs -o size=1m none /mnt && exec {sys.executable} -c "$0" "$@"'
    command = ["unshare", "-Urm", "sh", "-c", inner, FULL_DISK]
    command += [str(bundle.path) for bundle in (a, big, b)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    facts = json.loads(done.stdout)

    for work in ("install", "commit", "begin"):
        assert "No space left on device" in facts[work]
    assert facts["left"] == []
    assert facts["current"]
    assert facts["start"]
    assert "only models known to be good" in facts["notes"][0]
    assert facts["after"]


READ_ONLY = """
import json, subprocess, sys
from pathlib import Path
from edge.errors import StoreUnavailable
from edge.models.recovery import recover
from edge.models.versions import VersionStore
store = VersionStore(Path("/mnt/models"))
digests = [store.install(Path(path)).digest for path in sys.argv[1:]]
store.begin(digests[0])
store.commit()
(store.directory / "incoming" / "left").mkdir()
if len(digests) > 1:
    store.begin(digests[1])
subprocess.run(["mount", "-o", "remount,ro", "/mnt"], check=True)
store = VersionStore(Path("/mnt/models"))
start = recover(store, Path("nowhere"))
facts = {"start": start.digest == digests[0], "notes": list(start.notes), "refused": []}
install, remove = lambda: store.install(Path(sys.argv[1])), lambda: store.remove("0" * 64)
for work in (install, remove, store.clean):
    try:
        work()
    except StoreUnavailable as error:
        facts["refused"].append(str(error))
print(json.dumps(facts))
"""


@pytest.mark.usefixtures("may_mount")
@pytest.mark.parametrize("pending", [False, True])
def test_read_only_disk_is_started_on(a: Bundle, b: Bundle, pending: bool) -> None:
    """A kernel that distrusts a disk lets it be read alone: the last good model answers on."""
    inner = f'mount -t tmpfs -o size=1m none /mnt && exec {sys.executable} -c "$0" "$@"'
    command = ["unshare", "-Urm", "sh", "-c", inner, READ_ONLY]
    command += [str(bundle.path) for bundle in ((a, b) if pending else (a,))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    facts = json.loads(done.stdout)

    assert facts["start"]
    assert len(facts["refused"]) == 3
    assert all("Read-only file system" in told for told in [*facts["refused"], *facts["notes"]])
    assert len(facts["notes"]) == 1 + pending


@pytest.fixture
def read_only(store: VersionStore) -> Iterator[None]:
    """A store whose journal cannot be written, whoever asks: a directory stands in its place."""
    blocker = store.directory / f"{JOURNAL}.new"
    blocker.mkdir()
    yield
    blocker.rmdir()


def test_errors_that_are_no_full_disk_are_not_hidden(
    store: VersionStore, a: Bundle, read_only: None
) -> None:
    """A bug, or somebody's meddling, comes up as what it is."""
    with pytest.raises(OSError, match="directory") as caught:
        store.install(a.path)
    assert not isinstance(caught.value, StoreUnavailable | BundleIncompatible)
    assert not list((store.directory / "versions").iterdir())
    assert not list((store.directory / "incoming").iterdir())

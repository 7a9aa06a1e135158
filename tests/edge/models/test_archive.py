"""What comes into the store: sound bundles in every wrapping, and none of the hostile ones."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import MANIFEST, SIGNATURE, Bundle, read_bundle
from edge.errors import (
    BundleCorrupt,
    BundleIncompatible,
    BundleOlder,
    EdgeError,
    InvalidSettings,
)
from edge.models import tarball
from edge.models.archive import unpack
from edge.models.entries import LIMITS_BYTES, Entry
from edge.models.tarball import read_tar
from edge.models.versions import VersionStore
from edge.models.zipball import read_zip
from export.sign import make_keys, sign_bundle
from tests.edge.models.bundles import Files, files_of, make_bundle, pack_tar, pack_zip
from tests.edge.models.hostile import KINDS, folder

REFUSALS = (BundleCorrupt, BundleIncompatible, BundleOlder)
_watching: list[Path] = []
_written: list[tuple[str, str]] = []
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Hear of every name that this process gives or takes on the disk."""
    if not _watching:
        return
    if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & WRITING:
        _written.append((event, os.fsdecode(arguments[0])))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate"):
        _written.extend((event, os.fsdecode(name)) for name in arguments[:2] if name is not None
                        and not isinstance(name, int))  # fmt: skip


sys.addaudithook(_note)


@contextmanager
def only_incoming(store: VersionStore) -> Iterator[None]:
    """Fails if anything is written outside `incoming/`, or if anything stays there."""
    before = snapshot(store.directory)
    _written.clear()
    _watching.append(store.directory)
    try:
        yield
    finally:
        _watching.clear()
    incoming, lock = store.directory / "incoming", store.directory / "lock"
    outside = {
        (event, name)
        for event, name in _written
        if incoming not in Path(name).parents and Path(name) != lock
    }
    assert not outside
    assert _written
    assert snapshot(store.directory) == before
    assert not list(incoming.iterdir())


def snapshot(path: Path) -> dict[str, bytes | None]:
    """Every name below a directory, and what it holds."""
    return {
        str(file.relative_to(path)): file.read_bytes() if file.is_file() else None
        for file in path.rglob("*")
    }


@pytest.fixture
def sound(tmp_path: Path) -> Bundle:
    """A sound bundle."""
    return make_bundle(tmp_path / "sound")


@pytest.fixture
def files(sound: Bundle) -> Files:
    """Its files."""
    return files_of(sound.path)


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    """A store with one bundle in it."""
    made = VersionStore(tmp_path / "models")
    made.begin(made.install(make_bundle(tmp_path / "served", name="served").path).digest)
    made.commit()
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_bundle_is_refused(
    store: VersionStore, files: Files, tmp_path: Path, kind: str
) -> None:
    """With the reason, before anything is written outside `incoming/`, and nothing stays there."""
    make, reason = KINDS[kind]
    (tmp_path / "hostile").mkdir()
    made = make(files, tmp_path / "hostile")
    with only_incoming(store), pytest.raises(REFUSALS, match=reason):
        store.install(made if isinstance(made, Path) else io.BytesIO(made))


def test_there_are_many_kinds_of_hostile_bundles() -> None:
    """Twenty-five at least, beside those of the signatures."""
    assert len(KINDS) >= 25


@pytest.mark.parametrize("wrapping", ["tar", "zip"])
def test_hostile_maker_starts_from_what_is_taken(
    store: VersionStore, files: Files, wrapping: str
) -> None:
    """The control: unchanged, the same files come in."""
    data = pack_tar(files) if wrapping == "tar" else pack_zip(files)

    assert store.install(io.BytesIO(data)).manifest.name == "tiny"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory with one trusted key; its private key lies beside the directory."""
    path = tmp_path / "keys"
    path.mkdir()
    make_keys(tmp_path / "ours.key").rename(path / "ours.pub")
    return path


def signed(bundle: Bundle, key: Path) -> bytes:
    """The bundle with this key's signature, as a tar."""
    sign_bundle(bundle, key)
    return pack_tar(files_of(bundle.path))


def test_signed_bundle_is_taken(
    store: VersionStore, sound: Bundle, keys: Path, tmp_path: Path
) -> None:
    """And its signature is kept beside it."""
    data = signed(sound, tmp_path / "ours.key")
    found = store.install(io.BytesIO(data), trusted_keys=keys)

    assert (found.path / SIGNATURE).is_file()


def test_unsigned_bundle_is_refused_where_a_key_is_trusted(
    store: VersionStore, files: Files, keys: Path
) -> None:
    """A key in the settings means: nothing without."""
    with only_incoming(store), pytest.raises(BundleCorrupt, match=r"expected manifest\.sig"):
        store.install(io.BytesIO(pack_tar(files)), trusted_keys=keys)


def test_bundle_of_another_key_is_refused(
    store: VersionStore, sound: Bundle, keys: Path, tmp_path: Path
) -> None:
    """Somebody signed it, nobody who is trusted."""
    make_keys(tmp_path / "theirs.key")
    data = signed(sound, tmp_path / "theirs.key")

    with only_incoming(store), pytest.raises(BundleCorrupt, match="expected a signature of"):
        store.install(io.BytesIO(data), trusted_keys=keys)


def test_bundle_of_a_revoked_key_is_refused(
    store: VersionStore, sound: Bundle, keys: Path, tmp_path: Path
) -> None:
    """Two are trusted, one is taken away: what it signed comes in no more."""
    make_keys(tmp_path / "old.key").rename(keys / "old.pub")
    data = signed(sound, tmp_path / "old.key")
    store.install(io.BytesIO(data), trusted_keys=keys)
    store.remove(sound.digest)
    (keys / "old.pub").unlink()

    with only_incoming(store), pytest.raises(BundleCorrupt, match="expected a signature of"):
        store.install(io.BytesIO(data), trusted_keys=keys)


def test_signature_of_another_bundle_is_refused(
    store: VersionStore, sound: Bundle, keys: Path, tmp_path: Path
) -> None:
    """Copied from a bundle that the same maker signed."""
    signature = sign_bundle(sound, tmp_path / "ours.key").read_bytes()
    other = files_of(make_bundle(tmp_path / "other", "2").path) | {SIGNATURE: signature}

    with only_incoming(store), pytest.raises(BundleCorrupt, match="expected a signature of"):
        store.install(io.BytesIO(pack_tar(other)), trusted_keys=keys)


def test_older_signed_bundle_is_refused(
    store: VersionStore, sound: Bundle, keys: Path, tmp_path: Path
) -> None:
    """The maker's own signature does not bring an old weakness back."""
    newer = make_bundle(tmp_path / "newer", "2")
    store.install(io.BytesIO(signed(newer, tmp_path / "ours.key")), trusted_keys=keys)
    data = signed(sound, tmp_path / "ours.key")

    with only_incoming(store), pytest.raises(BundleOlder, match="or newer, found 1"):
        store.install(io.BytesIO(data), trusted_keys=keys)


def test_keys_that_cannot_be_used_let_nothing_in(
    store: VersionStore, files: Files, tmp_path: Path
) -> None:
    """An empty directory, a damaged key, no such path: never as if no key were set."""
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "key.pub").write_text("-----BEGIN PUBLIC KEY-----")
    for keys in ("none", "bad", "gone"):
        with only_incoming(store), pytest.raises(InvalidSettings, match="key"):
            store.install(io.BytesIO(pack_tar(files)), trusted_keys=tmp_path / keys)


def wrappings(files: Files, tmp_path: Path) -> dict[str, Path | io.BytesIO]:
    """The sound bundle as people bring it."""
    path = folder(files, tmp_path / "folder")
    (path / "Thumbs.db").write_bytes(b"x")
    (path / "@eaDir").mkdir()
    in_folder = {f"bundle-1/{name}": data for name, data in files.items()}
    in_dot = {f"./{name}": data for name, data in files.items()}
    made = {
        "tar": pack_tar(files),
        "tar of a folder": _tar_program(tmp_path, "sound"),
        "tar in pax": pack_tar(files, format=tarfile.PAX_FORMAT),
        "tar in GNU": pack_tar(files, format=tarfile.GNU_FORMAT),
        "tar with folder": pack_tar(in_folder),
        "tar with dots": pack_tar(in_dot),
        "own tar": b"".join(tarball.pack_tar(path)),
        "zip": pack_zip(files),
        "zip, stored": pack_zip(files, zipfile.ZIP_STORED),
        "zip with folder": pack_zip({"bundle-1/": b"", **in_folder}),
        "zip from a pipe": _streamed_zip(files),
    }
    archive = tmp_path / "bundle.any"
    archive.write_bytes(made["tar"])
    return {name: io.BytesIO(data) for name, data in made.items()} | {
        "directory": path,
        "archive file": archive,
    }


def _tar_program(path: Path, name: str) -> bytes:
    """What the system's tar makes, with times below the second, as pax headers."""
    command = ["tar", "-cf", "-", "--format=pax", "-C", str(path), name]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _streamed_zip(files: Files) -> bytes:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return pipe.data


def test_every_usual_wrapping_is_taken(files: Files, sound: Bundle, tmp_path: Path) -> None:
    """As tar, zip and the file managers pack, with a folder or without."""
    for number, (name, source) in enumerate(wrappings(files, tmp_path).items()):
        store = VersionStore(tmp_path / f"store{number}")
        found = store.install(source)

        assert found.digest == sound.digest, name
        assert files_of(found.path) == files, name


def test_own_tar_is_the_same_whoever_packs(sound: Bundle) -> None:
    """It carries no times and no owners."""
    first = b"".join(tarball.pack_tar(sound.path))
    os.utime(sound.path / MANIFEST, (1, 1))

    assert b"".join(tarball.pack_tar(sound.path)) == first


def test_short_reads_are_no_end(store: VersionStore, files: Files, sound: Bundle) -> None:
    """A pipe gives what it has; a byte at a time, if need be."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 7))

    assert store.install(Slow(pack_tar(files))).digest == sound.digest
    store.remove(sound.digest)
    assert store.install(Slow(pack_zip(files))).digest == sound.digest


def entries_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """What a reader makes of these bytes, read to the end."""
    stream = io.BytesIO(data)
    reader: Iterator[Entry] = read_zip(stream) if data[:2] == b"PK" else read_tar(stream)
    return [(entry.path, b"".join(entry.chunks)) for entry in reader]


names = st.text("abcdefgh.", min_size=1, max_size=20).filter(lambda name: name.strip("."))
contents = st.dictionaries(names, st.binary(max_size=2000), max_size=10)


@given(contents, st.sampled_from([pack_tar, pack_zip]))
def test_what_was_packed_is_what_is_read(files: Files, pack: Any) -> None:
    """For any files, by both readers, in their order."""
    assert entries_of(pack(files)) == [(n.encode(), d) for n, d in files.items()]


EXAMPLE = {"manifest.json": b"{}" * 50, "model.onnx": bytes(range(256)) * 8}


@given(
    pack=st.sampled_from([pack_tar, pack_zip]),
    edits=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 20_000),
)
@settings(max_examples=300)
def test_damage_is_refused_or_harmless(pack: Any, edits: list[tuple[int, int]], cut: int) -> None:
    """Whatever bytes change: `BundleCorrupt`, or entries of sane sizes; never another error."""
    data = bytearray(pack(EXAMPLE))
    for position, value in edits:
        data[position % len(data)] = value
    if cut < len(data):
        del data[-cut or len(data) :]
    try:
        found = entries_of(bytes(data))
    except BundleCorrupt:
        return
    assert sum(len(content) for _, content in found) < 1 << 20


@given(st.binary(max_size=3000), st.booleans())
def test_garbage_is_refused(data: bytes, is_zip: bool) -> None:
    """Even with the right first bytes."""
    with pytest.raises(BundleCorrupt):
        entries_of((b"PK\x03\x04" if is_zip else b"manifest.json".ljust(257, b"\x00")) + data)


@given(cut=st.integers(1, 5000), pack=st.sampled_from([pack_tar, pack_zip]))
def test_an_archive_that_breaks_off_is_refused(cut: int, pack: Any) -> None:
    """Wherever it does, short of the zeros that a tar ends with."""
    data = pack(EXAMPLE)
    if pack is pack_tar:
        data = data.rstrip(b"\x00")
        data += bytes(-len(data) % 512) + bytes(1024)
    with pytest.raises(BundleCorrupt):
        entries_of(data[:-cut])


@given(path=st.binary(max_size=60), size=st.integers(0, 1 << 40))
def test_no_entry_comes_in_under_another_name(path: bytes, size: int) -> None:
    """The admission gives one of six names, or refuses."""
    from edge.models.entries import Admission

    try:
        name = Admission().admit_file(path, size)
    except BundleCorrupt:
        return
    assert name in LIMITS_BYTES
    assert size <= LIMITS_BYTES[name]
    assert path.endswith(name.encode())


def test_a_file_that_changes_while_it_is_copied_is_noticed(files: Files, tmp_path: Path) -> None:
    """It grows behind the reader's back."""
    path = folder(files, tmp_path / "folder")
    (tmp_path / "staging").mkdir()
    sizes = os.stat_result

    class Growing:
        def __init__(self) -> None:
            self.real = os.fstat

        def __call__(self, descriptor: int) -> os.stat_result:
            found = list(self.real(descriptor))
            found[6] -= 1
            return sizes(found)

    patcher = pytest.MonkeyPatch()
    with patcher.context() as patched:
        patched.setattr("edge.models.folder.os.fstat", Growing())
        with pytest.raises(EdgeError, match="changed while it was read"):
            unpack(path, tmp_path / "staging")


def test_installed_copy_is_no_link_to_the_source(store: VersionStore, sound: Bundle) -> None:
    """What happens to the source later does not reach the store."""
    found = store.install(sound.path)
    (sound.path / MANIFEST).write_text("{}")

    assert read_bundle(found.path).digest == sound.digest
    assert {file.stat().st_nlink for file in found.path.iterdir()} == {1}

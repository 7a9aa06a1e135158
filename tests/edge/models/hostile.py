"""Bundles that nobody should take in: how to make each, from the files of a sound one.

Every maker is told the sound files and an empty directory, and returns a stream's bytes, or the
path of a directory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.bundle import CARD, MANIFEST, MODEL, SELFTEST, TOKENIZER
from edge.models.tarball import BLOCK_BYTES
from tests.edge.models.bundles import Files, manifest, pack_tar, pack_zip, tiny_graph

Made = bytes | Path
Maker = Callable[[Files, Path], Made]


def member(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    """A tar's header alone."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def without(files: Files, name: str) -> Files:
    """All but one."""
    return {other: data for other, data in files.items() if other != name}


def instead(name: str, kind: bytes, link: str = "") -> Maker:
    """A tar in which this stands for a regular file."""
    return lambda files, _: pack_tar(without(files, name), [member(name, kind, link)])


def renamed(name: str, new: str) -> Maker:
    """A tar in which a file goes by another name."""
    return lambda files, _: pack_tar({new if n == name else n: d for n, d in files.items()})


def renamed_in_zip(name: str, new: str) -> Maker:
    """A zip in which a file goes by another name."""
    return lambda files, _: pack_zip({new if n == name else n: d for n, d in files.items()})


def pax(**headers: str) -> Maker:
    """A tar whose first file has these pax headers."""

    def make(files: Files, _: Path) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for number, (name, data) in enumerate(files.items()):
                head = tarfile.TarInfo(name)
                head.size = len(data)
                head.pax_headers = {k.replace("__", "."): v for k, v in headers.items()}
                if number:
                    head.pax_headers = {}
                tar.addfile(head, io.BytesIO(data))
        return out.getvalue()

    return make


def patched_header(offset: int, data: bytes, fix: bool = True) -> Maker:
    """A tar whose first header holds these bytes; with the right checksum, if told so."""

    def make(files: Files, _: Path) -> bytes:
        out = bytearray(pack_tar(files))
        out[offset : offset + len(data)] = data
        if fix:
            out[148:156] = b" " * 8
            out[148:156] = b"%06o\x00 " % sum(out[:BLOCK_BYTES])
        return bytes(out)

    return make


def gnu_long_name(files: Files, _: Path) -> bytes:
    """The real name of the last file lies in a record of its own."""
    data = b"../../etc/cron.d/evil\x00"
    head = member("././@LongLink", b"L", size=len(data)).tobuf(tarfile.GNU_FORMAT)
    sound = pack_tar(files)
    return head + data.ljust(BLOCK_BYTES, b"\x00") + sound


def duplicate(files: Files, _: Path) -> bytes:
    """A second manifest behind the one that is looked at first."""
    out = pack_tar(files).rstrip(b"\x00")
    out += bytes(-len(out) % BLOCK_BYTES)
    return out + pack_tar({MANIFEST: files[MANIFEST]})


def reseal(files: Files, **changes: Any) -> Files:
    """The same files under a manifest that fits; made without the checks of `seal_bundle`."""
    listed = {n: d for n, d in files.items() if n != MANIFEST} | changes.pop("replace", {})
    entries = {
        n: {"sha256": hashlib.sha256(d).hexdigest(), "size": len(d)} for n, d in listed.items()
    }
    made = manifest().model_dump(mode="json") | {"files": entries} | changes
    return {MANIFEST: json.dumps(made).encode(), **listed}


def resealed(**changes: Any) -> Maker:
    """A tar of that."""
    return lambda files, _: pack_tar(reseal(files, **changes))


def manifest_with_a_path(files: Files, _: Path) -> bytes:
    """The archive is clean; the manifest speaks of a file elsewhere."""
    made = reseal(files, replace={"../evil": b"x"})
    return pack_tar(without(made, "../evil"))


def nested_graph(depth: int = 600) -> bytes:
    """A protobuf of messages within messages."""
    body = b""
    for step in range(depth):
        body = bytes([(6, 5, 1)[step % 3] << 3 | 2]) + _varint(len(body)) + body
    return bytes([7 << 3 | 2]) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def changed_zip(change: Callable[[bytearray, int, int], None]) -> Maker:
    """A zip changed by hand, given where its directory and its end lie."""

    def make(files: Files, _: Path) -> bytes:
        out = bytearray(pack_zip(files))
        end = len(out) - 22
        change(out, struct.unpack_from("<L", out, end + 16)[0], end)
        return bytes(out)

    return make


def patch(where: str, offset: int, form: str, value: int) -> Maker:
    """A zip with one number of its first file's header, or of the directory, changed."""

    def change(out: bytearray, directory: int, end: int) -> None:
        start = {"local": 0, "central": directory, "end": end}[where]
        struct.pack_into(form, out, start + offset, value)

    return changed_zip(change)


def flag_everywhere(bit: int) -> Maker:
    """A zip whose first file has this flag in both headers."""

    def change(out: bytearray, directory: int, _: int) -> None:
        out[6] |= bit
        out[directory + 8] |= bit

    return changed_zip(change)


def zip_symlink(files: Files, _: Path) -> bytes:
    """A symbolic link, as Info-ZIP packs it."""
    out = io.BytesIO(pack_zip(without(files, CARD)))
    with zipfile.ZipFile(out, "a") as archive:
        link = zipfile.ZipInfo(CARD)
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return out.getvalue()


def zip_bomb(files: Files, _: Path) -> bytes:
    """A thousandfold."""
    return pack_zip({**files, MODEL: bytes(64 << 20)})


def zip_bzip2(files: Files, _: Path) -> bytes:
    """A method that the reader has no code for."""
    return pack_zip(files, zipfile.ZIP_BZIP2)


def zip_duplicate(files: Files, _: Path) -> bytes:
    """Python warns about it; others do not."""
    out = io.BytesIO(pack_zip(files))
    with warnings.catch_warnings(), zipfile.ZipFile(out, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(MANIFEST, "{}")
    return out.getvalue()


def zip_hidden(files: Files, _: Path) -> bytes:
    """A file that the directory does not list, before those that it does."""
    hidden = pack_zip({"hidden": b"x" * 100})
    local = hidden[: hidden.index(b"PK\x01\x02")]
    out = bytearray(pack_zip(files))
    end = len(out) - 22
    directory = position = struct.unpack_from("<L", out, end + 16)[0]
    for _name in files:
        start = struct.unpack_from("<L", out, position + 42)[0]
        struct.pack_into("<L", out, position + 42, start + len(local))
        position += 46 + sum(struct.unpack_from("<3H", out, position + 28))
    struct.pack_into("<L", out, end + 16, directory + len(local))
    return local + bytes(out)


def zip_of_other_bytes(files: Files, _: Path) -> bytes:
    """Content that is not the one that was summed up."""
    return pack_zip(files, zipfile.ZIP_STORED).replace(b"# tiny", b"# TINY", 1)


def zip_of_too_few(out: bytearray, directory: int, _: int) -> None:
    """Both headers announce a byte more than there is."""
    for offset in (22, directory + 24):
        struct.pack_into("<L", out, offset, struct.unpack_from("<L", out, offset)[0] + 1)


def zip64(files: Files, _: Path) -> bytes:
    """Sizes in an extra field."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    return out.getvalue()


def zip_comment(files: Files, _: Path) -> bytes:
    """Room for a second archive behind the first."""
    out = io.BytesIO(pack_zip(files))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"hello"
    return out.getvalue()


def folder(files: Files, path: Path) -> Path:
    """The files in a directory."""
    path.mkdir(exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def folder_with_link(files: Files, path: Path) -> Path:
    """One of the files is a link to a sound copy elsewhere."""
    made = folder(files, path / "made")
    (made / MODEL).rename(path / "elsewhere")
    (made / MODEL).symlink_to(path / "elsewhere")
    return made


def folder_with_pipe(files: Files, path: Path) -> Path:
    """One of the files is a pipe that nobody writes to."""
    made = folder(without(files, MODEL), path / "made")
    os.mkfifo(made / MODEL)
    return made


def pipe(_: Files, path: Path) -> Path:
    """The archive itself is one."""
    os.mkfifo(path / "bundle.tar")
    return path / "bundle.tar"


def swapped(files: Files, _: Path) -> bytes:
    """Every file is there, and two have each other's content."""
    return pack_tar({**files, MODEL: files[TOKENIZER], TOKENIZER: files[MODEL]})


def flipped(name: str) -> Maker:
    """One bit of one file is another one."""
    return lambda files, _: pack_tar(
        {**files, name: files[name][:-1] + bytes([files[name][-1] ^ 1])}
    )


def deep_manifest(files: Files, _: Path) -> bytes:
    """A hundred thousand brackets."""
    return pack_tar({**files, MANIFEST: b"[" * 100_000 + b"]" * 100_000})


def fat_folder(files: Files) -> bytes:
    """A folder that claims bytes of its own."""
    return member("bundle", b"5", size=9).tobuf(tarfile.USTAR_FORMAT) + pack_tar(files)


TAR: dict[str, tuple[Maker, str]] = {
    "traversal": (renamed(CARD, "../CARD.md"), "in one folder"),
    "traversal behind a folder": (renamed(CARD, "bundle/../CARD.md"), "in one folder"),
    "traversal by dots": (renamed(CARD, "../../../../tmp/CARD.md"), "in one folder"),
    "absolute path": (renamed(CARD, "/tmp/CARD.md"), "relative paths"),
    "root": (renamed(CARD, "/CARD.md"), "relative paths"),
    "backslashes": (renamed(CARD, "..\\CARD.md"), "expected only"),
    "symbolic link": (instead(MODEL, b"2", "/etc/passwd"), "a symbolic link"),
    "hard link": (instead(MODEL, b"1", MANIFEST), "a hard link"),
    "character device": (instead(CARD, b"3"), "a character device"),
    "block device": (instead(CARD, b"4"), "a block device"),
    "pipe in the archive": (instead(CARD, b"6"), "a pipe"),
    "sparse file": (instead(MODEL, b"S"), "a sparse file"),
    "contiguous file": (instead(MODEL, b"7"), "no known kind"),
    "long name": (gnu_long_name, "a GNU long name"),
    "long link": (instead(CARD, b"K"), "a GNU long link"),
    "pax path": (pax(path="../../evil"), "pax header"),
    "pax size": (pax(size="0"), "pax header"),
    "pax sparse": (pax(GNU__sparse__major="1"), "pax header"),
    "pax link": (pax(linkpath="/etc/passwd"), "pax header"),
    "pax for all": (instead(CARD, b"g"), "a global pax header"),
    "second manifest": (duplicate, "twice"),
    "other case": (renamed(MANIFEST, "Manifest.JSON"), "expected only"),
    "fullwidth letters": (renamed(MODEL, "ｍodel.onnx"), "plain file names"),  # noqa: RUF001
    "right-to-left mark": (renamed(MODEL, "model\u202e.onnx"), "plain file names"),
    "combining accent": (renamed(MODEL, "model\u0301.onnx"), "plain file names"),
    "line feed in a name": (renamed(MODEL, "model.onnx\n"), "plain file names"),
    "blank behind a name": (renamed(MODEL, "model.onnx "), "expected only"),
    "name behind a zero": (patched_header(20, b"../evil"), "short names"),
    "name in the prefix": (patched_header(345, b"/etc"), "short names"),
    "number in base 256": (patched_header(124, b"\x80" + bytes(10) + b"\x09"), "no number"),
    "negative size": (patched_header(124, b"\xff" * 12), "no number"),
    "wrong checksum": (patched_header(0, b"X", fix=False), "checksum"),
    "old header": (patched_header(257, bytes(8)), "expected an uncompressed tar"),
    "bomb by size": (patched_header(124, b"77777777777\x00"), "at most"),
    "cut in a file": (lambda files, _: pack_tar(files)[:700], "breaks off"),
    "cut between files": (lambda files, _: pack_tar({MANIFEST: b""})[:512], "breaks off"),
    "cut before the end": (
        lambda files, _: pack_tar(files).rstrip(b"\x00") + b"\x00",
        "breaks off",
    ),
    "cut in a header": (lambda files, _: pack_tar(files)[:100], "expected a tar or a zip"),
    "nothing": (lambda files, _: b"", "found 0 bytes"),
    "something behind the end": (lambda files, _: pack_tar(files) + b"evil", "follows its end"),
    "a tar behind the end": (lambda files, _: pack_tar(files) * 2, "follows its end"),
    "zeros without end": (lambda files, _: pack_tar(files) + bytes(3 << 20), "follows its end"),
    "archive in the archive": (
        lambda files, _: pack_tar({"bundle.tar": pack_tar(files)}),
        "expected only",
    ),
    "compressed": (
        lambda files, _: gzip.compress(pack_tar(files) + os.urandom(999)),
        "uncompressed",
    ),
    "not an archive": (lambda files, _: b"#!/bin/sh\n" * 100, "uncompressed tar"),
    "too many entries": (
        lambda files, _: pack_tar(files, [member("./", b"5")] * 100),
        "at most 32 entries",
    ),
    "folder in a folder": (
        lambda files, _: pack_tar({f"a/b/{name}": data for name, data in files.items()}),
        "in one folder",
    ),
    "two folders": (
        lambda files, _: pack_tar({f"{i % 2}/{n}": d for i, (n, d) in enumerate(files.items())}),
        "in one place",
    ),
    "folder with content": (
        lambda files, _: fat_folder(files),
        "regular files only",
    ),
}


ZIP: dict[str, tuple[Maker, str]] = {
    "zip traversal": (renamed_in_zip(CARD, "../CARD.md"), "in one folder"),
    "zip absolute path": (renamed_in_zip(CARD, "/etc/CARD.md"), "relative paths"),
    "zip link": (zip_symlink, "a link or a device"),
    "zip encrypted": (flag_everywhere(1), "encrypted"),
    "zip strongly encrypted": (flag_everywhere(0x41), "encrypted"),
    "zip bomb": (zip_bomb, "grows by more"),
    "zip of bzip2": (zip_bzip2, "compression method 12"),
    "zip duplicate": (zip_duplicate, "twice"),
    "zip64": (zip64, "contradict|at most|grows|damaged"),
    "zip with a comment": (zip_comment, "behind it"),
    "zip with garbage before": (lambda files, _: b"PK\x03\x04" + pack_zip(files), "damaged"),
    "zip with garbage behind": (lambda files, _: pack_zip(files) + b"evil", "behind it"),
    "zip cut off": (lambda files, _: pack_zip(files)[:-30], "behind it"),
    "zip cut short": (lambda files, _: pack_zip(files)[:20], "found 20 bytes|breaks off"),
    "zip local name": (patch("local", 30, "<B", ord("M")), "contradict"),
    "zip local size": (patch("local", 22, "<L", 5), "contradict"),
    "zip local checksum": (patch("local", 14, "<L", 5), "contradict"),
    "zip local method": (patch("local", 8, "<H", 0), "contradict"),
    "zip central size": (patch("central", 24, "<L", 5), "contradict"),
    "zip central offset": (patch("central", 42, "<L", 7), "gap or an overlap"),
    "zip central count": (patch("end", 10, "<H", 2), "damaged"),
    "zip on two disks": (patch("end", 4, "<H", 1), "damaged"),
    "zip with other bytes": (zip_of_other_bytes, "its size or its checksum"),
    "zip with too few bytes": (changed_zip(zip_of_too_few), "its size or its checksum"),
    "zip without end": (patch("end", 0, "<L", 0), "directory's end"),
    "zip with a file not listed": (zip_hidden, "gap|between|expected only"),
    "zip of too many": (
        lambda files, _: pack_zip({f"{i}": b"" for i in range(99)}),
        "at most 16 entries",
    ),
}

BUNDLE: dict[str, tuple[Maker, str]] = {
    "swapped files": (swapped, "bytes, found"),
    "wrong hash of the model": (flipped(MODEL), "expected sha256"),
    "wrong hash of the tokenizer": (flipped(TOKENIZER), "expected sha256"),
    "wrong hash of the self-test": (flipped(SELFTEST), "expected sha256"),
    "missing model": (lambda files, _: pack_tar(without(files, MODEL)), "cannot be read"),
    "missing manifest": (lambda files, _: pack_tar(without(files, MANIFEST)), "no manifest.json"),
    "extra file": (lambda files, _: pack_tar({**files, "run.sh": b"x"}), "expected only"),
    "python file": (lambda files, _: pack_tar({**files, "model.py": b"x"}), "expected only"),
    "weights beside the model": (
        lambda files, _: pack_tar({**files, "model.onnx_data": b"x"}),
        "expected only",
    ),
    "external data": (resealed(replace={MODEL: tiny_graph(external=True)}), "self-contained graph"),
    "nested protobuf": (resealed(replace={MODEL: nested_graph()}), "nested more than"),
    "no model": (resealed(replace={MODEL: b"MZ" * 500}), "expected an ONNX model"),
    "huge manifest": (
        lambda files, _: pack_tar({**files, MANIFEST: files[MANIFEST].ljust(2 << 20)}),
        "at most 1048576 bytes",
    ),
    "deep manifest": (deep_manifest, "cannot read the manifest|schema_version"),
    "manifest with NaN": (resealed(threshold=float("nan")), "threshold"),
    "manifest with a path": (manifest_with_a_path, "also ../evil"),
    "manifest of another schema": (resealed(schema_version=2), "schema_version"),
    "manifest with more fields": (resealed(evil=1), "evil"),
    "manifest that is a list": (lambda files, _: pack_tar({**files, MANIFEST: b"[]"}), "schema_v"),
    "manifest that is no UTF-8": (
        lambda files, _: pack_tar({**files, MANIFEST: b'{"\xff'}),
        "cannot read",
    ),
    "model for another CPU": (
        resealed(quantization={"recipe": "q", "target": "z80", "batch_invariant": True}),
        "z80",
    ),
    "link in a directory": (folder_with_link, "cannot read it as one"),
    "pipe in a directory": (folder_with_pipe, "regular files only"),
    "pipe for an archive": (pipe, "a pipe or a device"),
    "empty directory": (lambda files, path: path, "no manifest.json"),
    "no such path": (lambda files, path: path / "gone", "cannot read it"),
}
KINDS = {**TAR, **ZIP, **BUNDLE}

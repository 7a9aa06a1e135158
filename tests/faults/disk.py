"""A disk that keeps only what was synced: what a power cut leaves of the operations on a tape.

As strict as POSIX allows. Of what was written and not synced, any subset may survive, and the last
write only in part; a name that was made, changed or removed is durable once its directory is
synced, and until then only in the order in which it was asked for. After a sync that failed the
kernel believes its pages clean: what they held never reaches the disk, unless it is written again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.tape import Operation

__all__ = ["Disk"]

SECTOR_BYTES = 512
IGNORED = ("-shm", ".lock", "reserve")  # rebuilt, or without content


@dataclass(slots=True)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)

    def sync(self) -> None:
        for operation in self.pending:
            _apply(self.synced, operation)
        self.pending.clear()

    def after_cut(self, chance: random.Random, kept: float) -> bytes:
        content = bytearray(self.synced)
        for operation in self.pending:
            if chance.random() < kept:
                torn = chance.random() < 0.1
                _apply(content, _torn(operation, chance) if torn else operation)
        return bytes(content)


def _apply(content: bytearray, operation: Operation) -> None:
    if operation.call == "ftruncate":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
        return
    content.extend(bytes(max(0, operation.offset - len(content))))
    content[operation.offset : operation.offset + len(operation.data)] = operation.data


def _torn(operation: Operation, chance: random.Random) -> Operation:
    sectors = len(operation.data) // SECTOR_BYTES
    kept = operation.data[: chance.randint(0, sectors) * SECTOR_BYTES]
    return Operation(operation.call, operation.path, kept, operation.offset)


class Disk:
    """The files below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._names: dict[str, _File] = {}
        self._synced_names: dict[str, _File] = {}
        self._pending: list[tuple[str, _File | None]] = []

    def run(self, operations: Iterable[Operation]) -> None:
        """Do what is on the tape; what lies outside the directory is passed over."""
        for operation in operations:
            inside = f"{operation.path}/".startswith(f"{self._directory}/")
            if inside and not operation.path.endswith(IGNORED):
                self._do(operation)

    def _do(self, operation: Operation) -> None:
        path = operation.path
        match operation.call:
            case "openat" if operation.creates and path not in self._names:
                self._name(path, _File())
            case "pwrite64" | "ftruncate":
                self._names[path].pending.append(operation)
            case "fsync" | "fdatasync" if path in self._names:
                self._names[path].sync()
            case "fsync" | "fdatasync":
                self._sync_names(path)
            case "failed sync" if path in self._names:
                self._names[path].pending.clear()
            case "unlink" if path in self._names:
                self._name(path, None)
            case "rename":
                self._name(operation.data.decode(), self._names[path])
                self._name(path, None)

    def _name(self, path: str, file: _File | None) -> None:
        self._pending.append((path, file))
        _set(self._names, path, file)

    def _sync_names(self, directory: str) -> None:
        for path, file in self._pending:
            if str(Path(path).parent) == directory:
                _set(self._synced_names, path, file)
        self._pending = [item for item in self._pending if str(Path(item[0]).parent) != directory]

    def cut(self, chance: random.Random, target: Path) -> None:
        """Write into `target` what a power cut now may leave."""
        kept = chance.choice((0.0, 0.0, 0.5, 0.9, 1.0))
        names = dict(self._synced_names)
        for path, file in self._pending[: chance.randint(0, len(self._pending))]:
            _set(names, path, file)
        for path, file in names.items():
            place = target / Path(path).relative_to(self._directory)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.after_cut(chance, kept))


def _set(names: dict[str, _File], path: str, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file

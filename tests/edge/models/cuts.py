"""Takes the power away at every step of a store's work, many times over, and starts it again.

A program of its own, so that it may fork: `python -m tests.edge.models.cuts SCENARIO TIMES`; with
`--no-fsync` behind it, the disk forgets what it was told to keep, and faults must be found.
Each change of the disk is one step. Before or after it the process kills itself, and what was not
fsynced may be lost: files shrink, and the latest names are taken back, as a journal's replay would.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge.bundle import CARD, read_bundle
from edge.models.recovery import recover
from edge.models.tarball import pack_tar
from edge.models.versions import VersionStore
from tests.edge.models.bundles import make_bundle

MEMORY = Path("/dev/shm")
REAL = {
    name: getattr(os, name)
    for name in (
        "open", "write", "fsync", "fchmod", "mkdir", "rename", "replace", "unlink", "symlink",
        "rmdir",
    )
}  # fmt: skip
CHANGES = ("write", "fsync", "fchmod", "mkdir", "rename", "replace", "unlink", "symlink", "rmdir")


class Disk:
    """Stands between the program and the disk, until the power goes at the n-th step."""

    def __init__(self, at: int, seed: int, backups: Path) -> None:
        self.random = random.Random(f"{at} {seed}")
        self.left, self.backups = at, backups
        self.cut_before = seed % 2 == 0
        self.dirty: dict[int, int] = {}
        self.undo: list[tuple[int, Callable[[], None]]] = []

    def plug_in(self) -> None:
        """From now on every change goes through here."""
        os.open = self._open
        for name in CHANGES:
            setattr(os, name, lambda *args, _name=name, **kw: self._change(_name, args, kw))

    def _open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if not flags & os.O_CREAT:
            return int(REAL["open"](path, flags, *args, **kwargs))
        fresh = not os.path.lexists(path)
        descriptor = self._step(lambda: REAL["open"](path, flags, *args, **kwargs))
        if fresh:
            self._remember(path, lambda: REAL["unlink"](path))
        return int(descriptor)

    def _change(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        undo = None if kwargs.get("dir_fd") is not None else self._plan_undo(name, args)
        result = self._step(lambda: REAL[name](*args, **kwargs))
        if undo:
            self._remember(args[1] if name in ("rename", "replace", "symlink") else args[0], undo)
        if name == "write":
            self.dirty.setdefault(os.fstat(args[0]).st_ino, os.dup(args[0]))
        if name == "fsync":
            inode = os.fstat(args[0]).st_ino
            self.dirty.pop(inode, None)
            self.undo = [entry for entry in self.undo if entry[0] != inode]
        return result

    def _remember(self, path: Any, undo: Callable[[], None]) -> None:
        self.undo.append((Path(path).parent.stat().st_ino, undo))

    def _plan_undo(self, name: str, args: tuple[Any, ...]) -> Callable[[], None] | None:
        """What takes this change back, prepared before it is made."""
        if name == "mkdir":
            return lambda: shutil.rmtree(args[0], ignore_errors=True)
        if name == "symlink":
            return lambda: REAL["unlink"](args[1])
        if name == "unlink" and os.path.lexists(args[0]):
            return self._keep(args[0])
        if name in ("rename", "replace"):
            restore = self._keep(args[1]) if os.path.lexists(args[1]) else lambda: None

            def back() -> None:
                REAL["rename"](args[1], args[0])
                restore()

            return back
        return None

    def _keep(self, path: Any) -> Callable[[], None]:
        """A second name for a file that is about to lose its own."""
        copy = self.backups / str(len(self.undo) + self.random.randrange(1 << 40))
        if Path(path).is_symlink():
            target = Path(path).readlink()
            return lambda: REAL["symlink"](target, path)
        os.link(path, copy)
        return lambda: REAL["rename"](copy, path)

    def _step(self, change: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and self.cut_before:
            self._cut()
        try:
            return change()
        finally:
            if self.left == 0:
                self._cut()

    def _cut(self) -> None:
        """Lose what the disk need not have kept, and die."""
        for name, real in REAL.items():
            setattr(os, name, real)
        for descriptor in self.dirty.values():
            size = os.fstat(descriptor).st_size
            with suppress(OSError):
                os.ftruncate(descriptor, self.random.randint(0, size))
        for _, undo in self.undo[::-1][: self.random.randint(0, len(self.undo))]:
            with suppress(OSError):
                undo()
        os.kill(os.getpid(), signal.SIGKILL)


class Bench:
    """Three bundles, and a store in a known state, made anew for every cut."""

    def __init__(self, root: Path) -> None:
        self.root, self.store_path = root, root / "store"
        child = os.fork()  # what making them loads would be copied by a thousand forks to come
        if child == 0:
            for name, version in VERSIONS.items():
                make_bundle(root / name, version)
            os._exit(0)
        os.waitpid(child, 0)
        self.digests = {name: read_bundle(root / name).digest for name in VERSIONS}

    def fresh(self, prepare: Callable[[VersionStore, Bench], None]) -> None:
        """The store as the scenario begins; made once, then copied."""
        template = self.root / "template"
        if not template.exists():
            store = VersionStore(template)
            recover(store, self.root / "configured")
            prepare(store, self)
        shutil.rmtree(self.store_path, ignore_errors=True)
        shutil.copytree(template, self.store_path, symlinks=True, copy_function=os.link)

    def store(self) -> VersionStore:
        """The store."""
        return VersionStore(self.store_path)


VERSIONS = {"configured": "0", "a": "1", "b": "2"}


class Tape:
    """A tar, as a stream."""

    def __init__(self, folder: Path) -> None:
        self._data = b"".join(pack_tar(folder))

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        part, self._data = self._data[:size], self._data[size:]
        return part


def serve_a(store: VersionStore, bench: Bench) -> None:
    """A is committed and served."""
    store.install(bench.root / "a")
    store.begin(bench.digests["a"])
    store.commit()


def hold_b(store: VersionStore, bench: Bench) -> None:
    """A is served, B is installed."""
    serve_a(store, bench)
    store.install(bench.root / "b")


def try_b(store: VersionStore, bench: Bench) -> None:
    """B is on probation, A is the last good one."""
    hold_b(store, bench)
    store.begin(bench.digests["b"])


def try_b_in_vain(store: VersionStore, bench: Bench) -> None:
    """B had its tries."""
    try_b(store, bench)
    for _ in range(2):
        recover(store, bench.root / "configured")


def serve_b(store: VersionStore, bench: Bench) -> None:
    """B is committed, A is the previous one."""
    try_b(store, bench)
    store.commit()


def damage_b(store: VersionStore, bench: Bench) -> None:
    """A is served, B is installed and damaged."""
    hold_b(store, bench)
    card = store.directory / "versions" / bench.digests["b"] / CARD
    card.chmod(0o600)
    card.write_text("")


SCENARIOS: dict[str, tuple[Any, Any, set[str]]] = {
    # name: (how it begins, what is cut, what may be served afterwards)
    "install": (serve_a, lambda s, b: s.install(Tape(b.root / "b")), {"a"}),
    "repair": (damage_b, lambda s, b: s.install(b.root / "b"), {"a"}),
    "begin": (hold_b, lambda s, b: s.begin(b.digests["b"]), {"a", "b"}),
    "first": (
        lambda s, b: s.install(b.root / "a"),
        lambda s, b: s.begin(b.digests["a"]),
        {"configured", "a"},
    ),
    "commit": (try_b, lambda s, b: s.commit(), {"b"}),
    "fall back": (try_b, lambda s, b: s.rollback(), {"a", "b"}),
    "roll back": (serve_b, lambda s, b: s.rollback(), {"a", "b"}),
    "release": (serve_b, lambda s, b: s.begin(None), {"configured", "b"}),
    "give up": (try_b_in_vain, lambda s, b: recover(s, b.root / "configured"), {"a"}),
    "remove": (serve_b, lambda s, b: s.remove(b.digests["a"]), {"b"}),
}


REPEATABLE = ("install", "repair", "begin", "first")


def run_cut(bench: Bench, name: str, at: int, seed: int, faults: list[str]) -> bool:
    """Do the work in a child whose power goes at step `at`, and start again; False: it was done."""
    prepare, work, _ = SCENARIOS[name]
    bench.fresh(prepare)
    backups = bench.root / "backups"
    shutil.rmtree(backups, ignore_errors=True)
    backups.mkdir()
    child = os.fork()
    if child == 0:
        try:
            store = bench.store()
            Disk(at, seed, backups).plug_in()
            work(store, bench)
            os._exit(0)
        finally:
            os._exit(70)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"{name}: step {at} ended with status {os.WEXITSTATUS(status)}")
    if not os.WIFSIGNALED(status):
        return False
    if fault := find_fault(bench, name, again=seed < 2):
        faults.append(f"step {at}, seed {seed}: {fault}")
    return True


def find_fault(bench: Bench, name: str, again: bool) -> str | None:
    """Start again, and say what is wrong with what is found; None if nothing is.

    With `again`, a second start must find the same, and what was interrupted must go through.
    """
    prepare, work, allowed = SCENARIOS[name]
    store = bench.store()
    initial = VersionStore(bench.root / "template").current()
    start = recover(store, bench.root / "configured")  # reads and verifies every file
    names = {digest: key for key, digest in bench.digests.items()}
    if names[start.bundle.digest] not in allowed:
        return f"{names[start.bundle.digest]} is served"
    if name in ("begin", "first") and start.digest != initial and not start.on_probation:
        return "a model is served that nobody vouched for"
    left = [path.name for path in (bench.store_path / "incoming").iterdir()]
    left += [path.name for path in bench.store_path.iterdir() if path.name.endswith(".new")]
    if left:
        return f"left behind: {left}"
    for version in store.versions():
        if version.manifest is None and prepare is not damage_b:
            return f"half a version: {version.problem}"
    if start.notes and name != "give up":
        return f"put right: {start.notes}"
    if again:
        if recover(store, bench.root / "configured").digest != start.digest:
            return "the second start serves another model"
        if name in REPEATABLE:
            work(store, bench)
    return None


def main(name: str, times: int, fsync: bool) -> None:
    """Cut at every step, and print what was found as JSON."""
    if not fsync:
        REAL["fsync"] = lambda descriptor: None
        Disk._change = _forgetful(Disk._change)  # type: ignore[method-assign]
    cuts, steps = 0, 0
    faults: list[str] = []
    memory = MEMORY if MEMORY.is_dir() else None  # a thousand real fsyncs take minutes
    with tempfile.TemporaryDirectory(prefix="cuts-", dir=memory) as folder:
        bench = Bench(Path(folder))
        gc.collect()
        gc.freeze()  # a thousand forks copy what the collector touches
        while not faults:
            cut = [seed for seed in range(times) if run_cut(bench, name, steps + 1, seed, faults)]
            if not cut:
                break
            steps, cuts = steps + 1, cuts + len(cut)
    sys.stdout.write(json.dumps({"steps": steps, "cuts": cuts, "faults": faults[:5]}))


def _forgetful(change: Callable[..., Any]) -> Callable[..., Any]:
    """A disk whose fsync does nothing: the negative control."""

    def forget(self: Disk, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return None if name == "fsync" else change(self, name, args, kwargs)

    return forget


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), fsync="--no-fsync" not in sys.argv)

"""How much memory there is for a model, and how what a model leaves goes back to the kernel.

It reads the kernel's files; who may use the memory is decided elsewhere.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "WEIGHT_BYTES",
    "free_bytes",
    "keep_out_of_collections",
    "limit_arenas",
    "needed_bytes",
    "release_memory",
    "resident_bytes",
    "weights_apart",
]

ROOT = Path("/")
# Measured 2026-11-22 in the trial's child: 22 MB of starter peaked at 137 MB, 393 MB of int8 BART
# at 1272 MB with a full window and four labels; less since long rows go one to a run (edge.batch).
BASE_BYTES = 128 << 20
PEAK_FACTOR = 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's mallopt(3)
ARENAS = 2
WEIGHT_BYTES = 256 << 10  # larger blocks are weights while a model is loaded
MOST_MMAP_BYTES = 32 << 20  # what glibc's own adjustment comes to
UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a number near 2^63


def needed_bytes(bundle_bytes: int) -> int:
    """An upper estimate of what a process needs that loads a bundle of this size and uses it."""
    return BASE_BYTES + PEAK_FACTOR * bundle_bytes


def free_bytes(root: Path = ROOT) -> int:
    """What can be had without swapping: the kernel's estimate, within every control group's limit.

    Args:
        root: Where `proc` and `sys` lie.
    """
    rooms = [room for group in _groups(root) if (room := _room(group)) is not None]
    return max(0, min([_available(root), *rooms]))


def resident_bytes(pid: int | None = None) -> int:
    """Physical memory of a process, this one by default; 0 where the kernel does not tell."""
    try:
        pages = Path(f"/proc/{pid or 'self'}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def limit_arenas() -> None:
    """Let all threads share a few pools of memory; call it before there are threads.

    Each thread has a pool of its own otherwise, and a model's remains are scattered over them: a
    process of 152 MB came back from three swaps to 153 to 170 MB, with this to 152 to 164
    (measured 2026-11-23).
    """
    _mallopt(M_ARENA_MAX, ARENAS)


@contextmanager
def weights_apart() -> Iterator[None]:
    """Keep the weights that are loaded meanwhile out of the pools, so that all of them can go back.

    glibc does so with large blocks until the first is freed. Later models lie in the pools, between
    what stays: after three swaps the starter took 153 to 164 MB, with this 151 to 156 (measured
    2026-11-28). A run's blocks are pooled in any case: fresh pages would cost it time.
    """
    _mallopt(M_MMAP_THRESHOLD, WEIGHT_BYTES)
    try:
        yield
    finally:
        _mallopt(M_MMAP_THRESHOLD, MOST_MMAP_BYTES)
        _mallopt(M_TRIM_THRESHOLD, 2 * MOST_MMAP_BYTES)


def keep_out_of_collections() -> None:
    """Free what is unreachable, and look no more through what is left: at the start, it stays."""
    gc.collect()
    gc.freeze()


def release_memory(is_model: bool = False) -> None:
    """Collect what is unreachable, and give free pages back.

    glibc keeps them otherwise: 298 MB stayed after a swap, 157 MB with this (measured 2026-11-22).

    Args:
        is_model: A model was let go, which may have been there since the start.
    """
    if is_model:
        gc.unfreeze()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _mallopt(name: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(name, value)


def _available(root: Path) -> int:
    """MemAvailable; without it (before Linux 3.14) nothing is known, so nothing is refused."""
    try:
        lines = (root / "proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return UNLIMITED
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(next(found, UNLIMITED >> 10)) << 10


def _groups(root: Path) -> list[Path]:
    """This process's control groups for memory, and their parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    paths: list[Path] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            relative = Path(group.lstrip("/"))
            mount = root / "sys/fs/cgroup" / ("memory" if controllers else "")
            paths += [mount / part for part in (relative, *relative.parents)]
    return paths


def _room(group: Path) -> int | None:
    """Bytes left in one group; what it holds of files that can be read again counts as free."""
    names = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    for limit_name, usage_name in names:
        limit, usage = _number(group / limit_name), _number(group / usage_name)
        if limit is not None and usage is not None and limit < UNLIMITED:
            return limit - usage + _reclaimable(group)
    return None


def _reclaimable(group: Path) -> int:
    try:
        lines = (group / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return 0
    found = (line.split()[1] for line in lines if line.startswith("inactive_file "))
    return int(next(found, 0))


def _number(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max" is no number

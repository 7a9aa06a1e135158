"""`edge.memory` on a made-up /proc and /sys, and on the real ones."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from edge.memory import (
    free_bytes,
    keep_out_of_collections,
    needed_bytes,
    release_memory,
    resident_bytes,
)
from tests.daemons import ROOT

GIB = 1 << 30


def machine(root: Path, available: int, **files: str) -> Path:
    """A machine with so many bytes free, in the control group /a/b."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {available >> 10} kB\n")
    (root / "proc/self/cgroup").write_text("0::/a/b\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("-", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_a_limit_it_is_the_kernels_estimate(tmp_path: Path) -> None:
    """`max` is no number."""
    limits = {"a__b__memory-max": "max\n", "a__b__memory-current": "5\n"}
    assert free_bytes(machine(tmp_path, 3 * GIB, **limits)) == 3 * GIB


@pytest.mark.parametrize("group", ["a__b", "a"])
def test_limit_of_any_parent_counts(tmp_path: Path, group: str) -> None:
    """What can be dropped from the page cache counts as free."""
    limits = {
        f"{group}__memory-max": str(2 * GIB),
        f"{group}__memory-current": str(2 * GIB - 100),
        f"{group}__memory-stat": "anon 7\ninactive_file 50\n",
    }
    assert free_bytes(machine(tmp_path, 3 * GIB, **limits)) == 150


def test_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    """As on older NAS kernels, where "no limit" is a number near 2^63."""
    root = machine(tmp_path, 3 * GIB)
    (root / "proc/self/cgroup").write_text("4:memory:/x\n3:cpu:/y\n")
    for path, limit in (("x", GIB), ("", (1 << 63) - 4096)):
        group = root / "sys/fs/cgroup/memory" / path
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (group / "memory.usage_in_bytes").write_text("1024\n")
    assert free_bytes(root) == GIB - 1024


def test_unknown_machine_refuses_nothing(tmp_path: Path) -> None:
    """Without the kernel's files nobody can say that it is too small."""
    assert free_bytes(tmp_path) > needed_bytes(2 * GIB)


def test_real_numbers_are_plausible() -> None:
    """More than a megabyte, and the estimate covers what was measured."""
    assert resident_bytes() > 1 << 20
    assert free_bytes() > 1 << 20
    assert needed_bytes(393 << 20) >= 1272 << 20
    assert needed_bytes(22 << 20) >= 137 << 20


def test_freed_memory_goes_back() -> None:
    """Many small pieces, which glibc would keep."""
    before = resident_bytes()
    pieces = [bytearray(900) for _ in range(100_000)]
    full = resident_bytes()
    del pieces
    release_memory()
    assert resident_bytes() < before + (full - before) / 2


class Ring:
    """Something that only a collection frees, as a model is whose parts know it."""

    def __init__(self) -> None:
        self.me = self


def test_what_was_there_at_the_start_goes_with_its_model() -> None:
    """No collection looks through it until then."""
    ring = Ring()
    alive = weakref.ref(ring)
    keep_out_of_collections()
    del ring
    release_memory()
    assert alive() is not None
    release_memory(is_model=True)
    assert alive() is None


LOAD = """
import sys
from contextlib import nullcontext
from edge.memory import WEIGHT_BYTES, resident_bytes, weights_apart

block = bytearray(16 << 20)
del block  # from now on blocks of this size come from a pool
with weights_apart() if sys.argv[1] == "apart" else nullcontext():
    weights = [bytearray(WEIGHT_BYTES) for _ in range(200)]
above = [bytearray(1000) for _ in range(1000)]
full = resident_bytes()
del weights
print(round((full - resident_bytes()) / (200 * WEIGHT_BYTES), 1))
"""


@pytest.mark.parametrize(("how", "share"), [("apart", 1.0), ("pooled", 0.0)])
def test_weights_go_back_at_once_whatever_was_freed_before(how: str, share: float) -> None:
    """In a process whose pools are still empty, as at a start; the other case is what would be."""
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, how], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert float(done.stdout) == pytest.approx(share, abs=0.2)

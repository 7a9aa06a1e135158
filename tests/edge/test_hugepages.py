"""`edge.hugepages` on a made-up /proc and /sys, and on the real ones."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge import hugepages
from edge.hugepages import _regions_in_use, use_huge_pages, use_huge_pages_soon

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SMAPS = """\
10000000-10400000 rw-p 00000000 00:00 0
Size:               4096 kB
Anonymous:          4096 kB
20000000-20400000 rw-p 00000000 00:00 0
Anonymous:          1024 kB
30000000-30400000 rw-p 00000000 00:00 0                                  [heap]
Anonymous:          4096 kB
40000000-40400000 r--p 00000000 00:00 0
Anonymous:          4096 kB
50000000-50400000 rw-p 00000000 08:01 77                                 /a file (deleted)
Anonymous:          4096 kB
60000000-60400000 rw-p 00000000 00:00 0
Anonymous:          3800 kB
VmFlags: rd wr mr mw me ac
"""
FILL = """
import mmap  # numpy asks for huge pages by itself
from edge.hugepages import use_huge_pages
weights = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
weights.write(bytes([1]) * len(weights))
asked = use_huge_pages()
rollup = open("/proc/self/smaps_rollup").read()
print(asked, rollup.partition("AnonHugePages:")[2].split()[0], sum(weights[:]))
"""


def test_only_full_blocks_of_our_own_are_chosen() -> None:
    """No stack, which is nearly empty; no heap, which comes and goes; nothing of a file."""
    found = list(_regions_in_use(SMAPS.splitlines()))

    assert found == [(0x10000000, 0x10400000), (0x60000000, 0x60400000)]


def test_a_kernel_without_them_is_left_alone(tmp_path: Path) -> None:
    """As are those whose files cannot be read."""
    assert use_huge_pages(tmp_path) == 0


def test_full_blocks_come_to_lie_on_huge_pages() -> None:
    """At once, and nothing in them changes."""
    if not SWITCH.exists() or "[never]" in SWITCH.read_text():
        pytest.skip("this kernel uses no huge pages")
    done = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, check=True)
    asked, huge_kb, total = map(int, done.stdout.split())

    assert total == 16 << 20
    assert asked >= 8 << 20
    if kernel() >= (6, 1):
        assert huge_kb >= 8 << 10


def kernel() -> tuple[int, ...]:
    """Version of the running kernel, as far as two numbers."""
    release = Path("/proc/sys/kernel/osrelease").read_text()
    return tuple(int(part) for part in release.split("-")[0].split(".")[:2])


def test_it_is_done_once_the_start_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread of its own, which keeps no process from ending."""
    done = threading.Event()
    daemonic: list[bool] = []
    monkeypatch.setattr(hugepages, "SOON_S", 0.0)

    def note() -> None:
        daemonic.append(threading.current_thread().daemon)
        done.set()

    monkeypatch.setattr(hugepages, "use_huge_pages", note)
    use_huge_pages_soon()

    assert done.wait(10)
    assert daemonic == [True]

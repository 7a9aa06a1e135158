"""What this machine may compute with: physical cores, cgroup quota, CPU flags.

It reads the kernel's files and runs nothing; what follows from them is the runtime's business.
"""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Cpu", "default_threads", "read_cpu"]

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Cpu:
    """The CPU as the kernels of the runtime see it."""

    model: str
    machine: str
    """`x86_64`, `aarch64`, …"""
    flags: frozenset[str]

    @property
    def has_vnni(self) -> bool:
        """Whether int8 products are summed in 32 bits, so that nothing saturates."""
        return bool(self.flags & {"avx512_vnni", "avx_vnni", "avx512vnni"})

    @property
    def saturates_int8(self) -> bool:
        """Whether unsigned × signed int8 products overflow 16 bits: AVX2 without VNNI, only.

        Source: measured with qemu, onnxruntime 1.32, 2026-11-22: MatMulInteger gave 1,048,544 for
        2,072,640 on a Haswell; CPUs without AVX2 and CPUs with VNNI were exact.
        """
        return "avx2" in self.flags and not self.has_vnni


@cache
def read_cpu(root: Path = ROOT) -> Cpu:
    """The CPU of this machine; unknown parts are empty. `root` is where `proc` lies."""
    try:
        text = (root / "proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        text = ""
    fields = dict(_field(line) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    flags = fields.get("flags") or fields.get("Features") or ""
    return Cpu(
        model=fields.get("model name") or platform.processor() or "unknown",
        machine=platform.machine(),
        flags=frozenset(flags.split()),
    )


def default_threads(root: Path = ROOT) -> int:
    """Threads for one model run: physical cores this process may use, within its cgroup's quota.

    Hyper-threads do not help a matrix product, and a quota of half a core makes a second thread
    wait for the first. `root` is where `proc` and `sys` lie.
    """
    physical = len({_core_of(cpu, root) for cpu in os.sched_getaffinity(0)})
    quota = _cgroup_quota_cpus(root)
    return max(1, min(physical, math.ceil(quota) if quota else physical))


def _core_of(cpu: int, root: Path) -> str:
    """The siblings that share this CPU's core; the CPU itself where the kernel does not say."""
    siblings = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return siblings.read_text("ascii").strip()
    except OSError:
        return str(cpu)


def _cgroup_quota_cpus(root: Path) -> float | None:
    """CPUs granted by cgroup v2 (`cpu.max`) or v1 (`cfs_quota`); None if unlimited.

    A parent's quota binds its children, so the smallest on the way up counts.
    """
    quotas = [quota for path in _cgroup_paths(root) if (quota := _quota_at(path))]
    return min(quotas, default=None)


def _cgroup_paths(root: Path) -> list[Path]:
    """This process's control groups and their parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    paths: list[Path] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        relative = Path(group.lstrip("/"))
        paths += [mount / part for part in (relative, *relative.parents)]
    return paths


def _quota_at(path: Path) -> float | None:
    try:
        quota, period = (path / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            quota = (path / "cpu.cfs_quota_us").read_text("ascii").strip()
            period = (path / "cpu.cfs_period_us").read_text("ascii").strip()
        except (OSError, ValueError):
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max" (v2) and -1 (v1) mean no limit
    return int(quota) / int(period)


def _field(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()

"""`edge.cpu` on file trees that look like other machines'."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge.cpu import Cpu, default_threads, read_cpu

X86 = """processor\t: 0
model name\t: Celeron of the NAS
flags\t\t: fpu sse4_2 avx avx2 avx_vnni

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp\n"


class FakeMachine:
    """A root directory with the kernel's files, and a set of CPUs that this process may use."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._monkeypatch = monkeypatch

    def write(self, path: str, content: str) -> None:
        """One of the kernel's files."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")

    def allow(self, cpus: Iterable[int]) -> None:
        """Let this process use these CPUs."""
        allowed = set(cpus)
        self._monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: allowed)

    def pair(self, cores: Iterable[tuple[int, ...]]) -> None:
        """Make these CPUs share a core."""
        for siblings in cores:
            for cpu in siblings:
                path = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
                self.write(path, ",".join(map(str, siblings)) + "\n")

    @property
    def threads(self) -> int:
        """What the module makes of it."""
        return default_threads(self.root)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """Eight CPUs and no file at all."""
    fake = FakeMachine(tmp_path, monkeypatch)
    fake.allow(range(8))
    return fake


def test_without_any_file_every_allowed_cpu_is_a_core(machine: FakeMachine) -> None:
    """Where the kernel says nothing, the affinity is all there is."""
    assert machine.threads == 8


def test_hyper_threads_count_once(machine: FakeMachine) -> None:
    """Eight CPUs on four cores make four threads."""
    machine.pair([(0, 4), (1, 5), (2, 6), (3, 7)])

    assert machine.threads == 4


def test_an_affinity_smaller_than_the_machine_counts(machine: FakeMachine) -> None:
    """A cpuset of two siblings and one more CPU is two cores."""
    machine.pair([(0, 4), (1, 5), (2, 6), (3, 7)])
    machine.allow({0, 4, 2})

    assert machine.threads == 2


@pytest.mark.parametrize(
    ("quota", "threads"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("1600000 100000", 8),
        ("garbage", 8),
        ("", 8),
        ("100000 0", 8),
    ],
)
def test_the_quota_of_cgroup_v2_bounds_the_threads(
    machine: FakeMachine, quota: str, threads: int
) -> None:
    """A part of a CPU still needs a thread; no quota, or an odd one, bounds nothing."""
    machine.write("proc/self/cgroup", "0::/system.slice/intentd.service\n")
    machine.write("sys/fs/cgroup/system.slice/intentd.service/cpu.max", quota + "\n")

    assert machine.threads == threads


@pytest.mark.parametrize("group", ["", "a", "a/b", "a/b/c"])
def test_a_parents_quota_binds_too(machine: FakeMachine, group: str) -> None:
    """The smallest quota on the way up counts."""
    machine.write("proc/self/cgroup", "0::/a/b/c\n")
    for other in ("", "a", "a/b", "a/b/c"):
        quota = "300000 100000" if other == group else "600000 100000"
        machine.write(f"sys/fs/cgroup/{other}/cpu.max", quota)

    assert machine.threads == 3


def test_a_container_sees_its_own_quota_at_the_root(machine: FakeMachine) -> None:
    """With a cgroup namespace, the group is called `/`."""
    machine.write("proc/self/cgroup", "0::/\n")
    machine.write("sys/fs/cgroup/cpu.max", "100000 100000\n")

    assert machine.threads == 1


@pytest.mark.parametrize(("quota", "threads"), [("250000", 3), ("-1", 8), ("odd", 8)])
def test_the_quota_of_cgroup_v1_bounds_the_threads(
    machine: FakeMachine, quota: str, threads: int
) -> None:
    """Older kernels and NAS systems mount the cpu controller by itself; -1 means no limit."""
    lines = "12:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n"
    machine.write("proc/self/cgroup", lines)
    machine.write("sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", quota + "\n")
    machine.write("sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n")

    assert machine.threads == threads


def test_other_controllers_groups_are_not_the_cpus(machine: FakeMachine) -> None:
    """`cpuset` is not `cpu`: only a whole name in the list counts."""
    machine.write("proc/self/cgroup", "4:cpuset,memory:/docker/1\n")
    machine.write("sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "100000")
    machine.write("sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000")

    assert machine.threads == 8


def test_there_is_always_one_thread_on_this_machine_too() -> None:
    """The real files of the machine that runs the tests."""
    assert 1 <= default_threads() <= len(os.sched_getaffinity(0))


def test_the_first_processor_of_cpuinfo_speaks_for_all(machine: FakeMachine) -> None:
    """Model and flags come from the first block."""
    machine.write("proc/cpuinfo", X86)

    cpu = read_cpu(machine.root)

    assert cpu.model == "Celeron of the NAS"
    assert cpu.flags == {"fpu", "sse4_2", "avx", "avx2", "avx_vnni"}


def test_arm_calls_its_flags_features(machine: FakeMachine) -> None:
    """ARM kernels name neither a model nor flags."""
    machine.write("proc/cpuinfo", ARM)

    cpu = read_cpu(machine.root)

    assert cpu.flags == {"fp", "asimd", "asimddp"}
    assert cpu.model


def test_without_cpuinfo_the_flags_are_unknown(machine: FakeMachine) -> None:
    """An unknown CPU gets no special treatment, and stops nothing."""
    cpu = read_cpu(machine.root)

    assert cpu.flags == frozenset()
    assert not cpu.saturates_int8


@pytest.mark.parametrize(
    ("flags", "has_vnni", "saturates"),
    [
        ("", False, False),
        ("sse4_2", False, False),
        ("avx", False, False),
        ("avx avx2", False, True),
        ("avx avx2 avx512f avx512bw", False, True),
        ("avx avx2 avx_vnni", True, False),
        ("avx avx2 avx512f avx512_vnni", True, False),
        ("avx avx2 avx512vnni", True, False),
        ("fp asimd asimddp", False, False),
    ],
)
def test_only_avx2_without_vnni_saturates(flags: str, has_vnni: bool, saturates: bool) -> None:
    """The one class of CPU on which unsigned × signed int8 overflows 16 bits."""
    cpu = Cpu("some", "x86_64", frozenset(flags.split()))

    assert (cpu.has_vnni, cpu.saturates_int8) == (has_vnni, saturates)

"""Cgroups of a machine, on directories that look like each version's hierarchies."""

from __future__ import annotations

from pathlib import Path

from twinplane.cloud.machines import cgroups
from twinplane.dataplane.node import cgroups as within

GROUP = "/twinplane/0a1b2c/i-1"


def v1(top: Path) -> Path:
    """cpu, memory and cpuset hierarchies, and the mounts that show them."""
    for name in ("cpu", "memory", "cpuset"):
        (top / name).mkdir()
    (top / "cpuset/cpuset.cpus").write_text("0-1\n")
    (top / "cpuset/cpuset.mems").write_text("0\n")
    for part in ("twinplane", "twinplane/0a1b2c", "twinplane/0a1b2c/i-1", "twinplane/0a1b2c/i-1/system"):
        (top / "cpuset" / part).mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            (top / "cpuset" / part / file).write_text("\n")
    mounts = top / "mounts"
    rows = [f"cgroup {top / name} cgroup rw,relatime,{name} 0 0" for name in ("cpu", "memory", "cpuset")]
    mounts.write_text("\n".join(["/dev/vda / ext4 rw 0 0", *rows]))
    return mounts


def test_version_1_has_limits_in_each_hierarchy(tmp_path: Path) -> None:
    mounts = v1(tmp_path)
    cgroups.make(GROUP, 2, 4096, mounts)
    assert (tmp_path / "cpu" / GROUP[1:] / "cpu.cfs_quota_us").read_text() == "200000"
    assert (tmp_path / "memory" / GROUP[1:] / "memory.limit_in_bytes").read_text() == str(4096 << 20)
    assert (tmp_path / "cpuset" / GROUP[1:] / "system/cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "memory" / GROUP[1:] / "system").is_dir()


def test_version_2_hands_its_controllers_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")
    cgroups.make(GROUP, 4, 1024, mounts)
    machine = tmp_path / GROUP[1:]
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +cpu +io +memory +pids"
    assert (machine / "cgroup.subtree_control").exists()
    assert not (machine / "system/cgroup.subtree_control").exists()
    assert (machine / "cpu.max").read_text() == "400000 100000"
    assert (machine / "memory.max").read_text() == str(1024 << 20)


def test_the_group_goes_with_all_below_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(f"cgroup {tmp_path}/pids cgroup rw,pids 0 0\n")
    cgroups.make(GROUP, 1, 1, mounts)
    other = tmp_path / "pids/twinplane/0a1b2c/i-2"
    other.mkdir()
    (tmp_path / "pids" / GROUP[1:] / "kubepods/podx/container").mkdir(parents=True)
    cgroups.remove(GROUP, mounts)
    assert not (tmp_path / "pids" / GROUP[1:]).exists()
    assert other.is_dir()
    other.rmdir()
    cgroups.remove(GROUP, mounts)
    assert (tmp_path / "pids").is_dir()
    assert not (tmp_path / "pids/twinplane").exists()


def test_the_machine_reads_the_same_mounts(tmp_path: Path) -> None:
    mounts = v1(tmp_path).read_text()
    assert within.hierarchies(mounts) == [tmp_path / name for name in ("cpu", "memory", "cpuset")]
    assert within.SYSTEM == cgroups.SYSTEM

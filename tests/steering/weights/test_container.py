"""A container's limits, as both versions of control groups write them, and in a real group."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from trimtab.steering.weights import container
from trimtab.steering.weights.container import cores, memory, use_no_more_threads_than_cores

GB = 10**9


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 cores and 256 GB, 200 of them free."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    there = psutil.virtual_memory()._replace(total=256 * GB, available=200 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: there)


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_without_a_container_it_is_the_machine(tmp_path: Path) -> None:
    assert memory(tmp_path) == (256 * GB, 200 * GB) and cores(tmp_path) == 64
    unlimited = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice",
            "sys/fs/cgroup/user.slice/memory.max": "max",
            "sys/fs/cgroup/user.slice/memory.current": 5 * GB,
            "sys/fs/cgroup/user.slice/cpu.max": "max 100000",
        },
    )
    assert memory(unlimited) == (256 * GB, 200 * GB) and cores(unlimited) == 64


@pytest.mark.parametrize("quota, expected", [("200000 100000", 2), ("50000 100000", 1)])
def test_the_second_version_as_a_container_sees_itself(
    tmp_path: Path, quota: str, expected: int
) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": 8 * GB,
            "sys/fs/cgroup/memory.current": 5 * GB,
            "sys/fs/cgroup/memory.stat": f"anon {2 * GB}\ninactive_file {3 * GB}\nactive_file 7",
            "sys/fs/cgroup/cpu.max": quota,
        },
    )
    assert memory(root) == (8 * GB, 6 * GB) and cores(root) == expected


def test_the_first_version_named_as_the_host_names_it(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "7:cpu,cpuacct:/docker/ab12\n4:memory:/docker/ab12\n1:pids:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 4 * GB,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 3 * GB,
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB}",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 250000,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
        },
    )
    assert memory(root) == (4 * GB, 2 * GB) and cores(root) == 3
    tree(
        tmp_path,
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
        },
    )
    assert memory(root) == (256 * GB, 200 * GB) and cores(root) == 64


def test_a_limit_around_the_own_group_counts(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/one",
            "sys/fs/cgroup/pod/memory.max": 6 * GB,
            "sys/fs/cgroup/pod/memory.current": 7 * GB,
            "sys/fs/cgroup/pod/cpu.max": "400000 100000",
            "sys/fs/cgroup/pod/one/memory.max": "max",
            "sys/fs/cgroup/pod/one/cpu.max": "800000 100000",
        },
    )
    assert memory(root) == (6 * GB, 0) and cores(root) == 4


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    "set_by, at_first, expected",
    [({}, 8, 2), ({}, 1, 1), ({"OMP_NUM_THREADS": "8"}, 8, 8), ({"MKL_NUM_THREADS": "8"}, 8, 8)],
)
def test_no_more_threads_than_cores_unless_somebody_says_how_many(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_by: dict[str, str],
    at_first: int,
    expected: int,
) -> None:
    for name in container._THREADS_SET_BY:
        monkeypatch.delenv(name, raising=False)
    for name, value in set_by.items():
        monkeypatch.setenv(name, value)
    torch.set_num_threads(at_first)
    use_no_more_threads_than_cores(
        tree(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"})
    )
    assert torch.get_num_threads() == expected


_IN_A_GROUP = """
import sys
from pathlib import Path
for group in sys.argv[1:]:
    Path(group, "cgroup.procs").write_text("0")
from trimtab.steering.weights.container import cores, memory
print(cores(), memory().total)
"""


def test_in_a_real_group() -> None:
    """Limits that the kernel itself enforces."""
    top = Path("/sys/fs/cgroup")
    first = (top / "cpu/cpu.cfs_quota_us").exists() and (top / "memory").is_dir()
    made = []
    try:
        names = ("cpu", "memory") if first else (".",)
        made = [top / name / f"trimtab-{os.getpid()}" for name in names]
        for group in made:
            group.mkdir()
        if first:
            (made[0] / "cpu.cfs_quota_us").write_text("100000")
            (made[1] / "memory.limit_in_bytes").write_text(str(2**31))
        else:
            (made[0] / "cpu.max").write_text("100000 100000")
            (made[0] / "memory.max").write_text(str(2**31))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    else:
        told = subprocess.run(
            [sys.executable, "-c", _IN_A_GROUP, *map(str, made)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.split() == ["1", str(2**31)]
    finally:
        for group in made:
            if group.is_dir():
                group.rmdir()

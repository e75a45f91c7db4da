"""What a process may use of its machine: cores and memory, a container's limits included.

A container with two cores and 4 GB sees all cores and all memory of its host. A thread for each of
those cores makes every pass many times as long, and memory that is free on the host alone gets the
process killed. Control groups say what the limits are (Linux; both of their versions).
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

_log = logging.getLogger(__name__)

_THREADS_SET_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class UsableMemory(NamedTuple):
    """Bytes that a process may use.

    Attributes:
        total: All there is, free or not.
        available: What it may still take; other processes' file caches count, since they give way.
    """

    total: int
    available: int


def memory(root: Path = Path("/")) -> UsableMemory:
    """The machine's, or what a container leaves of it.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    machine = psutil.virtual_memory()
    total, available = int(machine.total), int(machine.available)
    for group, names in _groups("memory", root):
        limit = _number(group / names.memory)
        if limit is None:
            continue
        used = _number(group / names.memory_used) or 0
        used -= _field(group / "memory.stat", names.file_cache)
        total, available = min(total, limit), min(available, max(limit - used, 0))
    return UsableMemory(total, available)


def cores(root: Path = Path("/")) -> int:
    """How many cores' time the process may use at once, at least 1.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    found = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    for group, names in _groups("cpu", root):
        share = _share(group, names)
        if share is not None:
            found = min(found, math.ceil(share))
    return max(found, 1)


def use_no_more_threads_than_cores(root: Path = Path("/")) -> None:
    """Let PyTorch multiply in as many threads as the process may use cores, if it has more.

    Nothing is changed where the environment says how many threads there are.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    may, threads = cores(root), torch.get_num_threads()
    if may < threads and not any(os.environ.get(name) for name in _THREADS_SET_BY):
        torch.set_num_threads(may)
        _log.info("%d threads in place of %d: this container may use so many cores", may, threads)


class _Names(NamedTuple):
    """What the files of a control group are called."""

    memory: str
    memory_used: str
    file_cache: str
    quota: str


_FIRST = _Names(
    "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "cpu.cfs_quota_us"
)
_SECOND = _Names("memory.max", "memory.current", "inactive_file", "cpu.max")


def _groups(controller: str, root: Path) -> Iterator[tuple[Path, _Names]]:
    """The groups that bound this process, its own and those around it."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        names = _FIRST if controllers else _SECOND
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        own = top / path.lstrip("/")
        if not own.is_dir():  # named as the host names it, where only the own group is to be seen
            own = top
        while True:
            yield own, names
            if own == top:
                break
            own = own.parent


def _share(group: Path, names: _Names) -> float | None:
    """Of how many cores a group may use the time; None where nothing bounds it."""
    said = _text(group / names.quota).split()
    if names is _FIRST:
        said += _text(group / "cpu.cfs_period_us").split()
    try:
        quota, period = map(int, said)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _field(path: Path, name: str) -> int:
    """A number of a file with a name and a number on each line; 0 where it has none."""
    found = dict(line.split() for line in _text(path).splitlines() if len(line.split()) == 2)
    return int(found.get(name, 0))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""

